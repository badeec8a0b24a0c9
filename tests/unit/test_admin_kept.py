"""admin/kept.py: what the filter keeps is read back, the original byte for byte, whatever the sender wrote."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pf_spamfilt import headers, quarantine, spool, stores, tagging
from pf_spamfilt.admin.keeping import kept

NAME = "4cDR2f5x-0123abcd"
STATUS = b"X-Spam-Status: Yes, score=15.3 required=5.0 tests=GTUBE,\n\tOTHER autolearn=no\n"
LINES = st.sampled_from(
    [
        b"Subject: x",
        b" folded",
        b"From a b",
        b">From a b",
        b"no field",
        b"",
        b"X-Quarantine-ID: <forged>",
        b"X-Envelope-From: <forged>",
        b"X-Envelope-To: <forged>,",
        b"\t<forged>",
        b"X-Quarantine-User: forged",
    ]
)
MESSAGES = st.one_of(
    st.binary(min_size=1),
    st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n"])), min_size=1).map(
        lambda lines: b"".join(line + end for line, end in lines)
    ),
)
# Postfix gives no other: before a blank the filter puts an empty line, and an mbox line is a line.
ORDINARY = MESSAGES.filter(
    lambda message: message[:1] not in b" \t" and not headers.is_mbox_line(message.rpartition(b"\n")[2])
)
ADDRESS = st.binary(max_size=30).map(lambda text: text.translate(None, b"\r\n"))
EXAMPLE = b"From: a@sender.example\nSubject: hello\n\nbody\n"


def written(message, sender=b"a@sender.example", recipients=(b"jane@example.com",), user=b"jane", spam_fields=STATUS):
    """Return a message as the filter keeps it, by its own code."""
    answer = SimpleNamespace(head=spam_fields + b"\n") if spam_fields else None
    scan = SimpleNamespace(answer=answer, user=user)
    group = [SimpleNamespace(wishes=SimpleNamespace(recipient=each), scan=scan) for each in recipients]
    fields, _ = headers.split(message)
    marks = quarantine._marks(NAME, sender, group, headers.line_end_of(fields))
    return spool.with_header(spool.from_bytes(message), fields, tagging.on_top(fields, marks)).head


def read(message):
    found = kept.parse(message)
    assert found is not None
    return found


@given(ORDINARY, ADDRESS, st.lists(ADDRESS.filter(bool), min_size=1), st.sampled_from([b"", b"jane"]), st.booleans())
def test_any_original_is_read_back(message, sender, recipients, user, scanned):
    message = spool.without_forgery(spool.from_bytes(message), len(message)).head
    data = written(message, sender, recipients, user, STATUS if scanned else b"")
    found = read(data)
    assert kept.original(data, found) == message
    assert (found.id, found.sender, found.recipients, found.user) == (NAME, sender, recipients, user)


@given(ORDINARY)
def test_size_of_the_original_is_known_from_the_head(message):
    data = written(message)
    assert len(data) - read(data).overhead == len(kept.original(data, read(data)))


@given(st.binary())
def test_any_bytes_are_a_kept_message_or_none(message):
    kept.parse(message)


@given(ORDINARY, st.integers(0, 1000))
def test_what_was_read_of_a_head_that_was_not_cut_is_right(message, length):
    """The rest says nothing else; so a list of 100,000 messages is made of their first bytes."""
    data = written(message)
    head = data[:length]
    found = kept.parse(head)
    if not kept.is_cut(head, found):
        assert found == read(data)._replace(is_complete=True)


@given(MESSAGES)
def test_mbox_entry_gives_the_message_back(message):
    whole = message if message.endswith(b"\n") else message + b"\n"
    with open(stores._entry(spool.from_bytes(message)), "rb") as entry:
        entry.seek(0)
        assert kept.from_mbox(entry.read()) == whole


@pytest.mark.parametrize(
    ("text", "score"),
    [
        (b"Yes, score=15.3 required=5.0", 15.3),
        (b"No, score=-2 required=5.0", -2.0),
        (b"Yes, hits=7.0 required=5.0", 7.0),
        (b"Yes,\n\tscore=7.0 required=5.0", 7.0),
        (b"Yes, score=7,5 required=5,0", None),
        (b"Yes", None),
    ],
)
def test_score_is_read(text, score):
    assert read(written(EXAMPLE, spam_fields=b"X-Spam-Status: " + text + b"\n")).score == score


def test_message_that_was_not_scanned_has_no_score():
    assert read(written(EXAMPLE, spam_fields=b"")).score is None


@pytest.mark.parametrize(
    ("header", "subject"),
    [
        (b"From: a\nSubject: hello\n", b"hello"),
        (b"Subject: hello\n", b"hello"),
        (b"From: a\nSUBJECT : hello\n", b"hello"),
        (b"Subject: a long\n\tway\n to go\n", b"a long way to go"),
        (b"From: a\r\nSubject: hello\r\n\tworld\r\n", b"hello world"),
        (b"From: a\n", b""),
    ],
)
def test_subject_is_read(header, subject):
    end = b"\r\n" if b"\r" in header else b"\n"
    assert read(written(header + end + b"Subject: in the body\n")).subject == subject


def test_delivery_fields_are_not_the_original_s():
    received = b"Received: by mx.example (Postfix, from userid 997)\n\tid 4cDR2f5y; Mon, 23 Nov 2026 03:49:12 +0000\n"
    data = b"Return-Path: <>\nDelivered-To: spam@example.com\n" + received + written(EXAMPLE)
    assert kept.original(data, read(data)) == EXAMPLE


@pytest.mark.parametrize(
    "received",
    [
        b"Received: from a.example (a.example [192.0.2.1])\n\tby mx.example (Postfix) with ESMTP id 4cDR2f5y\n",
        b"Received: from a.example by mx.example with SMTP\nReceived: by mx.example (Postfix, from userid 997)\n",
        b"Received: from a.example (a.example [192.0.2.1])\n\tby mx.example (Postfix) with ESMTP id 4cDR2f5y\n"
        b'\tfor <"spam+ with LMTP "@mx.example>; x\n',
        b"Received: from a.example (a.example [192.0.2.1])\n\tby mx.example (Postfix) with ESMTP id 4cDR2f5y\n"
        b'\tfor <"spam+ by a (Postfix, from userid 997) "@mx.example>; x\n',
        b"Received: from a.example (a.example [192.0.2.1])\n\t(using TLSv1.3 with cipher X (256/256 bits))\n"
        b'\t(Client CN ") by a with LMTP id x", Issuer "x" (not verified))\n\tby mx.example (Postfix) with ESMTPS\n',
        b"Subject: x\n",
    ],
)
def test_block_that_came_by_mail_is_not_believed(received):
    """Else a sender could have an administrator release what he wants to whom he wants."""
    assert kept.parse(received + written(EXAMPLE)) is None


@pytest.mark.parametrize(
    "lmtp",
    [
        b"Received: from mx.example\n\tby mx.example with LMTP\n\tid abc\n\tfor <spam@example.com>; x\n",
        b"Received: from mx.example ([192.0.2.1])\n\tby mx.example (Dovecot) with LMTP id abc; x\n",
        b"Received: from mx.example ([unix socket])\n\tby mx.example (Cyrus 3.6.1-Debian) with LMTPA;\n\tx\n",
    ],
)
def test_block_behind_local_lmtp_is_believed(lmtp):
    data = lmtp + b"Received: by mx.example (Postfix, from userid 997)\n\tid x\n" + written(EXAMPLE)
    assert kept.original(data, read(data)) == EXAMPLE


@pytest.mark.parametrize("file", sorted(Path("tests/messages").glob("*.eml")), ids=lambda file: file.stem)
def test_ordinary_message_is_none(file):
    assert kept.parse(file.read_bytes()) is None
