-- addy.io, formerly AnonAddy (MySQL, MariaDB): the aliases, as JSON Lines for `rcptgate alias import`. See migration.md.
--
-- As the application's own policy service decides: deleted is refused, inactive is dropped, and what its owner has brought upon himself.
-- Where mail is forwarded to is encrypted in this database; mailbox is the id of the recipient in a domain that does not exist,
-- which is enough for `per: mailbox` limits. The application delivers.
SELECT JSON_OBJECT('address', LOWER(aliases.email),
                   'mailbox', CONCAT(COALESCE(attached.recipient_id, domains.default_recipient_id, usernames.default_recipient_id,
                                              users.default_recipient_id), '@recipient.invalid'),
                   'owner', aliases.user_id,
                   'class', CASE WHEN domains.id IS NOT NULL THEN 'custom' WHEN usernames.id IS NOT NULL THEN 'username'
                                 ELSE 'shared' END,
                   'action', CASE WHEN aliases.deleted_at IS NOT NULL THEN 'reject'
                                  WHEN NOT aliases.active THEN 'discard'
                                  WHEN users.reject_until > NOW() THEN 'reject'
                                  WHEN users.defer_until > NOW() THEN 'defer'
                                  ELSE 'accept' END)
FROM aliases
JOIN users ON users.id = aliases.user_id
LEFT JOIN domains ON domains.id = aliases.aliasable_id
LEFT JOIN usernames ON usernames.id = aliases.aliasable_id
LEFT JOIN (
    SELECT alias_id, MIN(recipient_id) AS recipient_id FROM alias_recipients GROUP BY alias_id
) AS attached ON attached.alias_id = aliases.id;
