"""Lists of senders, spam_lover and bypass: whose mail is marked, whose is handled, and whose is neither.

Handled mail is kept and not delivered: each case has a domain of its own, and kept@DOMAIN is its quarantine.
"""

from dataclasses import dataclass

import pytest
from proving import MESSAGES, SAM, Host, body_is_whole, by_recipient, for_recipients, is_consistent, marks, scoring

from lab.mailbox import Copy
from lab.tools import free_port

POLICY = """
[policy]
kill_level = 7
destiny = "discard"
quarantine = "kept@${domain}"
welcome_senders = ["!not.really@friend.example", "friend.example", "both@list.example"]
block_senders = ["!news@shop.example", ".shop.example", '/^offer[0-9]+@/', "jim@block.example", "both@list.example"]
"""
SCORES = (1, 8)
STRANGER, FRIEND, BLOCKED, BOTH = "a@stranger.example", "anna@friend.example", "jim@block.example", "both@list.example"
# What becomes of a message of 1 point, and of 8.
PLAIN = ("clean", "kept")
WELCOME = ("clean", "marked")
BLOCK = ("kept", "kept")
MARKED = ("marked", "marked")
BARE = ("bare", "bare")


@dataclass(frozen=True)
class Case:
    """Mail from a sender, to a recipient with these keys of his own: what becomes of it."""

    sender: str
    ends: tuple[str, ...]
    keys: str = ""
    claimed: str = "Anna <a@stranger.example>"


CASES = {
    "nobody": Case(STRANGER, PLAIN),
    "friend": Case(FRIEND, WELCOME),
    "exception-of-friends": Case("not.really@friend.example", PLAIN),
    "below-friend": Case("anna@mail.friend.example", PLAIN),
    "block": Case(BLOCKED, BLOCK),
    "both": Case(BOTH, MARKED),
    "exception-first": Case("news@shop.example", PLAIN),
    "others-of-a-domain": Case("shop@shop.example", BLOCK),
    "below-a-domain": Case("news@mail.shop.example", BLOCK),
    "exception-too-late": Case(STRANGER, BLOCK, 'block_senders = [".stranger.example", "!a@stranger.example"]'),
    "regex": Case("Offer12@stranger.example", BLOCK),
    "regex-not": Case("offers@stranger.example", PLAIN),
    "extension": Case("jim+news@block.example", BLOCK),
    "another-user": Case("jimmy@block.example", PLAIN),
    "case": Case("JIM@Block.EXAMPLE", BLOCK),
    "quoted": Case('"jim"@block.example', BLOCK),
    "from-only": Case(STRANGER, BLOCK, claimed="Jim <jim@block.example>"),
    "from-welcome": Case(STRANGER, WELCOME, claimed="anna@friend.example"),
    "from-second": Case(STRANGER, BLOCK, claimed="a@stranger.example, Jim <JIM@block.example>"),
    "from-name": Case(STRANGER, PLAIN, claimed='"anna@friend.example" <a@stranger.example>'),
    "from-comment": Case(STRANGER, PLAIN, claimed="a@stranger.example (anna@friend.example)"),
    "from-and-sender": Case(BLOCKED, MARKED, claimed="anna@friend.example"),
    "from-folded": Case(STRANGER, BLOCK, claimed="Jim\n <jim@block.example>"),
    "null": Case("", PLAIN),
    "null-welcome": Case("", WELCOME, 'welcome_senders = ["<>"]'),
    "null-block": Case("", BLOCK, 'block_senders = ["<>"]'),
    "null-everybody": Case("", BLOCK, 'block_senders = ["."]'),
    "not-null": Case(STRANGER, PLAIN, 'block_senders = ["<>"]'),
    "everybody": Case(STRANGER, BLOCK, 'block_senders = ["."]'),
    "own-block-of-a-friend": Case(FRIEND, BLOCK, 'block_senders = ["friend.example"]'),
    "own-welcome-of-a-blocked": Case(BLOCKED, WELCOME, 'welcome_senders = ["jim@block.example"]'),
    "own-exception-of-a-friend": Case(FRIEND, PLAIN, 'welcome_senders = ["!anna@friend.example", "."]'),
    "own-exception-of-a-blocked": Case(BLOCKED, PLAIN, 'block_senders = ["!jim@block.example"]'),
    "own-for-others": Case(BLOCKED, BLOCK, 'welcome_senders = ["someone@else.example"]'),
    "own-both": Case(STRANGER, MARKED, 'welcome_senders = ["."]\nblock_senders = ["."]'),
    "own-empty": Case(BLOCKED, BLOCK, "block_senders = []"),
    "lover": Case(STRANGER, WELCOME, "spam_lover = true"),
    "lover-of-blocked": Case(BLOCKED, MARKED, "spam_lover = true"),
    "block-never-killed": Case(BLOCKED, MARKED, 'kill_level = "never"'),
    "block-far-from-killed": Case(BLOCKED, BLOCK, "kill_level = 100"),
    "block-never-marked": Case(BLOCKED, MARKED, 'tag2_level = "never"\nkill_level = "never"'),
    "welcome-always-killed": Case(FRIEND, WELCOME, 'kill_level = "always"'),
    "bypass": Case(STRANGER, BARE, "bypass = true"),
    "bypass-of-blocked": Case(BLOCKED, BARE, 'bypass = true\nkill_level = "always"'),
}
each_case = pytest.mark.parametrize(("name", "score"), [(name, score) for name in CASES for score in SCORES])
Delivered = dict[tuple[str, int], list[Copy]]


