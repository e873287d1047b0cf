INSERT INTO domains (domain) VALUES ('example.com'), ('closed.example');
INSERT INTO domains (domain, catch_all) VALUES ('open.example', 'accept'), ('shut.example', 'reject');
INSERT INTO aliases (address, mailbox) VALUES
    ('a@example.com', 'plain@isp.example'), ('a+tag@example.com', 'tagged@isp.example'),
    ('only+tag@example.com', 'only@isp.example'), ('+plus@example.com', 'plus@isp.example');
INSERT INTO aliases (address, action) VALUES
    ('b@example.com', 'reject'), ('c+no@example.com', 'reject'), ('c@example.com', 'accept');
INSERT INTO aliases (address, action) VALUES ('gone@open.example', 'reject'), ('gone@example.com', 'reject');
INSERT INTO alias_globs (domain, glob, mailbox) VALUES
    ('example.com', 'a*', 'glob@isp.example'), ('example.com', 'gone*', 'glob@isp.example'),
    ('example.com', 'b*', 'glob@isp.example'), ('open.example', 'g*', 'glob@isp.example');
