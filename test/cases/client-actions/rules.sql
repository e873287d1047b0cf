INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address, action) VALUES ('a@example.com', 'accept'), ('gone@example.com', 'reject');
INSERT INTO client_rules (network, action) VALUES ('198.51.100.0/24', 'discard'), ('192.0.2.0/24', 'defer');
