INSERT INTO domains (domain, action, reply) VALUES ('example.com', 'accept', NULL), ('shut.example', 'reject', '550 5.7.1 moved');
INSERT INTO aliases (address, action, reply, class, expires_at) VALUES
    ('a@example.com', 'accept', NULL, NULL, NULL), ('a@shut.example', 'accept', NULL, NULL, NULL),
    ('gone@example.com', 'reject', '550 5.2.1 gone', 'vip', NULL), ('old@example.com', 'accept', NULL, 'vip', 1),
    ('drop@example.com', 'discard', NULL, NULL, 1), ('later@example.com', 'defer', NULL, NULL, NULL),
    ('abuse@example.com', 'reject', '550 5.2.1 write to postmaster', NULL, NULL);
INSERT INTO alias_globs (domain, glob, action, reply) VALUES ('example.com', 'spam-*', 'reject', '550 5.2.1 spam');
INSERT INTO client_rules (network, action) VALUES ('198.51.100.1', 'defer'), ('198.51.100.2', 'discard');
