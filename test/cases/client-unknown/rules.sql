INSERT INTO domains (domain, catch_all) VALUES ('example.com', 'accept');
INSERT INTO client_rules (network, action) VALUES ('0.0.0.0/0', 'reject'), ('::/0', 'reject');
