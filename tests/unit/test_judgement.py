"""What became of a message is judged right: each harm is found, and nothing else is called one."""

import pytest

from lab.judgement import SCAN_MARK, Case, Copy, Due, address, envelope, parse_addresses, rule, split

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


def test_a_copy_may_come_again_but_not_twice_at_once() -> None:
    case = Case(message=MESSAGE, sender=A, recipients=(A, B), may_repeat=True)
    assert rule(case, "deferred", [GOOD, GOOD]) == "duplicated"


# One recipient each for whom the message is delivered, tagged, discarded, kept and bounced.
PLAIN, TAGGED, DISCARD, KEPT, REFUSED = (b"%b@example.com" % name for name in (b"p", b"t", b"d", b"k", b"r"))
STORE, ADMIN = b"store@here.example", b"admin@here.example"
POLICIES = Case(
    message=MESSAGE,
    sender=A,
    recipients=(PLAIN, TAGGED, DISCARD, KEPT, REFUSED),
    dues={
        PLAIN: Due(field=b"Subject: x"),
        TAGGED: Due(field=b"Subject: [S] x"),
        DISCARD: Due(delivered=False),
        KEPT: Due(delivered=False, quarantine=STORE),
        REFUSED: Due(delivered=False, told=True),
    },
    notices=(A, ADMIN),
)
TAGGED_MESSAGE = SCANNED.replace(b"Subject: x", b"Subject: [S] x")
STORED = b"X-Envelope-To: <" + KEPT + b">\n" + SCANNED
IN_STORE = Copy(b"", (STORE,), STORED)
TO_PLAIN, TO_TAGGED = Copy(A, (PLAIN,), SCANNED), Copy(A, (TAGGED,), TAGGED_MESSAGE)
BOUNCE = Copy(b"", (A,), b"Subject: bounce\n\nFinal-Recipient: rfc822; " + REFUSED + b"\nAction: failed\n")
REPORT = Copy(b"", (ADMIN,), b"Subject: report\n\n")
ALL = [IN_STORE, TO_PLAIN, TO_TAGGED, BOUNCE]


def _with(copy: Copy, old: bytes, new: bytes) -> Copy:
    return Copy(copy.sender, copy.recipients, copy.message.replace(old, new))


POLICY_VERDICTS = {
    "as it should be": ("delivered", ALL, "safe"),
    "with a report": ("delivered", [*ALL, REPORT], "safe"),
    "deferred": ("deferred", [], "safe"),
    "nothing done": ("delivered", [], "lost"),
    "a recipient's copy missing": ("delivered", [IN_STORE, TO_TAGGED, BOUNCE], "lost"),
    "another copy missing": ("delivered", [IN_STORE, TO_PLAIN, BOUNCE], "lost"),
    "discarded, not in quarantine": ("delivered", [TO_PLAIN, TO_TAGGED, BOUNCE], "lost"),
    "in quarantine for somebody else": ("delivered", [_with(IN_STORE, KEPT, DISCARD), *ALL[1:]], "lost"),
    "in quarantine for nobody": ("delivered", [_with(IN_STORE, b"X-Envelope-To", b"X-To"), *ALL[1:]], "lost"),
    "refused, nobody told": ("delivered", [IN_STORE, TO_PLAIN, TO_TAGGED], "lost"),
    "quarantine cut": ("delivered", [_with(IN_STORE, b"From the end\n", b""), *ALL[1:]], "changed"),
    "quarantine without Subject": ("delivered", [_with(IN_STORE, b"Subject", b"Object"), *ALL[1:]], "changed"),
    "quarantine with a broken header": (
        "delivered",
        [_with(IN_STORE, b"X-Envelope", b">\nX-Envelope"), *ALL[1:]],
        "lost",
    ),
    "quarantine, header broken below": (
        "delivered",
        [_with(IN_STORE, b"From: a", b"> x\nFrom: a"), *ALL[1:]],
        "changed",
    ),
    "copy cut": ("delivered", [IN_STORE, _with(TO_PLAIN, b"body", b""), *ALL[2:]], "changed"),
    "delivered to one who discards": ("delivered", [*ALL, Copy(A, (DISCARD,), SCANNED)], "misdirected"),
    "delivered to one who refuses": ("delivered", [*ALL, Copy(A, (REFUSED,), SCANNED)], "misdirected"),
    "delivered to one who has it in quarantine": ("delivered", [*ALL, Copy(A, (KEPT,), SCANNED)], "misdirected"),
    "in quarantine for one more": (
        "delivered",
        [_with(IN_STORE, b">\n", b">, <p@example.com>\n"), *ALL[1:]],
        "misdirected",
    ),
    "copies exchanged": (
        "delivered",
        [IN_STORE, Copy(A, (TAGGED,), SCANNED), Copy(A, (PLAIN,), TAGGED_MESSAGE), BOUNCE],
        "misdirected",
    ),
    "notice to a stranger": ("delivered", [*ALL, Copy(b"", (B,), REPORT.message)], "changed"),
    "bounced by Postfix": ("bounced", [], "bounced"),
    "bounced by Postfix after all": ("bounced", ALL, "bounced"),
    "told that another did not get it": ("delivered", [*ALL[:3], _with(BOUNCE, REFUSED, PLAIN)], "lost"),
    "told that all did not get it": ("delivered", [*ALL, _with(BOUNCE, REFUSED, PLAIN)], "bounced"),
    "quarantine after a copy": ("delivered", [TO_PLAIN, IN_STORE, TO_TAGGED, BOUNCE], "unkept"),
    "quarantine after the bounce": ("delivered", [BOUNCE, *ALL[:3]], "unkept"),
    "deferred after a copy, nothing in quarantine": ("deferred", [TO_PLAIN], "unkept"),
    "deferred after quarantine": ("deferred", [IN_STORE], "duplicated"),
    "deferred after all": ("deferred", ALL, "duplicated"),
    "a copy twice": ("delivered", [IN_STORE, TO_PLAIN, TO_PLAIN, TO_TAGGED, BOUNCE], "duplicated"),
    "quarantine twice": ("delivered", [IN_STORE, *ALL], "duplicated"),
    "bounce twice": ("delivered", [*ALL, BOUNCE], "duplicated"),
    "report twice": ("delivered", [*ALL, REPORT, REPORT], "duplicated"),
    "forged field in quarantine": (
        "delivered",
        [_with(IN_STORE, b"\nFrom: a", b"\nX-Spam-Flag: NO forged\nFrom: a"), *ALL[1:]],
        "forged",
    ),
}


