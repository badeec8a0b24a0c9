"""A recipient whose preferences take SpamAssassin's score out: its verdict counts, and no number is reached by it."""

from dataclasses import dataclass

import pytest
from proving import Host, body_is_whole, for_recipients, marks, scoring

from lab.mailbox import Copy

CLEARED = "clear_headers\n"
REWORDED = 'clear_headers\nadd_header all Status "_YESNO_, it has _SCORE_ points"\n'
POLICY = '[policy]\ndestiny = "discard"\nquarantine = "kept@${domain}"\nsubject_tag = "[SPAM _SCORE_]"\n'


@dataclass(frozen=True)
class Case:
    """Levels, and what becomes of a message that SpamAssassin calls clean, and of one that it calls spam."""

    keys: str
    ham: str
    spam: str
    warned: bool = True


CASES = {
    "defaults": Case("", "clean", "marked", warned=False),
    "tag2-low": Case("tag2_level = 1", "clean", "marked"),
    "tag2-high": Case("tag2_level = 100", "clean", "marked"),
    "kill-low": Case("kill_level = 1", "clean", "marked"),
    "kill-negative": Case("kill_level = -100", "clean", "marked"),
    "kill-required": Case('kill_level = "required"', "clean", "kept", warned=False),
    "kill-always": Case('kill_level = "always"', "kept", "kept", warned=False),
    "always": Case('tag2_level = "always"', "marked", "marked", warned=False),
    "never": Case('tag2_level = "never"', "clean", "clean", warned=False),
    "blocked": Case('block_senders = ["."]\nkill_level = 100', "kept", "kept"),
    "blocked-marked": Case('block_senders = ["."]', "marked", "marked", warned=False),
    "tag-number": Case("tag_level = 1", "clean", "marked"),
}
PREFERENCES = {"cleared": CLEARED, "reworded": REWORDED}
SCORES = {"ham": 4, "spam": 8}
each_message = pytest.mark.parametrize(
    ("way", "name", "word"), [(way, name, word) for way in PREFERENCES for name in CASES for word in SCORES]
)


def address(way: str, name: str, word: str) -> str:
    """Return whom a message is for."""
    return f"{way}@{word}.{name}-{way}.example"


class Sent:
    """All messages: queue ids, and what arrived by recipient."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.ids: dict[str, str] = {}
        for way, preferences in PREFERENCES.items():
            for name in CASES:
                for word, score in SCORES.items():
                    to = address(way, name, word)
                    host.spamd.preferences(to, preferences)
                    self.ids[to] = host.put(scoring(score), [to])
        self.copies = {copy.recipient: copy for copy in host.once(len(self.ids))}

    def arrived(self, to: str) -> Copy:
        """Return the copy that arrived, for the recipient or in quarantine."""
        kept = f"kept@{to.partition('@')[2]}"
        return self.copies.get(kept) or self.copies[to]


@pytest.fixture(scope="module")
def sent(module_mailhost: Host) -> Sent:
    """Each case's message."""
    blocks = [
        for_recipients(f".{name}-{way}.example", case.keys) for way in PREFERENCES for name, case in CASES.items()
    ]
    module_mailhost.configured(POLICY + "".join(blocks))
    return Sent(module_mailhost)


@each_message
def test_verdict_decides_and_no_number_kills(sent: Sent, way: str, name: str, word: str) -> None:
    to = address(way, name, word)
    expected = CASES[name].ham if word == "ham" else CASES[name].spam
    subject = str(sent.copies[to].header("Subject")) if to in sent.copies else ""
    assert ("kept" if not subject else "marked" if subject.startswith("[SPAM ?] ") else "clean") == expected


@each_message
def test_fields_say_what_the_subject_says(sent: Sent, way: str, name: str, word: str) -> None:
    """And nothing in them contradicts it; what preferences have taken out where SpamAssassin agrees stays out."""
    to = address(way, name, word)
    if to not in sent.copies:
        return
    copy = sent.copies[to]
    marked = str(copy.header("Subject")).startswith("[SPAM ?] ")
    status = str(copy.header("X-Spam-Status") or "")
    assert not status.startswith("No" if marked else "Yes"), copy.head
    assert copy.header("X-Spam-Flag") in ((None, "YES") if marked else (None,)), copy.head
    if marked == (word == "ham"):
        assert (copy.header("X-Spam-Flag") == "YES") == marked, copy.head


@each_message
def test_body_is_whole_without_a_score(sent: Sent, way: str, name: str, word: str) -> None:
    copy = sent.arrived(address(way, name, word))
    assert body_is_whole(copy, scoring(SCORES[word]))
    assert marks(copy), copy.head


@each_message
def test_log_says_that_levels_were_not_compared(sent: Sent, way: str, name: str, word: str) -> None:
    """As a warning, and only where one of the levels is a number."""
    to = address(way, name, word)
    lines = sent.host.syslog.lines(f"{sent.ids[to]}: no score from SpamAssassin: levels that are numbers do not hold")
    assert [line[:4] for line in lines] == ["<20>"] * CASES[name].warned


def test_postfix_log_has_no_score(sent: Sent) -> None:
    (line,) = sent.host.postfix.log_lines(sent.ids[address("cleared", "kill-required", "spam")], "relay=spamcheck")
    assert line.endswith("(spam; 1 quarantined))"), line
