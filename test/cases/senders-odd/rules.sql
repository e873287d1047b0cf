INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address) VALUES ('a@example.com'), ('shop@example.com');
INSERT INTO sender_rules (scope, pattern, action, reply) VALUES
    ('a@example.com', '@spam.example', 'reject', '550 5.7.1 its domain'),
    ('shop@example.com', '*', 'reject', '550 5.7.1 not on the list'),
    ('shop@example.com', '@friend.example', 'accept', NULL);
