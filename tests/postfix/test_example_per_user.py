"""examples/per-user as it is: foreign mail, and no other, is scanned with the preferences of each recipient."""

from collections.abc import Iterator

import pytest
from proving import JANE, MESSAGES, SAM, Host, body_is_whole, by_recipient, marks, reinjection, scoring

from lab import setups, smtp
from lab.mailbox import Copy

# Both get the same message of 4 points; for Jane that is spam, for Sam the test is worth 1, and nobody's limit is 5.
PREFERENCES = {"jane": "required_score 3.5\n", "sam": "score T_4 1\n"}


@pytest.fixture(scope="module")
def submission(module_mailhost: Host) -> Iterator[int]:
    """The set-up, with the preferences of two users; the port of its submission service."""
    for user, preferences in PREFERENCES.items():
        module_mailhost.spamd.preferences(user, preferences)
    with setups.per_user(module_mailhost, f"{setups.XCLIENT}\n") as port:
        yield port


class Sent:
    """One message to Jane and Sam: its queue id, spamd's scans, and each one's copy."""

    def __init__(self, host: Host) -> None:
        before = len(host.scans())
        self.queue_id = host.put(scoring(4), [JANE, SAM])
        self.copies = {recipient: copy for recipient, (copy,) in by_recipient(host.once(2)).items()}
        self.scans = host.scans()[before:]


@pytest.fixture(scope="module")
def sent(submission: int, module_mailhost: Host) -> Sent:
    """The message, and what became of it."""
    return Sent(module_mailhost)


def status(copy: Copy) -> str:
    """Return the beginning of a copy's X-Spam-Status."""
    return str(copy.header("X-Spam-Status")).partition(" tests=")[0]


def test_each_recipient_of_one_message_has_his_own_verdict(sent: Sent) -> None:
    found = {to: status(copy) for to, copy in sent.copies.items()}
    assert found == {JANE: "Yes, score=4.0 required=3.5", SAM: "No, score=1.0 required=5.0"}
    assert [body_is_whole(copy, MESSAGES["clean"]) for copy in sent.copies.values()] == [True, True]


def test_spamd_is_asked_for_each_user_by_his_name(sent: Sent) -> None:
    users = [line.partition(",user=")[2].partition(",")[0] for line in sent.scans]
    assert sorted(users) == ["jane", "sam"]


def test_filter_is_started_for_each_recipient(sent: Sent, module_mailhost: Host) -> None:
    lines = module_mailhost.postfix.log_lines(f" {sent.queue_id}: to=<", "relay=spamcheck")
    assert sorted(line.rpartition("(")[2].rstrip(")") for line in lines) == [
        "ham 1.0/5.0; 1 reinjected",
        "spam 4.0/3.5, tagged; 1 reinjected",
    ]
    assert len({reinjection(copy) for copy in sent.copies.values()}) == 2


def test_extension_has_its_users_preferences(submission: int, module_mailhost: Host) -> None:
    module_mailhost.mailbox.clear()
    (copy,) = module_mailhost.deliver(scoring(4), ["jane+news@example.com"])
    assert status(copy) == "Yes, score=4.0 required=3.5"


def test_mail_of_own_users_is_not_filtered(submission: int, module_mailhost: Host) -> None:
    """Neither by submission nor by sendmail."""
    module_mailhost.mailbox.clear()
    smtp.send(submission, scoring(4), [JANE], smtp.SENDER)
    module_mailhost.as_filter(["/usr/sbin/sendmail", "-i", "-f", SAM, "--", JANE], input=scoring(4))
    copies = module_mailhost.once(2)
    assert [marks(copy) for copy in copies] == [[], []]


def test_stranger_cannot_submit(submission: int, module_mailhost: Host) -> None:
    """No open relay, whatever the recipient; by port 25 the same stranger can send to those who are here."""
    assert setups.answer(submission, "203.0.113.9", "friend@outside.example") == 554
    assert setups.answer(submission, "203.0.113.9", JANE) == 554
    assert setups.answer(module_mailhost.postfix.port, "203.0.113.9", JANE) == 250


def test_check_finds_nothing_wrong(submission: int, module_mailhost: Host) -> None:
    assert module_mailhost.check() == []
