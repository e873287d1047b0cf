-- The application writes U-labels or A-labels.
INSERT INTO domains (domain) VALUES ('bücher.example'), ('xn--mnchen-3ya.example');
INSERT INTO aliases (address) VALUES ('a@bücher.example'), ('b@xn--bcher-kva.example'), ('c@münchen.example'), ('d@xn--mnchen-3ya.example');
INSERT INTO alias_globs (domain, glob) VALUES ('bücher.example', 'shop-*'), ('münchen.example', 'shop-*');
INSERT INTO sender_rules (scope, pattern, action) VALUES
    ('@bücher.example', '@größe.example', 'reject'),
    ('*', '@.xn--strae-oqa.example', 'defer');
-- Emoji, which IDNA2008 disallows.
INSERT INTO domains (domain) VALUES ('xn--rr8h.example'), ('i❤.example');
INSERT INTO aliases (address) VALUES ('a@xn--rr8h.example'), ('a@i❤.example');
