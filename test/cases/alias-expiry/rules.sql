INSERT INTO domains (domain, catch_all) VALUES ('example.com', 'accept');
-- 1767225660 is 2026-01-01T00:01:00Z
INSERT INTO aliases (address, action, expires_at) VALUES
    ('a@example.com', 'accept', 1767225660), ('r@example.com', 'reject', 1767225660),
    ('d@example.com', 'discard', 1767225660), ('w@example.com', 'defer', 1767225660),
    ('b+tag@example.com', 'accept', 1767225660), ('b@example.com', 'accept', NULL),
    ('later@example.com', 'accept', 4102444800);
INSERT INTO alias_globs (domain, glob) VALUES ('example.com', '*');
