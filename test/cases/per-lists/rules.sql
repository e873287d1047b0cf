INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address, mailbox) VALUES ('a@example.com', 'x@isp.example,y@isp.example'), ('b@example.com', NULL);
