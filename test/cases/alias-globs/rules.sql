INSERT INTO domains (domain) VALUES ('example.com'), ('other.example');
INSERT INTO alias_globs (domain, glob, mailbox) VALUES
    ('example.com', 'shop-*', 'shop@isp.example'),
    ('example.com', 'shop-?', 'shop-one@isp.example'),
    ('example.com', 'shop-*-vip', 'vip@isp.example'),
    ('example.com', 'news+*', 'news-tagged@isp.example'),
    ('example.com', 'q[ab]', 'brackets@isp.example'),
    ('example.com', '*yz', 'suffix@isp.example'),
    ('example.com', 'xy*', 'prefix@isp.example');
INSERT INTO alias_globs (domain, glob, action, reply) VALUES
    ('example.com', 'old-*', 'reject', '550 5.2.1 all old ones are gone'),
    ('example.com', 'sink-*', 'discard', NULL),
    ('example.com', 'wait-*', 'defer', NULL);
INSERT INTO alias_globs (domain, glob) VALUES ('other.example', '*');
