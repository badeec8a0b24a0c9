"""notify.py: notices that any program can read, whatever the message and its addresses are made of."""

import re
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pf_spamfilt import envelope, headers, notify
from pf_spamfilt.exits import Deferred

MESSAGES = Path(__file__).parent.parent / "messages"
RECEIVED = (
    b"Received: from offers.example (offers.example [192.0.2.1])\n"
    b"\tby mx.example.com (Postfix) with ESMTP id 4cDR2f5x\n"
    b"\tfor <jane@example.com>; Tue, 14 Jan 2025 12:00:01 +0100 (CET)\n"
)
NAMES = ["Date", "From", "To", "Subject", "Message-ID", "MIME-Version", "Content-Type", "Auto-Submitted"]
THREAD = ["In-Reply-To", "References"]


def header_of(name: str) -> bytes:
    """Return the header fields of one of the messages, as Postfix hands them over."""
    return RECEIVED + b"".join(headers.split((MESSAGES / f"{name}.eml").read_bytes())[0])


CASE = notify.Case(
    queue_id="4cDR2f5x",
    sender=b"somebody@offers.example",
    size=1234,
    score="15.3",
    required="5.0",
    tests="GTUBE,BAYES_99",
    reason="spam 15.3/5.0",
    header=header_of("gtube"),
    host="mx.example.com",
)


def changed(**keys):
    values = {name: getattr(CASE, name) for name in notify.Case.__slots__}
    return notify.Case(**values | keys)


JANE, SAM = b"jane@example.com", b"sam@example.com"

# What comes from outside: bytes of any kind, and such as look like addresses and header fields more often.
ADDRESS_PARTS = [
    b"jane",
    b"@",
    b"example.com",
    b"=?utf-8?q?x?=",
    b"\xc3\xa9",
    b"\xff",
    b"\r\n",
    b"\nBcc: x@y",
    b"a" * 400,
]
ADDRESS_PARTS += [b"%c" % char for char in b'.+ "\\<>,;:()[]\0\1\x85']
ADDRESSES = st.one_of(st.binary(), st.lists(st.sampled_from(ADDRESS_PARTS)).map(b"".join))
STARTS = [b"Subject: ", b"From: ", b"Message-ID: ", b"Received: from a; ", b"Content-Type: a/b; boundary=", b"--"]
VALUES = [b"<a@b>", b"<a b@c>", b"=?utf-8?b?4oCT?=", b"=?x?q?=00?=", b"=?utf-8?b?A?=", b"\xff\xfe", b"a" * 2000]
VALUES += [b"\r\rBcc: x@y", b"Tue, 14 Jan 2025 12:00:01 +0100", b".", b"=", b"\t ", b"From x"]
ENDS = [b"\n", b"\r\n", b"\r", b"\n ", b"\n\t", b"\n\n", b"\0\n"]
LINES = st.tuples(st.sampled_from(STARTS), st.sampled_from(VALUES) | st.binary(), st.sampled_from(ENDS)).map(b"".join)
HEADERS = st.one_of(st.binary(), st.lists(LINES).map(b"".join))
CASES = st.builds(
    notify.Case,
    queue_id=st.sampled_from(["4cDR2f5x", "NOQUEUE"]),
    sender=ADDRESSES,
    size=st.integers(0),
    score=st.sampled_from(["15.3", ""]),
    required=st.sampled_from(["5.0", ""]),
    tests=st.text(),
    reason=st.text(),
    header=HEADERS,
    host=st.one_of(st.just("mx.example.com"), st.text()),
)


def parsed(notice: bytes) -> EmailMessage:
    """Parse a notice, and see that it is one that no program stumbles over."""
    assert notice.isascii()
    assert b"\r" not in notice
    assert b"\0" not in notice
    assert max(map(len, notice.split(b"\n"))) <= 998
    message = message_from_bytes(notice, policy=default)
    for part in message.walk():
        assert part.defects == []
        # An address without a domain is completed by Postfix.
        assert [defect for value in part.values() for defect in value.defects if "no domain" not in str(defect)] == []
    return message


