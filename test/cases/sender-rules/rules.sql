INSERT INTO domains (domain, owner) VALUES ('example.com', 'acme'), ('other.example', NULL);
INSERT INTO aliases (address, owner) VALUES ('a@example.com', NULL), ('b@example.com', 'bob'), ('c@other.example', 'bob'),
    ('d@other.example', NULL), ('e@other.example', NULL), ('p@other.example', NULL);
INSERT INTO aliases (address, action) VALUES ('later@other.example', 'defer'), ('gone@other.example', 'reject');
INSERT INTO sender_rules (scope, pattern, action, reply) VALUES
    -- scopes: an alias, its domain, its owner, everybody
    ('*',                 'x@spam.example', 'reject',  '550 5.7.1 everybody'),
    ('owner:bob',         'x@spam.example', 'reject',  '550 5.7.1 owner'),
    ('@example.com',      'x@spam.example', 'reject',  '550 5.7.1 domain'),
    ('a@example.com',     'x@spam.example', 'accept',  NULL),
    ('a+tag@example.com', 'x@spam.example', 'reject',  '550 5.7.1 tag'),
    -- actions
    ('*',                 'r@spam.example', 'reject',  NULL),
    ('*',                 'w@spam.example', 'defer',   NULL),
    ('*',                 'd@spam.example', 'discard', NULL),
    ('*',                 'w2@spam.example', 'defer',  '451 4.7.5 not today'),
    ('*',                 'w3@spam.example', 'defer',  '550 5.7.1 wrong class'),
    -- patterns, from the most to the least specific
    ('p@other.example',   's@a.net.example', 'accept', NULL),
    ('p@other.example',   's+tag@a.net.example', 'reject', '550 5.7.1 tagged sender'),
    ('p@other.example',   '@a.net.example',  'reject', '550 5.7.1 its domain'),
    ('p@other.example',   '@.a.net.example', 'reject', '550 5.7.1 below a.net'),
    ('p@other.example',   '@.net.example',   'reject', '550 5.7.1 below net'),
    ('p@other.example',   '<>',              'defer',  '450 4.7.1 null sender'),
    ('p@other.example',   '*',               'reject', '550 5.7.1 anybody'),
    -- the scope goes before the pattern
    ('e@other.example',   '*',               'reject', '550 5.7.1 nobody may'),
    ('@other.example',    'good@friend.example', 'accept', NULL);
