INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address, mailbox) VALUES
    ('one@example.com', 'x@isp.example'),
    ('two@example.com', 'x@isp.example, y@Other.example'),
    ('same@example.com', 'v@third.example,w@third.example'),
    ('twice@example.com', 'u@fourth.example,U@Fourth.example'),
    ('y@example.com', 'y@other.example');
