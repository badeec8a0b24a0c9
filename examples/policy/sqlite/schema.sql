-- Who wants what, in an SQLite database: one file, no server. Make it as root, with (package sqlite3)
--
--   sqlite3 /etc/postfix/spam-policy/sqlite/policy.db < schema.sql
--
-- and change it with any program that knows SQLite. The filter only reads it. See recipients.cf beside this file.
--
-- The columns of `policy` are the keys of [policy] in pf-spamfilt.toml(5). NULL says nothing: then the next, less
-- specific address is asked, and at last pf-spamfilt.toml. A wrong value makes mail wait, so they are checked here.

CREATE TABLE policy (
    name        TEXT PRIMARY KEY,
    tag_level   NUMERIC CHECK (typeof(tag_level) <> 'text' OR tag_level IN ('always', 'required', 'never')),
    tag2_level  NUMERIC CHECK (typeof(tag2_level) <> 'text' OR tag2_level IN ('always', 'required', 'never')),
    kill_level  NUMERIC CHECK (typeof(kill_level) <> 'text' OR kill_level IN ('always', 'required', 'never')),
    subject_tag TEXT CHECK (NOT subject_tag GLOB '*["' || char(1) || '-' || char(31) || ']*'),
    destiny     TEXT CHECK (destiny IN ('pass', 'discard', 'bounce')),
    quarantine  TEXT CHECK (NOT quarantine GLOB '*["' || char(1) || '-' || char(32) || ']*'),
    bypass      INTEGER CHECK (bypass IN (0, 1)),
    spam_lover  INTEGER CHECK (spam_lover IN (0, 1)),
    warn_sender INTEGER CHECK (warn_sender IN (0, 1)),
    admin       TEXT CHECK (NOT admin GLOB '*["' || char(1) || '-' || char(32) || ']*')
);

-- Whom a policy is for: user@example.com, @example.com, @.example.com (it and all below), @. (everyone).
-- Lower case, as Postfix asks so.
CREATE TABLE recipient (
    address TEXT PRIMARY KEY CHECK (address = lower(address) AND instr(address, '@') > 0),
    policy  TEXT REFERENCES policy (name)
);

-- Welcome and blocked senders: of one recipient, or with NULL of everybody.
-- A sender is user@example.com, example.com, .example.com (it and all below) or . (everyone).
CREATE TABLE sender (
    recipient TEXT REFERENCES recipient (address) ON DELETE CASCADE,
    pattern   TEXT NOT NULL CHECK (pattern = lower(pattern) AND pattern <> ''
        AND NOT pattern GLOB '*[,:"' || char(1) || '-' || char(32) || ']*' AND NOT pattern GLOB '[!/@]*'),
    list      TEXT NOT NULL CHECK (list IN ('welcome', 'block')),
    UNIQUE (recipient, pattern, list)
);

-- What the filter is told: "key=value key=value" for an address. Text with blanks or commas stands in double quotes.
CREATE VIEW setting AS SELECT address, trim(
    coalesce('tag_level=' || tag_level || ' ', '') ||
    coalesce('tag2_level=' || tag2_level || ' ', '') ||
    coalesce('kill_level=' || kill_level || ' ', '') ||
    coalesce('subject_tag="' || subject_tag || '" ', '') ||
    coalesce('destiny=' || destiny || ' ', '') ||
    coalesce('quarantine="' || quarantine || '" ', '') ||
    coalesce('bypass=' || bypass || ' ', '') ||
    coalesce('spam_lover=' || spam_lover || ' ', '') ||
    coalesce('warn_sender=' || warn_sender || ' ', '') ||
    coalesce('admin="' || admin || '" ', '') ||
    coalesce('welcome_senders="' || (SELECT group_concat(pattern) FROM sender
        WHERE sender.recipient = address AND list = 'welcome') || '" ', '') ||
    coalesce('block_senders="' || (SELECT group_concat(pattern) FROM sender
        WHERE sender.recipient = address AND list = 'block') || '" ', '')
) AS settings
FROM recipient LEFT JOIN policy ON policy.name = recipient.policy;