def parts(notice: bytes) -> list[EmailMessage]:
    return list(parsed(notice).iter_parts())


def text_of(notice: bytes) -> str:
    return parts(notice)[0].get_content()


def enclosed(notice: bytes) -> bytes:
    return parts(notice)[-1].get_payload(decode=True)


def groups(notice: bytes) -> list[EmailMessage]:
    return parts(notice)[1].get_payload()


def address_in(value: str) -> str:
    """Return the address in the value of Final-Recipient, read as RFC 6533 says."""
    kind, _, address = value.partition("; ")
    if kind == "utf-8":
        return re.sub(r"\\x\{([0-9A-F]+)\}", lambda found: chr(int(found[1], 16)), address)
    assert kind == "rfc822"
    return address


def written(address: bytes) -> str:
    """Return the address as mail writes it, or as it is."""
    text = address.decode("utf-8", "replace")
    try:
        quoted = envelope.for_sendmail(address).decode("utf-8", "replace")
    except Deferred:
        return text
    return quoted if quoted.isascii() and quoted.isprintable() and "=?" not in quoted else text


@given(CASES, st.lists(ADDRESSES))
def test_bounce_is_a_report_with_each_recipient_once_for_any_bytes(case, recipients):
    notice = notify.bounce(case, recipients)
    message = parsed(notice)
    assert message.get_content_type() == "multipart/report"
    assert message.get_param("report-type") == "delivery-status"
    assert [part.get_content_type() for part in message.iter_parts()] == [
        "text/plain",
        "message/delivery-status",
        "text/rfc822-headers",
    ]
    first, *rest = groups(notice)
    assert first.keys()[:3] == ["Reporting-MTA", "X-Postfix-Queue-ID", "X-Postfix-Sender"]
    found = [address_in(group["Final-Recipient"]) for group in rest]
    expected = [written(recipient) for recipient in recipients]
    assert [address[:80] for address in found] == [address[:80] for address in expected]
    assert all(group.keys() == ["Final-Recipient", "Action", "Status", "Diagnostic-Code"] for group in rest)


@given(CASES, st.lists(ADDRESSES))
def test_word_to_the_sender_is_sound_for_any_bytes(case, recipients):
    message = parsed(notify.to_sender(case, recipients))
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/rfc822-headers"]


@given(CASES, st.text(), st.lists(st.tuples(ADDRESSES, st.text())))
def test_report_to_the_administrator_is_sound_for_any_bytes(case, admin, outcomes):
    message = parsed(notify.to_admin(case, admin, outcomes))
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/rfc822-headers"]


@given(CASES)
def test_no_field_of_a_notice_is_the_messages_making(case):
    assert parsed(notify.bounce(case, [JANE])).keys() in (NAMES, NAMES + THREAD)
    assert parsed(notify.to_sender(case, [JANE])).keys() in (NAMES, NAMES + THREAD)
    assert parsed(notify.to_admin(case, "admin@example.com", [])).keys() == NAMES


@given(HEADERS)
def test_the_header_is_enclosed_byte_for_byte_but_for_line_ends(header):
    notice = notify.bounce(changed(header=header), [JANE])
    whole = b"".join(headers.split(header)[0]).replace(b"\r\n", b"\n")
    assert enclosed(notice).rstrip(b"\n") == whole.rstrip(b"\n")


def test_bounce_says_who_did_not_get_it_and_why():
    text = text_of(notify.bounce(CASE, [JANE, SAM]))
    assert "    <jane@example.com>\n    <sam@example.com>\n" in text
    assert "It was refused for them: spam 15.3/5.0." in text
    assert "<postmaster@mx.example.com>" in text


