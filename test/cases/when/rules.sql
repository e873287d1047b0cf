INSERT INTO domains (domain) VALUES ('example.com');
INSERT INTO aliases (address, class) VALUES ('free@example.com', 'free'), ('trial@example.com', 'trial'),
    ('test@example.com', 'test'), ('paid@example.com', 'paid'), ('none@example.com', NULL);
