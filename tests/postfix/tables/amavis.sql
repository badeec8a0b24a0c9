-- The part of amavisd-new's SQL tables that has to do with spam and with lists, and rows for the tests.

CREATE TABLE policy (
    id serial PRIMARY KEY, policy_name varchar(32), spam_lover char(1), bypass_spam_checks char(1),
    spam_tag_level real, spam_tag2_level real, spam_kill_level real, spam_subject_tag2 varchar(64),
    spam_quarantine_to varchar(64), spam_admin varchar(64)
);
CREATE TABLE users (
    id serial PRIMARY KEY, priority integer NOT NULL DEFAULT 7, policy_id integer NOT NULL REFERENCES policy (id),
    email bytea NOT NULL UNIQUE, fullname varchar(255)
);
CREATE TABLE mailaddr (id serial PRIMARY KEY, priority integer NOT NULL DEFAULT 9, email bytea NOT NULL UNIQUE);
CREATE TABLE wblist (
    rid integer NOT NULL REFERENCES users (id), sid integer NOT NULL REFERENCES mailaddr (id),
    wb varchar(10) NOT NULL, PRIMARY KEY (rid, sid)
);

-- A quarantine without "@" is a matter of amavisd-new's own; 9999 points are never reached.
INSERT INTO policy (id, spam_lover, spam_tag2_level, spam_kill_level, spam_subject_tag2, spam_quarantine_to) VALUES
    (1, NULL, 3, NULL, E'[SPAM "_SCORE_"]\n', NULL),
    (2, 'Y', NULL, NULL, NULL, NULL),
    (3, ' ', NULL, NULL, NULL, NULL),
    (4, 'N', 8, 15, NULL, 'spam@example.com'),
    (5, NULL, 6.31, 9999999, '', 'spam-quarantine');
INSERT INTO users (id, policy_id, email) VALUES
    (1, 1, 'jane@example.com'), (2, 2, 'sales@example.com'), (3, 3, 'joe@example.com'), (4, 4, '@example.com'),
    (5, 5, 'ann@example.com');
INSERT INTO mailaddr (id, email) VALUES
    (1, 'friend@client.example'), (2, '@.partner.example'), (3, '@offers.example'), (4, '@scored.example'),
    (5, 'odd, "one"@client.example');
INSERT INTO wblist (rid, sid, wb) VALUES (3, 1, 'W'), (3, 2, 'y'), (3, 3, 'B'), (3, 4, '-3.5'), (3, 5, 'W');

CREATE ROLE amavis LOGIN PASSWORD 'change-me';
GRANT SELECT ON policy, users, mailaddr, wblist TO amavis;
