INSERT INTO domains (domain, owner, class, catch_all) VALUES
    ('example.com', 'acme', 'free', 'accept'), ('bare.example', NULL, NULL, 'accept');
INSERT INTO aliases (address, owner, class) VALUES
    ('none@example.com', NULL, NULL), ('owner@example.com', 'bob', NULL), ('class@example.com', NULL, 'paid'),
    ('both@example.com', 'bob', 'paid'), ('none@bare.example', NULL, NULL);
INSERT INTO alias_globs (domain, glob, owner, class) VALUES ('example.com', 'g-*', 'globber', NULL);
