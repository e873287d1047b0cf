INSERT INTO domains (domain) VALUES ('example.com'), ('vip.example');
INSERT INTO aliases (address, action) VALUES ('a@example.com', 'accept'), ('b@example.com', 'accept'),
    ('c@example.com', 'accept'), ('d@example.com', 'accept'), ('gone@example.com', 'reject');
INSERT INTO sender_rules (scope, pattern, action) VALUES ('*', '*', 'reject');
INSERT INTO client_rules (network, action) VALUES ('192.0.2.0/24', 'reject'), ('2001:db8::/48', 'defer');
