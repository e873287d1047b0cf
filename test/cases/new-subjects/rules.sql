INSERT INTO domains (domain, catch_all) VALUES ('example.com', 'accept'), ('other.example', NULL);
INSERT INTO aliases (address) VALUES ('a@example.com'), ('b@example.com'), ('c@example.com');
INSERT INTO alias_globs (domain, glob) VALUES ('other.example', 'shop-*');
