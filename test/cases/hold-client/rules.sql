INSERT INTO domains (domain, catch_all) VALUES ('example.com', 'accept');
INSERT INTO aliases (address, action) VALUES ('gone@example.com', 'reject');
INSERT INTO sender_rules (scope, pattern, action, reply) VALUES ('*', '@spam.example', 'reject', '550 5.7.1 spam');
INSERT INTO client_rules (network, action) VALUES ('198.51.100.0/24', 'accept');
