INSERT INTO domains (domain, catch_all) VALUES ('example.com', 'accept');
INSERT INTO aliases (address) VALUES ('a@example.com');
