INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address, action) VALUES ('a@example.com', 'accept'), ('gone@example.com', 'reject');
INSERT INTO sender_rules (scope, pattern, action) VALUES ('*', '@spam.example', 'reject');
INSERT INTO client_rules (network, action, reply, expires_at) VALUES
    ('192.0.2.0/24', 'reject', NULL, NULL),
    ('192.0.2.128/25', 'accept', NULL, NULL),
    ('192.0.2.129', 'reject', NULL, NULL),
    ('198.51.100.0/24', 'defer', NULL, NULL),
    ('198.51.100.7', 'defer', '451 4.7.6 ask us', NULL),
    ('2001:db8::/32', 'reject', NULL, NULL),
    ('2001:db8:1::/48', 'accept', NULL, NULL),
    -- until 2026-01-01T00:01:00Z
    ('203.0.113.0/24', 'reject', NULL, 1767225660),
    ('192.0.2.130', 'reject', NULL, 1767225660);
