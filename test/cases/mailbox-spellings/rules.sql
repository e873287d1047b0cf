INSERT INTO domains (domain, owner) VALUES ('example.com', 'acme');
INSERT INTO aliases (address, mailbox) VALUES
    ('a@example.com', 'Me@ISP.example'), ('b@example.com', '"me"@isp.example.'), ('c@example.com', 'me+alias@isp.example'),
    ('d@example.com', ' me@isp.example ,, you@isp.example, '), ('e@example.com', 'bob'), ('f@example.com', ''),
    ('g@example.com', 'me@xn--bcher-kva.example,me@bücher.example');
INSERT INTO aliases (address, owner) VALUES ('h@example.com', '');
