INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address) VALUES ('a@example.com'), ('b+c@example.com');
INSERT INTO sender_rules (scope, pattern, action) VALUES ('a@example.com', 'bad@example.net', 'reject');
