INSERT INTO domains (domain) VALUES ('example.com'), ('xn--bcher-kva.example');
INSERT INTO aliases (address) VALUES ('a@example.com'), ('a@xn--bcher-kva.example');
INSERT INTO aliases (address) VALUES ('"two words"@example.com');
