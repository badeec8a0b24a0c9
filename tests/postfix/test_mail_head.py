"""Messages above max_size: with oversize = "head" their beginning is scanned, and the whole is marked, byte for byte.

Without it only a sender on the block list has them marked.
"""

import itertools

import pytest
from proving import (
    MESSAGES,
    Host,
    body_is_whole,
    by_recipient,
    fields,
    for_recipients,
    is_consistent,
    is_mark,
    marks,
    scoring,
    sent_fields,
)

from lab.mailbox import Copy

MAX_SIZE = 3000
HEAD = f'max_size = {MAX_SIZE}\noversize = "head"\n'
LEVELS = '[policy]\ntag_level = 2\ntag2_level = 6\nsubject_tag = "[SPAM]"\n'
LINES = b"".join(b"%07d %s\n" % (number, b"x" * (number % 63)) for number in range(300))
GTUBE = MESSAGES["gtube"]
HEADER, _, BODY = scoring(8).partition(b"\n\n")
SUBJECT = b"Subject: Minutes of Tuesday's meeting\n"
OTHERS = HEADER.replace(SUBJECT, b"") + b"\n"
LONG_FIELD = b"X-Long: " + b"".join(b"%07d %s\n\t" % (number, b"x" * 50) for number in range(100)) + b"end\n"

# Each message, and whether its head is spam.
SENT = {
    "many-lines": (HEADER + b"\n\n" + LINES, True),
    "gtube-first": (GTUBE + LINES, True),
    "gtube-last": (GTUBE.partition(b"\n\n")[0] + b"\n\n" + LINES + GTUBE.partition(b"\n\n")[2], False),
    "forged": (b"X-Test-Score: 8\n" + MESSAGES["forged"] + LINES, True),
    "cut-in-a-line": (HEADER + b"\n\n" + BODY + b"x" * 5000 + b"\n" + LINES, True),
    "body-of-one-line": (HEADER + b"\n\n" + b"x" * 9000 + b"\n", True),
    "cut-in-the-header": (OTHERS + LONG_FIELD + SUBJECT + b"\n" + LINES, True),
    "cut-in-a-long-field": (OTHERS + SUBJECT + b"X-Long: " + b"x" * 1900 + b"\n" + LONG_FIELD + b"\n" + LINES, True),
    "score-after-the-cut": (LONG_FIELD + HEADER + b"\n\n" + LINES, False),
    "no-header": (b"\n" + LINES, False),
    "8-bit": (HEADER + b"\n\n" + bytes(range(1, 256)).replace(b"\r", b"") * 40 + b"\n", True),
}
each_message = pytest.mark.parametrize("name", SENT)
Delivered = dict[str, Copy]


@pytest.fixture(scope="module")
def delivered(module_mailhost: Host) -> Delivered:
    """What arrived, and at NAME@plain.example what arrives without the filter."""
    host = module_mailhost
    host.configured(HEAD + LEVELS)
    for name, (message, _) in SENT.items():
        host.put(message, [f"{name}@example.com"])
        host.put(message, [f"{name}@plain.example"], filtered=False)
    return {copy.recipient: copy for copy in host.once(2 * len(SENT))}


def own_fields(copy: Copy) -> list[bytes]:
    """Return the fields that the sender has written, without forged ones."""
    return [field for field in sent_fields(copy) if not is_mark(field)]


@each_message
def test_whole_body_arrives(delivered: Delivered, name: str) -> None:
    assert delivered[f"{name}@example.com"].body == delivered[f"{name}@plain.example"].body


@each_message
def test_head_decides(delivered: Delivered, name: str) -> None:
    copy = delivered[f"{name}@example.com"]
    assert (copy.header("X-Spam-Flag") == "YES") == SENT[name][1], copy.head[-3000:]
    assert copy.header("X-Spam-Checker-Version"), copy.head


@each_message
def test_marked_message_above_the_limit_says_one_thing(delivered: Delivered, name: str) -> None:
    copy = delivered[f"{name}@example.com"]
    assert is_consistent(copy, "[SPAM]"), copy.head


@each_message
def test_no_field_but_the_subject_changes(delivered: Delivered, name: str) -> None:
    """It gets the tag; of what the sender has forged nothing is left."""
    copy, plain = delivered[f"{name}@example.com"], delivered[f"{name}@plain.example"]
    untagged = [field.replace(b"Subject: [SPAM] ", b"Subject: ") for field in own_fields(copy)]
    assert untagged == own_fields(plain)


@each_message
def test_marks_are_spamassassins_of_this_scan(delivered: Delivered, name: str) -> None:
    forged = set(filter(is_mark, fields(MESSAGES["forged"].partition(b"\n\n")[0] + b"\n")))
    assert not forged & set(marks(delivered[f"{name}@example.com"]))


# Preferences: SpamAssassin agrees with the levels, or does not; it would wrap and rename.
WAYS = list(itertools.product((1, 4, 8), (0.5, 5, 50), (0, 1)))
each_way = pytest.mark.parametrize("way", WAYS, ids=lambda way: "-".join(map(str, way)))
Way = tuple[int, float, int]


