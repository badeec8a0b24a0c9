"""--explain, run as the filter's account: what each recipient wants, says who, and what would become of his copy."""

import re
from collections.abc import Sequence

import pytest
from proving import Host, for_recipients, scoring

FILE = "/etc/postfix/pf-spamfilt.toml"
SENDER = "jim@block.example"
POLICY = (
    """
[policy]
kill_level = 10
quarantine = "kept@example.com"
block_senders = ["jim@block.example", "a.example", "b.example", "c.example", "d.example", "e.example", "f.example"]

[[senders]]
match = ["block.example"]
admin = "postmaster@block.example"

[[recipients]]
match = ["/^(gone|tagged)/"]
destiny = "discard"
subject_tag = "[SPAM]"
"""
    + for_recipients("gone@example.com", 'kill_level = 3\nsubject_tag = "[never seen]"')
    + for_recipients("welcome@example.com", 'welcome_senders = ["."]')
    + for_recipients("lover@example.com", "spam_lover = true")
    + for_recipients("bare@example.com", "bypass = true")
    + for_recipients("bounce@example.com", 'destiny = "bounce"\nquarantine = ""')
)
EVERYBODY = [f"{name}@example.com" for name in ("plain", "gone", "tagged", "welcome", "lover", "bare", "bounce")]
Sections = dict[str, list[tuple[str, str]]]


class Explained:
    """What --explain prints of a message: status, and sections of rows."""

    def __init__(self, host: Host, message: bytes, *addresses: str) -> None:
        ended = host.as_filter([host.command, "--explain", *addresses], input=message)
        assert ended.stderr == b""
        self.status = ended.returncode
        self.text = ended.stdout.decode()
        self.sections: Sections = {}
        for line in self.text.splitlines():
            if not line.startswith(" "):
                rows = self.sections.setdefault(line, [])
            elif line.startswith("   "):
                name, text = rows.pop()
                rows.append((name, f"{text} {line.strip()}"))
            else:
                name, _, text = line.strip().partition("  ")
                rows.append((name, text.strip()))

    def of(self, recipient: str) -> dict[str, str]:
        """Return the rows of a recipient."""
        return dict(self.sections[f"Recipient {recipient}"])

    def copies(self) -> list[tuple[str, Sequence[tuple[str, str]]]]:
        """Return who would get each copy, and its rows."""
        return [
            (title.removeprefix("Copy for "), rows)
            for title, rows in self.sections.items()
            if title.startswith("Copy for ")
        ]


@pytest.fixture(scope="module")
def strange(module_mailhost: Host) -> Explained:
    """A message of 4 points from somebody who is on no list."""
    module_mailhost.configured(POLICY)
    return Explained(module_mailhost, scoring(4), "a@stranger.example", *EVERYBODY)


@pytest.fixture(scope="module")
def blocked(module_mailhost: Host) -> Explained:
    """The same message from somebody who is on the block list, and in a block of [[senders]]."""
    module_mailhost.configured(POLICY)
    return Explained(module_mailhost, scoring(4), SENDER, *EVERYBODY)


def test_each_setting_that_is_not_the_default_is_shown_with_its_source(strange: Explained) -> None:
    """The first source that has it: what a later one says is not shown."""
    found = strange.of("gone@example.com")
    found.pop("decision")
    found.pop("block_senders")
    assert found == {
        "kill_level": f"3, from [[recipients]] 2 in {FILE}",
        "subject_tag": f"'[SPAM]', from [[recipients]] 1 in {FILE}",
        "destiny": f"'discard', from [[recipients]] 1 in {FILE}",
        "quarantine": f"'kept@example.com', from [policy] in {FILE}",
    }


def test_what_is_set_to_the_default_is_not_shown(strange: Explained) -> None:
    assert "quarantine" not in strange.of("bounce@example.com")


def test_of_a_long_list_only_the_beginning_is_shown(strange: Explained) -> None:
    shown = strange.of("plain@example.com")["block_senders"]
    assert shown.endswith(f" and 2 more, from [policy] in {FILE}")
    assert shown.count(".example'") == 5


def test_block_of_senders_is_a_source_for_each_recipient(blocked: Explained, strange: Explained) -> None:
    shown = {blocked.of(recipient)["admin"] for recipient in EVERYBODY}
    assert shown == {f"'postmaster@block.example', from [[senders]] 1 in {FILE}"}
    assert "admin" not in strange.text


