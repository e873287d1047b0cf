-- addy.io, formerly AnonAddy (MySQL, MariaDB): the block lists of its users (since 2026), as JSON Lines for `rcptgate sender import`.
-- See migration.md.
SELECT JSON_OBJECT('scope', CONCAT('owner:', user_id), 'pattern',
                   CASE WHEN type = 'domain' THEN CONCAT('@', LOWER(value)) ELSE LOWER(value) END, 'action', 'reject')
FROM blocked_senders
WHERE type = 'domain' OR value LIKE '%_@_%';
