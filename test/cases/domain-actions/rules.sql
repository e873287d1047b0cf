INSERT INTO domains (domain, action, reply) VALUES
    ('later.example', 'defer', NULL), ('gone.example', 'reject', NULL), ('sink.example', 'discard', NULL),
    ('later2.example', 'defer', '451 4.3.0 moving house'), ('gone2.example', 'reject', '550 5.1.2 sold');
INSERT INTO aliases (address, action) SELECT 'a@' || domain, 'accept' FROM domains;
INSERT INTO aliases (address, action) SELECT 'gone@' || domain, 'reject' FROM domains;
