-- Sample rows for schema.sql: sqlite3 /etc/postfix/spam-policy/sqlite/policy.db < sample.sql

-- Marked from 3 points on, in the subject too.
INSERT INTO policy (name, tag2_level, subject_tag) VALUES ('strict', 3, '[SPAM _SCORE_]');
-- Only marked, never kept back.
INSERT INTO policy (name, spam_lover) VALUES ('everything', 1);
-- Marked from 8 points on; from 15 on kept for the postmaster, and not delivered.
INSERT INTO policy (name, tag2_level, kill_level, quarantine, destiny)
    VALUES ('company', 8, 15, 'spam@example.com', 'discard');

INSERT INTO recipient (address, policy) VALUES
    ('jane@example.com', 'strict'),
    ('sales@example.com', 'everything'),
    ('joe@example.com', NULL),              -- has only lists of his own
    ('@example.com', 'company');

INSERT INTO sender (recipient, pattern, list) VALUES
    ('joe@example.com', 'friend@client.example', 'welcome'),
    ('joe@example.com', '.partner.example', 'welcome'),
    ('joe@example.com', 'offers.example', 'block'),
    (NULL, 'newsletter@client.example', 'welcome'),
    (NULL, '.partner.example', 'welcome'),
    (NULL, '.casino.example', 'block');
