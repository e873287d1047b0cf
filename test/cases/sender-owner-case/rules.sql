INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address, owner) VALUES ('a@example.com', 'Bob'), ('b@example.com', 'eve');
INSERT INTO sender_rules (scope, pattern, action) VALUES ('owner:bob', '@spam.example', 'reject');
INSERT INTO aliases (address, action) VALUES ('gone@example.com', 'reject');
INSERT INTO sender_rules (scope, pattern, action) VALUES ('gone@example.com', '*', 'accept');