def test_bounce_tells_programs_what_rfc_3464_asks_for():
    message, first, second = groups(notify.bounce(CASE, [JANE, SAM]))
    assert message.items() == [
        ("Reporting-MTA", "dns; mx.example.com"),
        ("X-Postfix-Queue-ID", "4cDR2f5x"),
        ("X-Postfix-Sender", "rfc822; somebody@offers.example"),
        ("Arrival-Date", "Tue, 14 Jan 2025 12:00:01 +0100"),
    ]
    assert first.items() == [
        ("Final-Recipient", "rfc822; jane@example.com"),
        ("Action", "failed"),
        ("Status", "5.7.1"),
        ("Diagnostic-Code", "x-spam; spam 15.3/5.0"),
    ]
    assert second["Final-Recipient"] == "rfc822; sam@example.com"


def test_bounce_may_have_another_status():
    assert groups(notify.bounce(CASE, [JANE], "5.7.0"))[1]["Status"] == "5.7.0"


def test_bounce_comes_from_the_mail_system_and_goes_to_the_sender():
    message = parsed(notify.bounce(CASE, [JANE]))
    assert message["From"] == "Mail filter <MAILER-DAEMON@mx.example.com>"
    assert message["To"] == "somebody@offers.example"
    assert message["Subject"] == "Undelivered Mail Returned to Sender"
    assert message["Auto-Submitted"] == "auto-replied"
    assert message["Message-ID"].endswith("@mx.example.com>")
    assert message["Date"].datetime is not None


@pytest.mark.parametrize("build", [notify.bounce, notify.to_sender])
def test_no_part_of_the_body_goes_back(build):
    whole = (MESSAGES / "gtube.eml").read_bytes()
    notice = build(changed(header=whole), [JANE])
    assert enclosed(notice) == b"".join(headers.split(whole)[0])
    assert b"GTUBE" not in notice


@pytest.mark.parametrize("build", [notify.bounce, notify.to_sender])
def test_reply_refers_to_the_message(build):
    message = parsed(build(CASE, [JANE]))
    assert message["In-Reply-To"] == message["References"] == "<gtube-1@offers.example>"


@pytest.mark.parametrize(
    "field",
    [
        pytest.param(b"", id="none"),
        pytest.param(b"Message-ID:\n", id="empty"),
        pytest.param(b"Message-ID: a@b\n", id="no-brackets"),
        pytest.param(b"Message-ID: <a>\n", id="no-domain"),
        pytest.param(b"Message-ID: <a@b> <c@d>\n", id="two"),
        pytest.param(b"Message-ID: <a@b>\rBcc: x@y\n", id="carriage-return"),
        pytest.param(b"Message-ID: <a\0@b>\n", id="nul"),
        pytest.param(b"Message-ID: <\xc3\xa9@b>\n", id="8-bit"),
        pytest.param(b"Message-ID: <" + b"a" * 400 + b"@b>\n", id="long"),
    ],
)
def test_reply_refers_to_no_message_id_that_is_none(field):
    message = parsed(notify.bounce(changed(header=RECEIVED + field), [JANE]))
    assert message.keys() == NAMES


@pytest.mark.parametrize(
    "received",
    [
        pytest.param(b"Subject: x\n", id="none"),
        pytest.param(b"Received: by mx.example.com; yesterday\n", id="no-date"),
        pytest.param(b"Received: by mx.example.com\n" + RECEIVED, id="not-topmost"),
    ],
)
def test_a_time_of_arrival_that_is_not_known_is_left_out(received):
    assert "Arrival-Date" not in groups(notify.bounce(changed(header=received), [JANE]))[0]


@pytest.mark.parametrize(
    ("address", "value"),
    [
        pytest.param(b"a+b@example.com", "rfc822; a+b@example.com", id="plain"),
        pytest.param(b"a b@example.com", 'rfc822; "a b"@example.com', id="quoted"),
        pytest.param(b"jos\xc3\xa9+a@example.com", r"utf-8; jos\x{E9}\x{2B}a@example.com", id="utf-8"),
        pytest.param(b"jos\xe9@example.com", r"utf-8; jos\x{FFFD}@example.com", id="not-utf-8"),
        pytest.param(b"a\r\nb@example.com", r"utf-8; a\x{0D}\x{0A}b@example.com", id="line-break"),
        pytest.param(b"=?a?q?b?=@c", r"utf-8; \x{3D}?a?q?b?\x{3D}@c", id="encoded-word"),
        pytest.param(b"a" * 2000, "rfc822; " + "a" * 900, id="long"),
        pytest.param(b"\xc3\xa9" * 2000, "utf-8; " + r"\x{E9}" * 150, id="long-utf-8"),
        pytest.param(b"a\xc3\xa9" + b"\xff" * 900, r"utf-8; a\x{E9}" + r"\x{FFFD}" * 111, id="no-half-escape"),
    ],
)
def test_recipient_is_written_with_the_type_of_its_address(address, value):
    assert groups(notify.bounce(CASE, [address]))[1]["Final-Recipient"] == value


