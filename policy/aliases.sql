-- The alias rules of rcptgate: which recipients exist, who may write to them, which clients may connect.
--
-- `rcptgate alias init` runs this file. Any program may read and write the database at any time with plain SQL; a commit
-- holds for the next RCPT TO. Keep transactions short, and give every connection a busy timeout
-- (PRAGMA busy_timeout = 5000). To replace the whole file, write the new one elsewhere and let SQLite's backup copy it over
-- (sqlite3 aliases.db ".restore new.db"): a plain rename would leave the old -wal file behind for the new database.
--
-- Who may write: the file lives in a directory of its own that its writers and the gate's group share (mode 2770, files
-- 0660, -wal and -shm too). The gate opens it read-only, but SQLite needs the -shm file writable for its locks.
--
-- Keys are canonical, or they never match: lower case, domains as A-labels (xn--...; the U-label form is looked
-- up too), no trailing dot, no needless quotes. The CHECKs below stop what SQL can see of that; `rcptgate alias add` does the rest,
-- and `rcptgate check` names rows that can never act.
-- NOT GLOB '*[A-Z]*' is "lower case in ASCII" in every SQLite, whatever lower() has been replaced with.
--
-- action is what a recipient gets:
--   accept   goes on to the limits
--   defer    450 4.2.1, come back later
--   reject   550 5.2.1 (sender and client rules: 550 5.7.1, 554)
--   discard  answered 250, then dropped
-- reply, where it is set, is said instead of the default: '550 5.2.1 This address has moved'. Its class must fit the action.

PRAGMA journal_mode = WAL;

BEGIN;

-- Our domains. A recipient whose domain is not here is not ours: no alias rule applies to it.
-- '.example.com' is every domain below that has no row of its own; alias_globs.domain knows it too.
CREATE TABLE domains (
    domain    TEXT NOT NULL PRIMARY KEY CHECK (domain NOT GLOB '*[A-Z @]*' AND domain NOT GLOB '*.' AND domain <> ''),
    action    TEXT NOT NULL DEFAULT 'accept' CHECK (action IN ('accept', 'defer', 'reject', 'discard')),
    catch_all TEXT CHECK (catch_all IN ('accept', 'reject')), -- who has no alias and no glob; NULL is reject
    owner     TEXT,                                           -- for aliases that name none: who pays for the mail,
    class     TEXT,                                           -- and what `when` of a limit can ask for
    reply     TEXT
) STRICT, WITHOUT ROWID;

-- One row for an alias. A deleted alias stays as a row with 'reject': no glob and no catch-all revives it.
-- A row for user@example.com serves user+anything@example.com too, unless that has a row of its own.
CREATE TABLE aliases (
    address    TEXT NOT NULL PRIMARY KEY CHECK (address NOT GLOB '*[A-Z]*'
                                            AND address NOT GLOB '*[. ]' AND address NOT GLOB ' *'),
    mailbox    TEXT,    -- where it forwards to: one address, or several separated by commas
    owner      TEXT,
    class      TEXT,
    action     TEXT NOT NULL DEFAULT 'accept' CHECK (action IN ('accept', 'defer', 'reject', 'discard')),
    reply      TEXT,
    expires_at INTEGER CHECK (expires_at < 1000000000000) -- Unix time in seconds, not milliseconds; from then on
                                                          -- the alias is unknown (550 5.1.1). NULL: never
) STRICT, WITHOUT ROWID;

-- Aliases by pattern, on the local part: '*' is any text, also none, '?' is one character, everything else is itself.
-- Asked when no row of `aliases` matches; the glob with the most literal characters wins, then byte order.
CREATE TABLE alias_globs (
    domain  TEXT NOT NULL CHECK (domain NOT GLOB '*[A-Z @]*' AND domain NOT GLOB '*.' AND domain <> ''),
    glob    TEXT NOT NULL CHECK (glob NOT GLOB '*[A-Z]*' AND glob NOT GLOB '* ' AND glob <> ''), -- 'shop-*'
    mailbox TEXT,
    owner   TEXT,
    class   TEXT,
    action  TEXT NOT NULL DEFAULT 'accept' CHECK (action IN ('accept', 'defer', 'reject', 'discard')),
    reply   TEXT,
    PRIMARY KEY (domain, glob)
) STRICT, WITHOUT ROWID;

-- Who may write to whom. The most specific scope wins, and in it the most specific pattern.
-- A scope '@.example.com' is every domain below that one.
CREATE TABLE sender_rules (
    scope   TEXT NOT NULL                                       -- an alias address, '@domain', 'owner:name', or '*'
        CHECK (scope NOT GLOB '*[A-Z]*' AND (scope = '*' OR scope GLOB 'owner:?*' OR
                                             (scope GLOB '*@?*' AND scope NOT GLOB '*[. ]'))),
    pattern TEXT NOT NULL                                       -- an address, '@domain', '@.domain' (and below), '<>', '*'
        CHECK (pattern NOT GLOB '*[A-Z]*' AND (pattern IN ('*', '<>') OR
                                               (pattern GLOB '*@?*' AND pattern NOT GLOB '*[. ]' AND
                                                (pattern NOT GLOB '?*@.*' OR pattern GLOB '"*')))),
    action  TEXT NOT NULL DEFAULT 'accept' CHECK (action IN ('accept', 'defer', 'reject', 'discard')),
    reply   TEXT,
    PRIMARY KEY (scope, pattern)
) STRICT, WITHOUT ROWID;

-- Clients by network: '192.0.2.7', '192.0.2.0/24', '2001:db8::/32', without host bits, IPv6 as in RFC 5952.
-- The longest prefix that has not expired wins; 'accept' makes a client exempt from blocks and limits.
CREATE TABLE client_rules (
    network    TEXT NOT NULL PRIMARY KEY CHECK (network NOT GLOB '*[A-Z ]*' AND network NOT GLOB '*.*/32' AND
                                                network NOT GLOB '*/128' AND network NOT GLOB '*.'),
    action     TEXT NOT NULL DEFAULT 'accept' CHECK (action IN ('accept', 'defer', 'reject', 'discard')),
    reply      TEXT,
    expires_at INTEGER CHECK (expires_at < 1000000000000)
) STRICT, WITHOUT ROWID;

PRAGMA user_version = 1;

COMMIT;
