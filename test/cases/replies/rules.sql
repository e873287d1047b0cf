INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address, action, class) VALUES ('a@example.com', 'accept', NULL), ('b@example.com', 'accept', NULL),
    ('gone@example.com', 'reject', NULL), ('later@example.com', 'defer', NULL), ('own@example.com', 'accept', 'own');
INSERT INTO sender_rules (scope, pattern, action) VALUES ('*', '@spam.example', 'reject'), ('*', '@grey.example', 'defer');
INSERT INTO client_rules (network, action) VALUES ('198.51.100.0/24', 'defer');
