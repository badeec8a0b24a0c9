"""The subject tag: before the text of a Subject of any form, which keeps its bytes, and never twice."""

import re
from email.header import decode_header, make_header

import pytest
from proving import MESSAGES, Host, body_is_whole, by_recipient, fields, for_recipients, is_consistent

from lab.mailbox import Copy

SUBJECT = b"Subject: Minutes of Tuesday's meeting\n"
TAGS = {"plain": "[SPAM]", "figures": "*_SCORE_/_REQD_*", "umlaut": "SPAM? für _SCORE_"}
# By tag: what it becomes for 8 points, and a subject that is tagged already.
WORDS = {
    "plain": (b"[SPAM]", b"Subject: [SPAM] offer\n"),
    "figures": (b"*8.0/5.0*", b"Subject: *-4.7/6.31* offer\n"),
    "umlaut": (b"=?utf-8?q?SPAM=3F=20f=C3=BCr=208.0?=", b"Subject: =?utf-8?q?SPAM=3F=20f=C3=BCr=201000.0?= offer\n"),
}
# As sent, and as it arrives; %b is the tag.
SUBJECTS = {
    "usual": (SUBJECT, b"Subject: %b Minutes of Tuesday's meeting\n"),
    "folded": (b"Subject: one\n two\n\tthree\n", b"Subject: %b one\n two\n\tthree\n"),
    "folded-at-once": (b"Subject:\n one\n", b"Subject:\n %b one\n"),
    "encoded": (
        b"Subject: =?utf-8?B?w5xiZXI=?=\n =?utf-8?Q?_Gr=C3=B6=C3=9Fe?=\n",
        b"Subject: %b =?utf-8?B?w5xiZXI=?=\n =?utf-8?Q?_Gr=C3=B6=C3=9Fe?=\n",
    ),
    "8-bit": (b"Subject: \xfcber \xc3\xbc\n", b"Subject: %b \xfcber \xc3\xbc\n"),
    "no-blank": (b"Subject:offer\n", b"Subject:%b offer\n"),
    "blanks": (b"SUBJECT:  offer  \n", b"SUBJECT:  %b offer  \n"),
    "empty": (b"Subject:\n", b"Subject: %b\n"),
    "missing": (b"", b"Subject: %b\n"),
    "tag-later": (b"Subject: Re: [SPAM] offer\n", b"Subject: %b Re: [SPAM] offer\n"),
    "two": (b"Subject: one\nsubject: two\n", b"Subject: %b one\nsubject: %b two\n"),
    "long": (b"Subject: " + 900 * b"x" + b"\n", b"Subject: %b " + 900 * b"x" + b"\n"),
}
# How SpamAssassin sees it: as the policy does, and it may rename and wrap; or not as spam.
WAYS = {
    "agreed": "",
    "renamed": "rewrite_header Subject [SA]\n",
    "wrapped": "report_safe 1\n",
    "not-agreed": "required_score 50\nrewrite_header Subject [SA]\n",
}
USED = [(tag, way) for tag in TAGS for way in WAYS if tag == "plain" or way in ("agreed", "not-agreed")]
each_tag = pytest.mark.parametrize("tag", TAGS)
each_subject = pytest.mark.parametrize("name", SUBJECTS)
Delivered = dict[str, list[Copy]]


def with_subject(subject: bytes) -> bytes:
    """Return a message of 8 points with these bytes instead of its Subject."""
    return b"X-Test-Score: 8\n" + MESSAGES["clean"].replace(SUBJECT, subject)


def address(tag: str, way: str, name: str) -> str:
    """Return the recipient who has this tag and these preferences."""
    return f"{name}@{way}.{tag}.example"


def original(tag: str, name: str) -> bytes:
    """Return a message as it is sent."""
    return with_subject(WORDS[tag][1] if name == "tagged" else SUBJECTS[name][0])


@pytest.fixture(scope="module")
def delivered(module_mailhost: Host) -> Delivered:
    """What arrived for whom."""
    host = module_mailhost
    blocks = [for_recipients(f".{name}.example", f'subject_tag = "{tag}"') for name, tag in TAGS.items()]
    host.configured("[policy]\ntag2_level = 6\n" + "".join(blocks))
    sent = [(tag, way, name) for tag, way in USED for name in [*SUBJECTS, "tagged"]]
    for tag, way, name in sent:
        host.spamd.preferences(address(tag, way, name), WAYS[way])
        host.put(original(tag, name), [address(tag, way, name)])
    return by_recipient(host.once(len(sent), timeout=60))


