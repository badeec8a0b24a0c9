-- Who wants what, in PostgreSQL. As the administrator of the database server:
--
--   createdb spamfilt
--   psql -d spamfilt -v ON_ERROR_STOP=1 < schema.sql
--
-- (on Debian each after "runuser -u postgres --"). The filter only reads, as the role `spamfilt`. See recipients.cf
-- beside this file.
--
-- The columns of `policy` are the keys of [policy] in pf-spamfilt.toml(5). NULL says nothing: then the next, less
-- specific address is asked, and at last pf-spamfilt.toml. A wrong value makes mail wait, so they are checked here.

BEGIN;

CREATE DOMAIN spam_level AS text CHECK (VALUE ~ '^(always|required|never|-?[0-9]{1,9}(\.[0-9]+)?)$');
-- Printable ASCII without double quotes. (Postfix before 3.8 gets text in Latin-1 from PostgreSQL.)
CREATE DOMAIN spam_text AS text CHECK (VALUE ~ '^[ !#-~]*$');
-- One word of that: no blank either.
CREATE DOMAIN spam_word AS text CHECK (VALUE ~ '^[!#-~]*$');

CREATE TABLE policy (
    name        text PRIMARY KEY,
    tag_level   spam_level,
    tag2_level  spam_level,
    kill_level  spam_level,
    subject_tag spam_text,
    destiny     text CHECK (destiny IN ('pass', 'discard', 'bounce')),
    quarantine  spam_word,
    bypass      boolean,
    spam_lover  boolean,
    warn_sender boolean,
    admin       spam_word
);

-- Whom a policy is for: user@example.com, @example.com, @.example.com (it and all below), @. (everyone).
-- Lower case, as Postfix asks so.
CREATE TABLE recipient (
    address text PRIMARY KEY CHECK (address = lower(address) AND position('@' IN address) > 0),
    policy  text REFERENCES policy (name) ON UPDATE CASCADE
);

-- Welcome and blocked senders: of one recipient, or with NULL of everybody.
-- A sender is user@example.com, example.com, .example.com (it and all below) or . (everyone).
CREATE TABLE sender (
    recipient text REFERENCES recipient (address) ON UPDATE CASCADE ON DELETE CASCADE,
    pattern   text NOT NULL CHECK (pattern = lower(pattern) AND pattern ~ '^[^]!/@,:"[:space:]][^],:"[:space:]]*$'),
    list      text NOT NULL CHECK (list IN ('welcome', 'block')),
    UNIQUE (recipient, pattern, list)
);
CREATE UNIQUE INDEX sender_of_everybody ON sender (pattern, list) WHERE recipient IS NULL;

-- What the filter is told: "key=value key=value" for an address. concat_ws leaves out what is NULL, and text with
-- NULL in it is NULL. What may have blanks or commas stands in double quotes.
CREATE VIEW setting AS SELECT address, concat_ws(' ',
    'tag_level=' || tag_level,
    'tag2_level=' || tag2_level,
    'kill_level=' || kill_level,
    'subject_tag="' || subject_tag || '"',
    'destiny=' || destiny,
    'quarantine="' || quarantine || '"',
    'bypass=' || bypass,
    'spam_lover=' || spam_lover,
    'warn_sender=' || warn_sender,
    'admin="' || admin || '"',
    'welcome_senders="' || (SELECT string_agg(pattern, ',') FROM sender
        WHERE sender.recipient = address AND list = 'welcome') || '"',
    'block_senders="' || (SELECT string_agg(pattern, ',') FROM sender
        WHERE sender.recipient = address AND list = 'block') || '"'
) AS settings
FROM recipient LEFT JOIN policy ON policy.name = recipient.policy;

CREATE VIEW everybodys_sender AS SELECT pattern, list FROM sender WHERE recipient IS NULL;

-- The filter's role: it reads these two views, and nothing else. By the socket of the server's own host it needs no
-- password (Debian's pg_hba.conf has "peer" for it: account spamfilt is role spamfilt). For a server on another
-- host: ALTER ROLE spamfilt PASSWORD '...', and see recipients.cf.
CREATE ROLE spamfilt LOGIN;
GRANT SELECT ON setting, everybodys_sender TO spamfilt;

COMMIT;
