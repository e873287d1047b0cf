INSERT INTO domains (domain, owner) VALUES ('example.com', 'acme');
INSERT INTO aliases (address, mailbox, action) VALUES ('sink@example.com', 'x@isp.example', 'discard');
