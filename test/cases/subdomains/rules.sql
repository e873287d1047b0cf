INSERT INTO domains (domain) VALUES ('.example.com'), ('shut.example.com'), ('own.example.com'), ('.xn--bcher-kva.example');
INSERT INTO domains (domain, action) VALUES ('.off.example.com', 'reject');
INSERT INTO alias_globs (domain, glob, mailbox) VALUES ('.example.com', '*', 'any@mailbox.example'),
    ('own.example.com', 'shop-*', 'own@mailbox.example'), ('.bücher.example', 'x*', 'x@mailbox.example');
INSERT INTO alias_globs (domain, glob, action) VALUES ('.eu.example.com', '*', 'defer');
INSERT INTO aliases (address, action) VALUES ('gone@ann.example.com', 'reject'), ('a@bob.example.com', 'accept');
INSERT INTO sender_rules (scope, pattern, action) VALUES ('@.example.com', 'bad@sender.example', 'reject'),
    ('@ann.example.com', 'bad@sender.example', 'accept'), ('@.bob.example.com', '*', 'defer'), ('owner:x', '*', 'accept');
