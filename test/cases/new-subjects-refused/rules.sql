INSERT INTO domains (domain, catch_all) VALUES ('example.com', 'accept');