def subjects(copy: Copy) -> list[bytes]:
    """Return the Subject fields of a copy as they are."""
    return [field for field in fields(copy.head) if re.match(rb"subject *:", field, re.IGNORECASE)]


def tagged(tag: str, name: str) -> bytes:
    """Return the Subject fields of a message with the tag, SpamAssassin's required score in it.

    A tag that is an encoded word before another one holds the blank: that between them is not shown (RFC 2047, 6.2).
    """
    fields = SUBJECTS[name][1].replace(b"%b", WORDS[tag][0])
    return fields.replace(b"?= =?", b"=20?= =?")


@each_subject
@each_tag
def test_tag_stands_before_the_text_that_keeps_its_bytes(delivered: Delivered, tag: str, name: str) -> None:
    (copy,) = delivered[address(tag, "agreed", name)]
    assert b"".join(subjects(copy)) == tagged(tag, name), copy.head


@each_subject
@each_tag
def test_tag_is_the_same_where_spamassassin_does_not_agree(delivered: Delivered, tag: str, name: str) -> None:
    """Then the required score is that of tag2_level, and SpamAssassin's own tag is not there."""
    (copy,) = delivered[address(tag, "not-agreed", name)]
    assert b"".join(subjects(copy)) == tagged(tag, name).replace(b"/5.0*", b"/6.0*"), copy.head


@pytest.mark.parametrize(("tag", "way"), [pair for pair in USED if pair[1] != "renamed"])
def test_tagged_subject_is_left_alone(delivered: Delivered, tag: str, way: str) -> None:
    """Whatever the figures in the tag are."""
    (copy,) = delivered[address(tag, way, "tagged")]
    assert b"".join(subjects(copy)) == WORDS[tag][1], copy.head


@each_subject
def test_tag_comes_before_spamassassins(delivered: Delivered, name: str) -> None:
    """Where SpamAssassin has rewritten the subject."""
    (copy,) = delivered[address("plain", "renamed", name)]
    starts = [field.partition(b":")[2].split()[:2] for field in subjects(copy)]
    assert starts == [[b"[SPAM]", b"[SA]"]] * max(1, SUBJECTS[name][0].lower().count(b"subject")), copy.head


@each_subject
def test_outer_subject_of_a_wrapped_message_has_the_tag(delivered: Delivered, name: str) -> None:
    """And the original inside has not."""
    (copy,) = delivered[address("plain", "wrapped", name)]
    assert subjects(copy), copy.head
    for field in subjects(copy):
        assert field.partition(b":")[2].split()[0] == b"[SPAM]", copy.head
    assert original("plain", name) in copy.body


@pytest.mark.parametrize(("tag", "way"), [pair for pair in USED if pair[1] != "wrapped"])
def test_tag_leaves_body_and_other_fields_alone(delivered: Delivered, tag: str, way: str) -> None:
    others = fields(with_subject(b"").partition(b"\n\n")[0] + b"\n")
    for name in SUBJECTS:
        (copy,) = delivered[address(tag, way, name)]
        assert is_consistent(copy), copy.head
        assert body_is_whole(copy, with_subject(b""))
        assert [field for field in fields(copy.head) if field in others] == others, copy.head


@each_tag
def test_missing_subject_is_added_once(delivered: Delivered, tag: str) -> None:
    (copy,) = delivered[address(tag, "agreed", "missing")]
    assert len(subjects(copy)) == 1, copy.head


@pytest.mark.parametrize("tag", ["für dich _SCORE_", "SPÄM?", "[SPÄM_1]", "=?x?="])
def test_tag_is_read_as_it_is_written_in_the_settings(mailhost: Host, tag: str) -> None:
    """What is not ASCII is read from an encoded word."""
    mailhost.configured(f'[policy]\nsubject_tag = "{tag}"\n')
    (copy,) = mailhost.deliver(with_subject(b"Subject: offer\n"))
    assert str(make_header(decode_header(str(copy.header("Subject"))))) == f"{tag.replace('_SCORE_', '8.0')} offer"
