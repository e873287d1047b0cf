INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address, action) VALUES ('sink@example.com', 'discard'), ('a@example.com', 'accept'), ('b@example.com', 'accept');