def address(way: Way) -> str:
    """Return who has these preferences, for a message of this score."""
    score, required, safe = way
    return f"score{score}-required{required}-safe{safe}@example.com"


def large(score: int) -> bytes:
    """Return a large message whose header asks for this score."""
    return scoring(score) + LINES


@pytest.fixture(scope="module")
def ways(module_mailhost: Host) -> dict[str, list[Copy]]:
    """What arrived for whom."""
    host = module_mailhost
    host.configured(HEAD + LEVELS)
    host.mailbox.clear()
    for way in WAYS:
        rename = "rewrite_header Subject [SA]\nrewrite_header From SA\nrewrite_header To SA\n"
        host.spamd.preferences(address(way), f"required_score {way[1]}\nreport_safe {way[2]}\n{rename}")
        host.put(large(way[0]), [address(way)])
    return by_recipient(host.once(len(WAYS)))


@each_way
def test_levels_hold_for_the_head(ways: dict[str, list[Copy]], way: Way) -> None:
    (copy,) = ways[address(way)]
    score, required, _ = way
    assert (copy.header("X-Spam-Flag") == "YES") == (score >= 6), copy.head
    assert (copy.header("X-Spam-Status") is None) == (score < 2), copy.head
    if score >= 2:
        agreed = (score >= required) == (score >= 6)
        assert f" required={float(required) if agreed else 6.0} " in str(copy.header("X-Spam-Status")), copy.head
    assert is_consistent(copy, "[SPAM]"), copy.head


@each_way
def test_original_is_neither_wrapped_nor_renamed(ways: dict[str, list[Copy]], way: Way) -> None:
    (copy,) = ways[address(way)]
    assert body_is_whole(copy, large(way[0]))
    untagged = [field.replace(b"Subject: [SPAM] ", b"Subject: ") for field in own_fields(copy)]
    assert b"".join(untagged) == scoring(way[0]).partition(b"\n\n")[0] + b"\n"


@each_way
def test_spam_has_one_report(ways: dict[str, list[Copy]], way: Way) -> None:
    (copy,) = ways[address(way)]
    assert len(copy.message.get_all("X-Spam-Report", [])) == (way[0] >= 6), copy.head


def test_20_megabytes_are_marked_and_arrive_whole(mailhost: Host) -> None:
    """With the default max_size."""
    mailhost.configured('oversize = "head"\n')
    message = scoring(8) + LINES * (20 * 2**20 // len(LINES))
    (copy,) = mailhost.deliver(message)
    assert copy.header("X-Spam-Flag") == "YES", copy.head
    assert body_is_whole(copy, message)


def test_each_recipient_of_a_large_message_has_his_own_levels(mailhost: Host) -> None:
    """One is marked, one not, one bypasses, one has it in quarantine."""
    blocks = {
        "high": "tag2_level = 30",
        "bare": "bypass = true",
        "kept": 'kill_level = 7\nquarantine = "quarantine@example.com"\ndestiny = "discard"',
    }
    mailhost.configured(HEAD + "".join(for_recipients(f"{name}@example.com", keys) for name, keys in blocks.items()))
    mailhost.put(large(8), [f"{name}@example.com" for name in ("plain", *blocks)])
    copies = {copy.recipient.partition("@")[0]: copy for copy in mailhost.once(4)}
    flags = {name: copy.header("X-Spam-Flag") for name, copy in copies.items()}
    assert flags == {"plain": "YES", "high": None, "bare": None, "quarantine": "YES"}
    assert [body_is_whole(copy, large(8)) for copy in copies.values()] == [True] * 4
    assert marks(copies["bare"]) == []
    assert copies["quarantine"].header("X-Envelope-To") == "<kept@example.com>"


def test_large_message_of_a_blocked_sender_is_marked_without_a_scan(mailhost: Host) -> None:
    """With oversize = "pass"; and it reaches kill_level."""
    block = 'block_senders = ["sender@client.example"]\nsubject_tag = "[SPAM]"\n'
    keep = 'kill_level = 100\nquarantine = "quarantine@example.com"\n'
    mailhost.configured(f"max_size = {MAX_SIZE}\n[policy]\n{block}" + for_recipients("kept@example.com", keep))
    before = mailhost.scans()
    mailhost.put(large(1), ["jane@example.com", "kept@example.com"])
    copies = {copy.recipient.partition("@")[0]: copy for copy in mailhost.once(3)}
    assert mailhost.scans() == before
    assert (
        marks(copies["jane"])
        == marks(copies["kept"])
        == [
            b"X-Spam-Flag: YES\n",
            b"X-Spam-Report: the sender is on a block list here; not scanned\n",
        ]
    )
    assert copies["jane"].header("Subject") == "[SPAM] Minutes of Tuesday's meeting"
    assert [body_is_whole(copy, large(1)) for copy in copies.values()] == [True] * 3
    assert "X-Quarantine-ID" in copies["quarantine"].message
