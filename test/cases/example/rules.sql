INSERT INTO domains (domain) VALUES ('example.com');
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)
    INSERT INTO aliases (address, mailbox) SELECT 'a' || i || '@example.com', 'me@isp.example' FROM n;
