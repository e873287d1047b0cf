INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address, action) VALUES ('a@example.com', 'accept'), ('later@example.com', 'defer');
INSERT INTO sender_rules (scope, pattern, action) VALUES ('*', '@spam.example', 'reject'), ('*', '@grey.example', 'defer');
INSERT INTO client_rules (network, action) VALUES ('198.51.100.0/24', 'defer');
