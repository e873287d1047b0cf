INSERT INTO domains (domain, owner) VALUES ('example.com', 'acme');
INSERT INTO aliases (address, mailbox) VALUES ('a@example.com', 'Box@ISP.example.'), ('bare@example.com', NULL);
