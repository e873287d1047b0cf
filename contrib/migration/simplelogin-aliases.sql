-- SimpleLogin (PostgreSQL): the aliases, for `rcptgate alias import`. See migration.md.
--
-- What the application would refuse or drop is refused or dropped at RCPT TO, as its users chose (block_behaviour); what is in a
-- trash is a row with reject, which no catch-all revives. mailbox is what `per: mailbox` limits count; the application delivers.
WITH mailboxes AS (
    SELECT id AS alias_id, mailbox_id FROM alias
    UNION
    SELECT alias_id, mailbox_id FROM alias_mailbox
), delivered AS (
    SELECT alias_id, string_agg(email, ',') AS mailbox
    FROM (
        SELECT mailboxes.alias_id, mailbox.email
        FROM mailboxes JOIN mailbox ON mailbox.id = mailboxes.mailbox_id
        WHERE mailbox.verified
        ORDER BY mailboxes.alias_id, mailbox.email
    ) AS each_one
    GROUP BY alias_id
), deleted AS (
    SELECT lower(email) AS email FROM deleted_alias
    UNION
    SELECT lower(email) FROM domain_deleted_alias
)
SELECT lower(alias.email) AS address, delivered.mailbox, CAST(alias.user_id AS text) AS owner,
       CASE WHEN alias.custom_domain_id IS NULL THEN 'shared' ELSE 'custom' END AS class,
       CASE WHEN users.disabled OR users.delete_on IS NOT NULL THEN 'reject'
            WHEN alias.enabled AND alias.delete_on IS NULL THEN 'accept'
            WHEN CAST(users.block_behaviour AS text) = 'return_5xx' THEN 'reject'
            ELSE 'discard' END AS action
FROM alias
JOIN users ON users.id = alias.user_id
LEFT JOIN delivered ON delivered.alias_id = alias.id
UNION ALL
SELECT deleted.email, NULL, NULL, NULL, 'reject'
FROM deleted
WHERE NOT EXISTS (SELECT 1 FROM alias WHERE lower(alias.email) = deleted.email)
ORDER BY 1;
