INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address, action) VALUES ('a@example.com', 'accept'), ('gone@example.com', 'reject'), ('trap@example.com', 'discard');
