INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address, mailbox) VALUES
    ('full@example.com', 'Full@Box.Example.'), ('two@example.com', 'other@box.example,full+x@box.example'),
    ('free@example.com', 'free@free.example'), ('domain@example.com', 'new@crowded.example');
