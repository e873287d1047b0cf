-- SimpleLogin (PostgreSQL): senders that an alias's owner blocked, for `rcptgate sender import`. See migration.md.
--
-- Only what can be the envelope sender as it stands: the application goes on blocking the rest itself.
SELECT DISTINCT lower(alias.email) AS scope, lower(contact.website_email) AS pattern,
       CASE WHEN CAST(users.block_behaviour AS text) = 'return_5xx' THEN 'reject' ELSE 'discard' END AS action
FROM contact
JOIN alias ON alias.id = contact.alias_id
JOIN users ON users.id = alias.user_id
WHERE contact.block_forward
  AND contact.website_email LIKE '%_@_%._%'
  AND contact.website_email NOT LIKE '%@%@%'
  AND contact.website_email NOT LIKE '% %'
  AND contact.website_email NOT LIKE '%,%'
  AND contact.website_email NOT LIKE '%<%'
  AND contact.website_email NOT LIKE '%"%'
  AND contact.website_email NOT LIKE '%*%'
  AND contact.website_email NOT LIKE '%?%'
ORDER BY 1, 2;