@pytest.mark.parametrize(("action", "copies", "verdict"), POLICY_VERDICTS.values(), ids=POLICY_VERDICTS)
def test_verdict_where_recipients_have_policies(action: str, copies: list[Copy], verdict: str) -> None:
    assert rule(POLICIES, action, copies) == verdict


REFUSING = {A: Due(delivered=False, told=True), B: Due(delivered=False, told=True, quarantine=STORE)}
FOR_B = Copy(b"", (STORE,), b"X-Envelope-To: <" + B + b">\n" + SCANNED)


@pytest.mark.parametrize(
    ("action", "copies", "verdict"),
    [
        ("bounced", [FOR_B], "safe"),
        ("bounced", [], "unkept"),
        ("delivered", [FOR_B], "lost"),
        ("deferred", [], "refused"),
    ],
)
def test_what_all_refuse_is_bounced_once_it_is_kept(action: str, copies: list[Copy], verdict: str) -> None:
    case = Case(message=MESSAGE, sender=A, recipients=(A, B), dues=REFUSING, must_deliver=True)
    assert rule(case, action, copies) == verdict


@pytest.mark.parametrize(("action", "verdict"), [("deferred", "safe"), ("delivered", "lost")])
def test_what_was_in_a_store_may_be_taken_out_again_when_the_message_is_put_off(action: str, verdict: str) -> None:
    dues = {A: Due(), B: Due(delivered=False, quarantine=b"dir:/kept")}
    case = Case(message=MESSAGE, sender=A, recipients=(A, B), dues=dues, may_repeat=True)
    assert rule(case, action, [Copy(A, (A,), SCANNED)]) == verdict


@pytest.mark.parametrize(("copies", "verdict"), [([Copy(A, (B,), SCANNED)], "safe"), ([], "bounced")])
def test_what_may_be_bounced_is_there_for_those_who_are_not_refused(copies: list[Copy], verdict: str) -> None:
    case = Case(message=MESSAGE, sender=A, recipients=(A, B), dues={A: REFUSING[A], B: Due()}, may_bounce=True)
    assert rule(case, "bounced", copies) == verdict


def test_who_bypasses_gets_a_copy_that_tells_of_no_scan() -> None:
    case = Case(message=MESSAGE, sender=A, recipients=(A, B), dues={A: Due(scanned=False)})
    bare = Copy(A, (A,), SCANNED.removeprefix(SCAN_MARK + b"\n"))
    assert rule(case, "delivered", [bare, Copy(A, (B,), SCANNED)]) == "safe"
    assert rule(case, "delivered", [Copy(A, (A,), SCANNED), Copy(A, (B,), bare.message)]) == "unscanned"


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
