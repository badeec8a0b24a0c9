"""What became of a message is judged right: each harm is found, and nothing else is called one."""

import pytest

from lab.judgement import SCAN_MARK, Case, Copy, address, envelope, parse_addresses, rule, split

MESSAGE = b"From: a@example.com\nSubject: x\n\tfolded\nX-Spam-Flag: NO forged\n\nbody\n\nFrom the end\n"
SCANNED = SCAN_MARK + b"\n" + MESSAGE.replace(b"X-Spam-Flag: NO forged\n", b"")
A, B = b"a@example.com", b"b@example.com"
CASE = Case(message=MESSAGE, sender=A, recipients=(A, B))
GOOD = Copy(A, (A, B), SCANNED)

VERDICTS = {
    "delivered whole": ("delivered", [GOOD], "safe"),
    "one copy for each": ("delivered", [Copy(A, (A,), SCANNED), Copy(A, (B,), SCANNED)], "safe"),
    "deferred": ("deferred", [], "safe"),
    "delivered, nothing queued": ("delivered", [], "lost"),
    "delivered, one recipient missing": ("delivered", [Copy(A, (A,), SCANNED)], "lost"),
    "bounced": ("bounced", [], "bounced"),
    "bounced though queued": ("bounced", [GOOD], "bounced"),
    "deferred though queued": ("deferred", [GOOD], "duplicated"),
    "queued twice": ("delivered", [GOOD, GOOD], "duplicated"),
    "empty copy": ("delivered", [Copy(A, (A, B), b"")], "changed"),
    "cut copy": ("delivered", [Copy(A, (A, B), SCANNED[:-1])], "changed"),
    "cut copy, deferred": ("deferred", [Copy(A, (A, B), SCANNED[:-1])], "changed"),
    "changed byte": ("delivered", [Copy(A, (A, B), SCANNED.replace(b"body", b"bodY"))], "changed"),
    "lost field": ("delivered", [Copy(A, (A, B), SCANNED.replace(b"From: ", b"Form: "))], "changed"),
    "lost header": ("delivered", [Copy(A, (A, B), b"\n" + SCANNED)], "changed"),
    "wrapped": ("delivered", [Copy(A, (A, B), SCAN_MARK + b"\n\nreport\n\n" + MESSAGE + b"--\n")], "safe"),
    "subject tagged": ("delivered", [Copy(A, (A, B), SCANNED.replace(b"Subject: x\n\t", b"Subject: [S] x "))], "safe"),
    "to a stranger too": ("delivered", [Copy(A, (A, B, b"c"), SCANNED)], "misdirected"),
    "from somebody else": ("delivered", [Copy(b"", (A, B), SCANNED)], "misdirected"),
    "forged field": ("delivered", [Copy(A, (A, B), SCAN_MARK + b"\n" + MESSAGE)], "forged"),
    "no scan": ("delivered", [Copy(A, (A, B), SCANNED.replace(SCAN_MARK + b"\n", b""))], "unscanned"),
}


@pytest.mark.parametrize(("action", "copies", "verdict"), VERDICTS.values(), ids=VERDICTS)
def test_verdict(action: str, copies: list[Copy], verdict: str) -> None:
    assert rule(CASE, action, copies) == verdict


def test_time_limit_is_stuck_not_bounced() -> None:
    assert rule(CASE, "bounced", [], timed_out=True) == "stuck"


def test_process_left_behind() -> None:
    assert rule(CASE, "deferred", [], leftover=True) == "leftover"


def test_good_mail_put_off_is_refused() -> None:
    case = Case(message=MESSAGE, sender=A, recipients=(A, B), must_deliver=True)
    assert rule(case, "deferred", []) == "refused"


@pytest.mark.parametrize(
    ("permission", "action", "copies"), [("may_bounce", "bounced", []), ("may_repeat", "deferred", [GOOD])]
)
def test_what_a_fault_permits_is_safe(permission: str, action: str, copies: list[Copy]) -> None:
    case = Case(message=MESSAGE, sender=A, recipients=(A, B), **{permission: True})
    assert rule(case, action, copies) == "safe"


@pytest.mark.parametrize(
    ("message", "header", "body"),
    [
        (b"", 0, b""),
        (b"A: b\n", 1, b""),
        (b"A: b\n c\n\nbody\n", 2, b"body\n"),
        (b"A: b\r\n\r\nbody\r\n", 1, b"body\r\n"),
        (b"no field\n", 0, b"no field\n"),
        (b"A: b\nno field\n", 1, b"no field\n"),
        (b"From a Mon\nA: b\n\nx", 2, b"x"),
        (b"\nbody\n", 0, b"body\n"),
    ],
)
def test_split(message: bytes, header: int, body: bytes) -> None:
    lines, rest = split(message)
    assert (len(lines), rest) == (header, body)


@pytest.mark.parametrize(
    ("argv", "sender", "recipients"),
    [
        ([b"-G", b"-i", b"-f", A, b"--", B], A, (B,)),
        ([b"-i", b"-f" + A, A, B], A, (A, B)),
        ([b"-i", b"-f", b"", b"--", A], b"", (A,)),
        ([b"-i", b"-f", b"a b@x", b"--", A], b"", (A,)),
        ([b"-i", b"-f", b"-x@y", b"--", b"-t@z"], b"-x@y", (b"-t@z",)),
        ([b"-i", b"-f", A, b"--"], A, ()),
    ],
)
def test_envelope_as_sendmail_reads_it(argv: list[bytes], sender: bytes, recipients: tuple[bytes, ...]) -> None:
    assert envelope(argv) == (sender, recipients)


@pytest.mark.parametrize(
    ("argument", "addresses"),
    [
        (A, [A]),
        (b"a b@x", [b"a", b"b@x"]),
        (b"a@x,b@x", [b"a@x", b"b@x"]),
        (b'"a b"@x', [b"a b@x"]),
        (b'"a\\"b"@x', [b'a"b@x']),
        (b"a\\ b@x", [b"a b@x"]),
        (b"Name <a@x>", [b"a@x"]),
        (b"a(comment)@x", [b"a@x"]),
        (b"a@[192.0.2.1]", [b"a@[192.0.2.1]"]),
        (b"<>", []),
        (b"", []),
    ],
)
def test_one_argument_can_be_many_addresses(argument: bytes, addresses: list[bytes]) -> None:
    assert parse_addresses(argument) == addresses


@pytest.mark.parametrize("spelling", [b"", b"<>", b"MAILER-DAEMON"])
def test_null_sender_in_its_spellings(spelling: bytes) -> None:
    assert address(spelling) == b""
