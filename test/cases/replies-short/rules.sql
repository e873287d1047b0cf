INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address, action, class, reply, expires_at) VALUES ('a@example.com', 'accept', NULL, NULL, NULL),
    ('own@example.com', 'accept', 'own', NULL, NULL), ('gone@example.com', 'reject', NULL, '550 gone', NULL),
    ('coded@example.com', 'reject', NULL, '551 5.1.6 moved', NULL), ('later@example.com', 'defer', NULL, '451 asleep', NULL);
INSERT INTO sender_rules (scope, pattern, action, reply) VALUES ('*', '@grey.example', 'defer', '450 grey');
INSERT INTO client_rules (network, action) VALUES ('198.51.100.0/24', 'defer');