@pytest.mark.parametrize(
    ("sender", "to"),
    [
        pytest.param(b"a@example.com", "a@example.com", id="plain"),
        pytest.param(b"a b@example.com", '"a b"@example.com', id="quoted"),
        pytest.param(b"a@[192.0.2.1]", "a@[192.0.2.1]", id="address-literal"),
        pytest.param(b"a@b, c@d", '"a@b, c"@d', id="no-list-of-two"),
    ],
)
def test_bounce_goes_to_the_sender_as_one_address(sender, to):
    message = parsed(notify.bounce(changed(sender=sender), [JANE]))
    assert message["To"] == to
    assert len(message["To"].addresses) == 1


@pytest.mark.parametrize(
    ("sender", "name"),
    [
        pytest.param(b"jos\xc3\xa9@example.com", "josé@example.com", id="utf-8"),
        pytest.param(b"a@b\nBcc: c@d", "a@b Bcc: c@d", id="line-break"),
        pytest.param(b"=?utf-8?q?a?=@b", "=?utf-8?q?a?=@b", id="encoded-word"),
        pytest.param(b"a@b..c", "a@b..c", id="no-domain"),
        pytest.param(b"a@" + b"b" * 400, "a@" + "b" * 195 + "...", id="long"),
        pytest.param(b"", "undisclosed-recipients", id="null-sender"),
    ],
)
def test_a_sender_that_no_address_in_ascii_can_name_is_the_name_of_an_empty_group(sender, name):
    message = parsed(notify.bounce(changed(sender=sender), [JANE]))
    (group,) = message["To"].groups
    # Python's parser keeps the blanks between two encoded words.
    assert group.display_name.replace(" ", "") == name.replace(" ", "")
    assert group.addresses == ()


def test_word_to_the_sender_says_that_it_was_not_delivered_as_usual():
    notice = notify.to_sender(CASE, [JANE])
    assert "not delivered as usual to:\n\n    <jane@example.com>\n" in text_of(notice)
    assert parsed(notice)["Auto-Submitted"] == "auto-replied"
    assert enclosed(notice) == CASE.header


def test_word_to_the_sender_does_not_look_like_a_bounce():
    assert parsed(notify.to_sender(CASE, [JANE]))["From"] == "Mail filter <postmaster@mx.example.com>"


def test_report_to_the_administrator_tells_what_became_of_each_copy():
    outcomes = [(JANE, "discarded"), (SAM + b".invalid", "quarantined to spam@example.com (4cDR2f5y)")]
    notice = notify.to_admin(CASE, "admin@example.com", outcomes)
    assert text_of(notice) == (
        "The mail filter at host mx.example.com has handled a message:\n\n"
        "    Queue id: 4cDR2f5x\n"
        "    Sender:   <somebody@offers.example>\n"
        "    From:     Somebody <somebody@offers.example>\n"
        "    Subject:  Test of a spam filter\n"
        "    Size:     1234 bytes\n"
        "    Score:    15.3, required 5.0\n"
        "    Reason:   spam 15.3/5.0\n"
        "    Tests:    GTUBE, BAYES_99\n\n"
        "What became of it:\n\n"
        "    <jane@example.com>         discarded\n"
        "    <sam@example.com.invalid>  quarantined to spam@example.com (4cDR2f5y)\n\n"
        "Its header is attached.\n"
    )
    assert enclosed(notice) == CASE.header
    assert parts(notice)[-1].is_attachment()