def recipient(name: str, score: int) -> str:
    """Return whom a case's message of this score is for."""
    return f"jane@score{score}.{name}.example"


def message_of(name: str, score: int) -> bytes:
    """Return a case's message."""
    return scoring(score).replace(b"From: Anna Example <anna@client.example>", b"From: " + CASES[name].claimed.encode())


class Sent:
    """All messages of this module: what arrived by recipient, queue ids, and spamd's scans."""

    def __init__(self, host: Host) -> None:
        before = len(host.scans())
        pairs = [(name, score) for name in CASES for score in SCORES]
        self.ids = {pair: host.put(message_of(*pair), [recipient(*pair)], CASES[pair[0]].sender) for pair in pairs}
        self.copies = by_recipient(host.once(len(pairs), timeout=60))
        self.scans = host.scans()[before:]


@pytest.fixture(scope="module")
def sent(module_mailhost: Host) -> Sent:
    """Each case's message with each of SCORES."""
    blocks = [for_recipients(f".{name}.example", case.keys) for name, case in CASES.items() if case.keys]
    module_mailhost.configured(POLICY + "".join(blocks))
    return Sent(module_mailhost)


def end(copies: dict[str, list[Copy]], address: str) -> str:
    """Return what became of the message to an address."""
    (_, _, domain) = address.partition("@")
    if f"kept@{domain}" in copies:
        return "kept" if address not in copies else "kept and delivered"
    (copy,) = copies[address]
    if not marks(copy):
        return "bare"
    return "marked" if copy.header("X-Spam-Flag") else "clean"


@each_case
def test_list_decides(sent: Sent, name: str, score: int) -> None:
    assert end(sent.copies, recipient(name, score)) == CASES[name].ends[SCORES.index(score)]


@each_case
def test_copy_says_one_thing_and_has_the_whole_body(sent: Sent, name: str, score: int) -> None:
    for copy in sent.copies.get(recipient(name, score), []):
        assert is_consistent(copy), copy.head
        assert body_is_whole(copy, message_of(name, score))


@pytest.mark.parametrize(
    ("name", "listed"),
    [("nobody", ""), ("friend", "welcome"), ("block", "block"), ("both", "both"), ("own-block-of-a-friend", "block"),
     ("bypass-of-blocked", "")],
)  # fmt: skip
def test_log_names_the_list(sent: Sent, mailhost: Host, name: str, listed: str) -> None:
    line = mailhost.syslog.wait_for(f"{sent.ids[name, 8]}: from=")
    assert ("list=" in line) == bool(listed)
    assert f", list={listed}, " in line or not listed, line


