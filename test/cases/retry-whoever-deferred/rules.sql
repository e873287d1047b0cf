INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address, action, mailbox, owner) VALUES ('later@example.com', 'defer', 'm@example.org', 'o');