def test_report_to_the_administrator_is_known_by_its_subject():
    message = parsed(notify.to_admin(CASE, "root", []))
    assert message["Subject"] == "Spam (15.3/5.0) from <somebody@offers.example>"
    assert message["To"] == "root"
    assert message["Auto-Submitted"] == "auto-generated"


def test_report_without_a_score_gives_the_reason():
    case = changed(score="", required="", tests="", reason="the sender is blocked")
    notice = notify.to_admin(case, "root", [])
    assert parsed(notice)["Subject"] == "Spam (the sender is blocked) from <somebody@offers.example>"
    assert "    Score:    (none)\n" in text_of(notice)


@pytest.mark.parametrize(
    ("subject", "shown"),
    [
        pytest.param(b"=?utf-8?q?caf=C3=A9?= =?utf-8?b?w6k=?=", "caféé", id="encoded"),
        pytest.param(b"caf\xc3\xa9", "café", id="8-bit"),
        pytest.param(b"=?nonsense?q?a?=", "=?nonsense?q?a?=", id="unknown-charset"),
        pytest.param(b"=?utf-8?b?A?=", "=?utf-8?b?A?=", id="bad-base64"),
        pytest.param(b"=?utf-8?q?=FF?=", "=?utf-8?q?=FF?=", id="not-of-its-charset"),
        pytest.param(b"=?utf-8?q?a=0ASize:_0?=", "a Size: 0", id="no-second-line"),
        pytest.param(b"=?utf-8?q?=E2=80=AEcba?=", "?cba", id="no-change-of-direction"),
        pytest.param(b"=?utf-7?q?+2AA-?=", "?", id="no-surrogate"),
    ],
)
def test_subject_is_shown_as_a_person_reads_it(subject, shown):
    case = changed(header=b"Subject: " + subject + b"\n")
    assert f"    Subject:  {shown}\n" in text_of(notify.to_admin(case, "root", []))


def test_a_long_list_of_tests_is_wrapped():
    notice = notify.to_admin(changed(tests=",".join(["SOME_TEST"] * 100)), "root", [])
    assert max(map(len, text_of(notice).splitlines())) <= 78


@pytest.mark.parametrize(
    ("header", "size"),
    [
        pytest.param(b"X-Filler: %s\n" % (b"y" * 89) * 10000, 16300, id="at-a-line-end"),
        pytest.param(b"X-Filler: " + b"y" * 1000000, 16384, id="in-a-line-without-end"),
    ],
)
def test_of_a_huge_header_the_beginning_is_enclosed(header, size):
    notice = notify.bounce(changed(header=header), [JANE])
    assert enclosed(notice).rstrip(b"\n") == header[:size].rstrip(b"\n")
    assert parts(notice)[-1]["Content-Description"].endswith(", its beginning")


@pytest.mark.parametrize(
    ("header", "encoding"),
    [
        pytest.param(header_of("gtube"), "7bit", id="plain"),
        pytest.param(b"Subject: caf\xc3\xa9\n", "quoted-printable", id="8-bit"),
        pytest.param(b"Subject: a\rb\0\n", "quoted-printable", id="controls"),
        pytest.param(b"Subject: " + b"a" * 990 + b"\n", "quoted-printable", id="long-line"),
        pytest.param(b"Subject: a\r\n", "7bit", id="crlf"),
    ],
)
def test_the_header_is_encoded_only_where_mail_cannot_carry_it(header, encoding):
    part = parts(notify.bounce(changed(header=header), [JANE]))[-1]
    assert part["Content-Transfer-Encoding"] == encoding


@pytest.mark.parametrize("host", ["", "a b", "a\nBcc: x@y", "a..b", "müller.example", "a" * 300])
def test_a_host_name_that_is_none_is_replaced(host):
    message = parsed(notify.bounce(changed(host=host), [JANE]))
    assert message["From"].addresses[0].addr_spec == "MAILER-DAEMON@localhost"
