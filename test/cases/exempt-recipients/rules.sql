INSERT INTO domains (domain) VALUES ('example.com'), ('other.example');
INSERT INTO aliases (address, action) VALUES ('a@example.com', 'accept'), ('abuse@other.example', 'reject'),
    ('postmaster@other.example', 'defer');
INSERT INTO sender_rules (scope, pattern, action) VALUES ('*', '@spam.example', 'reject');
