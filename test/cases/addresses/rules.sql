INSERT INTO domains (domain) VALUES ('example.com'), ('xn--bcher-kva.example');
INSERT INTO domains (domain, catch_all) VALUES ('open.example', 'accept');
INSERT INTO aliases (address) VALUES ('a@example.com'), ('a%b@example.com'), ('"a b"@example.com');
