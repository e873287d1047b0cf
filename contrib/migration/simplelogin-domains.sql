-- SimpleLogin (PostgreSQL): the domains that are served, for `rcptgate domain import`. See migration.md.
--
-- catch_all is accept throughout: what the application creates as mail comes in (catch-all domains, directories, rules), its reverse
-- aliases and its return paths go on to it, and a new alias works before the next import knows it.
SELECT lower(served.domain) AS domain, 'accept' AS action, 'accept' AS catch_all, served.owner, served.class
FROM (
    SELECT domain, NULL AS owner, 'shared' AS class FROM public_domain
    UNION ALL
    SELECT domain, CAST(user_id AS text), 'custom' FROM custom_domain
    WHERE verified AND lower(domain) NOT IN (SELECT lower(domain) FROM public_domain)
) AS served
ORDER BY 1;
