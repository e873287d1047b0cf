INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address) VALUES ('shop@example.com'), ('bounce@example.com');
INSERT INTO sender_rules (scope, pattern, action) VALUES
    ('shop@example.com', '*', 'reject'),
    ('shop@example.com', '@.shop.example', 'accept'),
    ('shop@example.com', 'me@home.example', 'accept'),
    ('bounce@example.com', '*', 'reject'),
    ('bounce@example.com', '<>', 'accept');
