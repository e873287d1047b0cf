-- addy.io, formerly AnonAddy (MySQL, MariaDB): the domains that are served, as JSON Lines for `rcptgate domain import`. See migration.md.
--
-- catch_all is accept throughout: what the application creates as mail comes in goes on to it, and a new alias works before the next
-- import knows it. ANONADDY_ALL_DOMAINS stands in the application's .env and not in its database: name those domains here.
WITH shared (domain) AS (
    SELECT 'addy.example.com'
    UNION ALL SELECT 'mail.example.com'
)
SELECT JSON_OBJECT('domain', domain, 'action', 'accept', 'catch_all', 'accept', 'class', 'shared') FROM shared
UNION ALL
-- anything@username.addy.example.com: all domains below, but for those of inactive usernames
SELECT JSON_OBJECT('domain', CONCAT('.', domain), 'action', 'accept', 'catch_all', 'accept', 'class', 'username') FROM shared
UNION ALL
SELECT JSON_OBJECT('domain', CONCAT(LOWER(usernames.username), '.', shared.domain), 'action', 'discard', 'catch_all', 'accept',
                   'owner', usernames.user_id, 'class', 'username')
FROM usernames CROSS JOIN shared
WHERE NOT usernames.active
UNION ALL
SELECT JSON_OBJECT('domain', LOWER(domain), 'action', CASE WHEN active THEN 'accept' ELSE 'discard' END, 'catch_all', 'accept',
                   'owner', user_id, 'class', 'custom')
FROM domains
WHERE domain_verified_at IS NOT NULL;
