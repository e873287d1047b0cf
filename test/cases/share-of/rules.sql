INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address, mailbox, class) VALUES
    ('s@example.com', 's@isp.example', 's'), ('d@example.com', 'd@isp.example', 'd'),
    ('r1@example.com', 'r@isp.example', 'r'), ('r2@example.com', 'r@isp.example', 'r');
