INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address, mailbox) VALUES ('a@example.com', NULL), ('b@example.com', NULL), ('hard@example.com', 'm@example.org');
