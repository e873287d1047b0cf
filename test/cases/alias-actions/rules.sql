INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address, action, reply) VALUES
    ('ok@example.com', 'accept', NULL),
    ('later@example.com', 'defer', NULL),
    ('gone@example.com', 'reject', NULL),
    ('sink@example.com', 'discard', NULL),
    -- with a reply of their own
    ('ok2@example.com', 'accept', '550 5.2.1 not said'),
    ('later2@example.com', 'defer', '451 4.7.0 on holiday'),
    ('gone2@example.com', 'reject', '551 5.1.6 moved away'),
    ('sink2@example.com', 'discard', '550 5.2.1 not said'),
    -- with one that cannot be used: the default is said
    ('later3@example.com', 'defer', '550 5.2.1 wrong class'),
    ('gone3@example.com', 'reject', '450 4.2.1 wrong class'),
    ('gone4@example.com', 'reject', '550 4.2.1 wrong enhanced code'),
    ('later4@example.com', 'defer', '450 5.2.1 wrong enhanced code'),
    ('later5@example.com', 'defer', '421 4.2.1 hangs up'),
    ('gone5@example.com', 'reject', '521 5.2.1 hangs up'),
    ('gone6@example.com', 'reject', 'no code at all'),
    ('gone7@example.com', 'reject', '');
