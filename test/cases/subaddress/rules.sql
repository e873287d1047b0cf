INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address) VALUES ('a@example.com'), ('b+c@example.com');
