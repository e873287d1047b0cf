INSERT INTO domains (domain, catch_all) VALUES ('example.com', 'accept');
INSERT INTO aliases (address) VALUES ('a@example.com'), ('b@example.com'), ('c@example.com'), ('d@example.com');
INSERT INTO alias_globs (domain, glob) VALUES ('example.com', 'shop-*');
