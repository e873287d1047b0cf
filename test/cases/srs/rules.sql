INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address) VALUES ('srs0@example.com'), ('owner@example.com'), ('list@example.com');
INSERT INTO alias_globs (domain, glob, mailbox) VALUES ('example.com', 'srs1*', 'back@example.net');