def test_who_bypasses_is_not_scanned(sent: Sent) -> None:
    scanned = [line for line in sent.scans if "bypass" in line]
    assert scanned == []
    assert len(sent.scans) == len(SCORES) * sum(case.ends != BARE for case in CASES.values())


def test_log_says_that_nothing_was_scanned_where_all_bypass(mailhost: Host) -> None:
    mailhost.configured("[policy]\nbypass = true\n")
    before = mailhost.scans()
    queue_id = mailhost.put("gtube", ["jane@example.com", SAM])
    line = mailhost.postfix.wait_log(queue_id, "relay=spamcheck", "status=sent")
    assert line.endswith("(not scanned (bypass); 2 reinjected))")
    mailhost.once(2)
    assert mailhost.scans() == before


def test_bypass_needs_no_spamd(mailhost: Host) -> None:
    """Mail whose recipients all bypass arrives also while spamd does not run."""
    mailhost.configured("[policy]\nbypass = true\n")
    mailhost.spamd.stop()
    (copy,) = mailhost.deliver("gtube")
    assert marks(copy) == []


def test_without_a_scan_only_a_blocked_sender_is_marked_and_handled(mailhost: Host) -> None:
    """With on_failure = "pass", and two servers that do not answer."""
    nobody = [f"127.0.0.1:{free_port()}" for _ in range(2)]
    mailhost.servers(*nobody, more='on_failure = "pass"\n' + POLICY + for_recipients(SAM, 'kill_level = "always"'))
    for sender in (STRANGER, BLOCKED, BOTH):
        mailhost.put("gtube", [SAM], sender)
    copies = {(copy.sender, copy.recipient): copy for copy in mailhost.once(3)}
    names = {who: [mark.partition(b":")[0] for mark in marks(copy)] for who, copy in copies.items()}
    assert names == {
        (STRANGER, SAM): [b"X-Spam-Unscanned"],
        ("", "kept@example.com"): [],
        (BOTH, SAM): [b"X-Spam-Unscanned", b"X-Spam-Flag", b"X-Spam-Report"],
    }


def test_who_bypasses_gets_no_mark_of_a_scan_for_others(mailhost: Host) -> None:
    """His copy has no X-Spam-* field, forged ones neither; the others' are marked."""
    mailhost.spamd.preferences("spamfilt", "required_score -100\nreport_safe 1\nrewrite_header Subject [SA]\n")
    keys = 'bypass = true\nkill_level = "always"\ndestiny = "discard"'
    mailhost.configured('[policy]\nsubject_tag = "[SPAM]"\n' + for_recipients(SAM, keys))
    copies = by_recipient(mailhost.deliver("forged", ["jane@example.com", SAM, "joe@example.com"]))
    (bare,), (jane,), (joe,) = copies[SAM], copies["jane@example.com"], copies["joe@example.com"]
    assert marks(bare) == [], bare.head
    assert bare.header("Subject") == "This has been checked already, believe us"
    assert body_is_whole(bare, MESSAGES["forged"])
    assert jane.header("X-Spam-Flag") == joe.header("X-Spam-Flag") == "YES"


def test_each_recipient_of_a_message_has_his_own_lists(mailhost: Host) -> None:
    names = {
        "plain": "",
        "welcome": 'welcome_senders = ["."]',
        "block": 'block_senders = ["."]',
        "bare": "bypass = true",
    }
    blocks = [for_recipients(f"{name}@example.com", keys) for name, keys in names.items()]
    mailhost.configured(POLICY + "".join(blocks))
    queue_id = mailhost.put(scoring(8), [f"{name}@example.com" for name in names], FRIEND)
    copies = by_recipient(mailhost.once(4))
    assert set(copies) == {"plain@example.com", "welcome@example.com", "kept@example.com", "bare@example.com"}
    line = mailhost.postfix.wait_log(queue_id, "relay=spamcheck", "status=sent")
    assert line.endswith("(spam 8.0/5.0, tagged for 2; 3 reinjected, 1 quarantined))"), line
