INSERT INTO domains (domain, catch_all) VALUES ('example.com', 'reject'), ('gone.example', 'reject');
INSERT INTO aliases (address, action) VALUES ('gone@example.com', 'reject');
INSERT INTO sender_rules (scope, pattern, action) VALUES ('*', '*', 'accept');
