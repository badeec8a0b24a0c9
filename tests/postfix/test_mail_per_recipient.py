"""per_recipient = true: each recipient of a message has his own preferences in SpamAssassin, and his own marks."""

import pytest
from proving import (
    MESSAGES,
    Host,
    body_is_whole,
    by_recipient,
    for_recipients,
    is_consistent,
    marks,
    reinjection,
    scoring,
)

from lab.mailbox import Copy
from lab.tools import free_port

EACH = "per_recipient = true\n"
STRICT, LAX, PLAIN = "strict@example.com", "lax@example.com", "plain@example.com"
WRAPPED, SILENT, ALIKE = "wrapped@example.com", "silent@example.com", "alike@example.com"
BARE, HIGH = "bare@example.com", "high@example.com"
PREFERENCES = {
    STRICT: "required_score 3.5\nscore T_4 4.5\n",
    LAX: "required_score 50\n",
    WRAPPED: "required_score 3\nreport_safe 1\n",
    SILENT: "clear_headers\n",
    HIGH: "required_score 3\nreport_safe 1\nrewrite_header Subject [SA]\n",
}
EVERYBODY = [STRICT, LAX, PLAIN, WRAPPED, SILENT, ALIKE, BARE, HIGH]
POLICY = for_recipients(BARE, "bypass = true") + for_recipients(HIGH, "tag2_level = 30")


class Sent:
    """One message of 4 points for EVERYBODY: its queue id, spamd's scans, and a copy for each."""

    def __init__(self, host: Host) -> None:
        before = len(host.scans())
        self.queue_id = host.put(scoring(4), EVERYBODY)
        self.copies = {copy.recipient: copy for copy in host.once(len(EVERYBODY))}
        self.scans = host.scans()[before:]


@pytest.fixture(scope="module")
def sent(module_mailhost: Host) -> Sent:
    """The message, and what became of it."""
    for user, preferences in PREFERENCES.items():
        module_mailhost.spamd.preferences(user, preferences)
    module_mailhost.spamd.preferences("spamfilt", "required_score 1\n")
    module_mailhost.configured(EACH + POLICY)
    return Sent(module_mailhost)


def status(copy: Copy) -> str:
    """Return the beginning of a copy's X-Spam-Status."""
    return str(copy.header("X-Spam-Status")).partition(" tests=")[0]


def test_each_recipient_has_his_own_required_score(sent: Sent) -> None:
    found = {to: status(copy) for to, copy in sent.copies.items()}
    assert found == {
        STRICT: "Yes, score=4.5 required=3.5",
        LAX: "No, score=4.0 required=50.0",
        PLAIN: "No, score=4.0 required=5.0",
        WRAPPED: "Yes, score=4.0 required=3.0",
        SILENT: "None",
        ALIKE: "No, score=4.0 required=5.0",
        BARE: "None",
        HIGH: "No, score=4.0 required=30.0",
    }


@pytest.mark.parametrize("to", EVERYBODY)
def test_copy_for_one_of_many_says_one_thing(sent: Sent, to: str) -> None:
    copy = sent.copies[to]
    assert is_consistent(copy), copy.head
    assert (copy.message.get_content_type() == "multipart/mixed") == (to == WRAPPED)
    assert scoring(4) in copy.body if to == WRAPPED else body_is_whole(copy, scoring(4))


def test_spamd_is_asked_once_for_each_user(sent: Sent) -> None:
    """But not for who bypasses, and never without a user."""
    users = [line.partition(",user=")[2].partition(",")[0] for line in sent.scans]
    assert users == sorted(set(EVERYBODY) - {BARE})


def test_who_bypasses_among_users_has_no_mark(sent: Sent) -> None:
    assert marks(sent.copies[BARE]) == []


def test_equal_answers_share_one_copy(sent: Sent) -> None:
    """PLAIN and ALIKE have the same preferences: there is one sendmail for both."""
    ids = {to: reinjection(copy) for to, copy in sent.copies.items()}
    assert ids[PLAIN] == ids[ALIKE]
    assert len(set(ids.values())) == len(EVERYBODY) - 1


def test_log_names_the_user_of_each_copy(sent: Sent, mailhost: Host) -> None:
    for to in (STRICT, LAX, WRAPPED, HIGH):
        (line,) = mailhost.syslog.lines(f"{sent.queue_id}: from=", f"to=<{to}>, ")
        assert f", user={to}, " in line, line


def test_postfix_log_tells_the_worst_and_for_how_many(sent: Sent, mailhost: Host) -> None:
    line = mailhost.postfix.log_lines(sent.queue_id, "relay=spamcheck")[0]
    assert line.endswith(f"(spam 4.5/3.5, tagged for 2; {len(EVERYBODY)} reinjected))"), line


def test_recipients_with_one_user_cost_one_scan(mailhost: Host) -> None:
    """By the template for users."""
    mailhost.configured(EACH + 'user = "${user}"\n')
    mailhost.spamd.preferences("strict", "required_score 3.5\n")
    before = len(mailhost.scans())
    copies = mailhost.deliver(scoring(4), ["strict+one@example.com", "strict+two@example.com", "strict@example.com"])
    assert [copy.header("X-Spam-Flag") for copy in copies] == ["YES"] * 3
    (scan,) = mailhost.scans()[before:]
    assert "user=strict," in scan


def test_scores_of_users_reach_their_levels(mailhost: Host) -> None:
    """Handled for one, delivered to another, by the score that each has."""
    mailhost.spamd.preferences(STRICT, "score T_4 40\n")
    mailhost.configured(EACH + '[policy]\nkill_level = 10\ndestiny = "discard"\nquarantine = "kept@example.com"\n')
    mailhost.put(scoring(4), [STRICT, PLAIN])
    copies = by_recipient(mailhost.once(2))
    (kept,), (plain,) = copies["kept@example.com"], copies[PLAIN]
    assert status(kept) == "Yes, score=40.0 required=5.0"
    assert kept.header("X-Envelope-To") == f"<{STRICT}>"
    assert status(plain) == "No, score=4.0 required=5.0"


def nobody_there() -> list[str]:
    """Return two servers that do not answer; with one alone spamc would try again."""
    return [f"127.0.0.1:{free_port()}" for _ in range(2)]


def test_one_scan_that_fails_defers_for_all(mailhost: Host) -> None:
    mailhost.servers(*nobody_there(), more=EACH)
    queue_id = mailhost.put("gtube", [STRICT, PLAIN])
    mailhost.deferred(queue_id, "dsn=4.4.1")
    mailhost.configured(EACH)
    mailhost.retry(2)


def test_many_users_pass_without_a_scan_where_that_is_wished(mailhost: Host) -> None:
    """They all get the same copy, from one sendmail."""
    mailhost.servers(*nobody_there(), more=EACH + 'on_failure = "pass"\n')
    copies = mailhost.deliver("gtube", [STRICT, PLAIN, LAX])
    assert len({copy.header("X-Spam-Unscanned") for copy in copies}) == 1
    assert [body_is_whole(copy, MESSAGES["gtube"]) for copy in copies] == [True] * 3
    assert len({reinjection(copy) for copy in copies}) == 1
