INSERT INTO domains (domain, owner) VALUES ('example.com', 'acme');
INSERT INTO aliases (address, action) VALUES ('gone@example.com', 'reject'), ('later@example.com', 'defer'), ('a@example.com', 'accept');
INSERT INTO aliases (address, expires_at) VALUES ('old@example.com', 1);