def test_decisions_about_a_stranger(strange: Explained) -> None:
    found = {recipient: strange.of(recipient)["decision"] for recipient in EVERYBODY}
    not_handled = "not marked as spam: tag2_level required; not handled: kill_level 10 is not reached"
    assert found == {
        "plain@example.com": not_handled,
        "gone@example.com": (
            "not marked as spam: tag2_level required; handled: kill_level 3 is reached;"
            " kept in quarantine kept@example.com; not delivered"
        ),
        "tagged@example.com": not_handled,
        "welcome@example.com": "not marked as spam: tag2_level required; not handled: welcome_senders",
        "lover@example.com": "not marked as spam: tag2_level required; not handled: spam_lover",
        "bare@example.com": "bypass: delivered without a mark",
        "bounce@example.com": not_handled,
    }


def test_decisions_about_a_blocked_sender(blocked: Explained) -> None:
    found = {recipient: blocked.of(recipient)["decision"] for recipient in EVERYBODY}
    marked = "marked as spam: the sender is on a block list"
    handled = f"{marked}; handled: kill_level 10 is reached; kept in quarantine kept@example.com"
    assert found == {
        "plain@example.com": f"{handled}; delivered",
        "gone@example.com": f"{handled}; not delivered".replace("10", "3"),
        "tagged@example.com": f"{handled}; not delivered",
        "welcome@example.com": "not marked as spam: tag2_level required; not handled: welcome_senders",
        "lover@example.com": f"{marked}; not handled: spam_lover",
        "bare@example.com": "bypass: delivered without a mark",
        "bounce@example.com": f"{marked}; handled: kill_level 10 is reached; bounced",
    }


def test_list_that_the_sender_is_on_is_named(blocked: Explained, strange: Explained) -> None:
    assert blocked.of("plain@example.com")["sender"] == "is on the block list of [policy]"
    assert blocked.of("welcome@example.com")["sender"] == "is on the welcome list of [[recipients]] 3"
    assert "sender" not in strange.of("plain@example.com")


def test_each_copy_is_shown_once_with_those_who_share_it(blocked: Explained) -> None:
    shown = [name for names, _ in blocked.copies() for name in names.split(", ")]
    assert sorted(shown) == sorted(EVERYBODY)
    assert "plain@example.com, lover@example.com" in [names for names, _ in blocked.copies()]


def test_copies_show_the_fields_that_change_and_the_command(blocked: Explained) -> None:
    rows = dict(blocked.copies())["plain@example.com, lover@example.com"]
    added = [text.partition(":")[0] for sign, text in rows if sign == "+"]
    assert added == ["X-Spam-Flag", "X-Spam-Checker-Version", "X-Spam-Level", "X-Spam-Status", "X-Spam-Report"]
    (command,) = [text for name, text in rows if name == "run"]
    assert command.endswith(f"-f {SENDER} -- plain@example.com lover@example.com")


def test_outcome_is_the_line_for_postfix_log(blocked: Explained) -> None:
    outcome = dict(blocked.sections["Outcome"])
    assert outcome["status"] == "0"
    assert re.match(r"spam 4\.0/\S+, tagged for 2; 4 reinjected, 2 quarantined, 1 bounced$", outcome["log"]), outcome
    assert blocked.status == 0


def test_explaining_delivers_and_keeps_nothing(mailhost: Host, blocked: Explained) -> None:
    assert mailhost.postfix.queued() == []
    assert mailhost.mailbox.count() == 0


def test_message_that_all_refuse_has_the_status_of_its_bounce(mailhost: Host) -> None:
    mailhost.configured('[policy]\nkill_level = 5\ndestiny = "bounce"\n')
    explained = Explained(mailhost, scoring(8), "a@stranger.example", "jane@example.com")
    outcome = dict(explained.sections["Outcome"])
    assert outcome["status"] == "69: Postfix bounces the message"
    assert outcome["log"] == "5.7.1 the message looks like spam (score 8.0, 5.0 required)"
    assert explained.status == 69


def test_what_is_explained_is_what_happens(mailhost: Host) -> None:
    """Postfix logs the same line for the same message."""
    mailhost.configured(POLICY)
    explained = Explained(mailhost, scoring(4), SENDER, *EVERYBODY)
    line = mailhost.postfix.wait_log(mailhost.put(scoring(4), EVERYBODY, SENDER), "relay=spamcheck", "status=sent")
    told = dict(explained.sections["Outcome"])["log"]
    head, _, counts = told.partition("; ")
    assert head in line
    assert sorted(counts.split(", ")) == sorted(line.rpartition("; ")[2].removesuffix("))").split(", "))
    mailhost.settled()


def test_wrong_settings_are_explained(mailhost: Host) -> None:
    mailhost.configured('[[recipients]]\nmatch = ["jane@example.com"]\ntag2_levle = 5\n')
    explained = Explained(mailhost, scoring(4), "a@stranger.example", "jane@example.com")
    assert explained.status == 75
    assert f'{FILE}: [[recipients]] 1 tag2_levle: there is no such key; did you mean "tag2_level"?' in " ".join(
        explained.text.split()
    )
