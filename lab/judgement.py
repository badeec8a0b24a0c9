"""What became of one message: safe, or which harm was done to it.

Pure: the decision of Postfix, the copies that sendmail queued and the message go in, a verdict comes out. The verdicts,
the worst first; where several hold, the first is given:

    lost        Postfix believes it delivered, and a recipient has no copy
    changed     a queued copy lacks a header field or a byte of the body, or is empty
    misdirected a copy went to somebody else, or has another sender
    bounced     returned to its sender for a fault that is not the message's
    stuck       not ended in time, which Postfix bounces too
    duplicated  queued, and yet to be tried again; or queued twice for one recipient
    forged      X-Spam fields of the sender reached the recipient
    unscanned   queued without a scan though it was small enough
    leftover    a process was left behind
    refused     put off although nothing was wrong
    safe        delivered whole and once, or put off
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

SAFE = "safe"
HARMS = (
    "lost", "changed", "misdirected", "bounced", "stuck", "duplicated", "forged", "unscanned", "leftover", "refused",
)  # fmt: skip
SCAN_MARK = b"X-Spam-Checker-Version: stub"
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_NULL_SENDERS = (b"", b"<>", b"MAILER-DAEMON")


@dataclass(frozen=True, slots=True)
class Copy:
    """One message that sendmail queued: its envelope as sendmail understood its arguments, and what it read."""

    sender: bytes
    recipients: tuple[bytes, ...]
    message: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What was asked of the filter, and what it may do with it."""

    message: bytes
    sender: bytes
    recipients: tuple[bytes, ...]
    must_deliver: bool = False
    must_scan: bool = True
    may_bounce: bool = False
    may_repeat: bool = False
    may_leave_process: bool = False


def rule(case: Case, action: str, copies: Sequence[Copy], *, timed_out: bool = False, leftover: bool = False) -> str:
    """Return the verdict on one run; `action` is Postfix's, of pipe8.Outcome."""
    found = {
        "lost": action == "delivered" and bool(_missing(case, copies)),
        "changed": any(not is_whole(case.message, copy.message) for copy in copies),
        "misdirected": any(_is_misdirected(case, copy) for copy in copies),
        "stuck": timed_out,
        "bounced": action == "bounced" and not timed_out and not case.may_bounce,
        "duplicated": _is_duplicated(case, action, copies),
        "forged": any(_is_forged(case.message, copy.message) for copy in copies),
        "unscanned": case.must_scan and any(not _is_scanned(copy.message) for copy in copies),
        "leftover": leftover and not case.may_leave_process,
        "refused": case.must_deliver and action != "delivered",
    }
    return next((harm for harm in HARMS if found[harm]), SAFE)


def _queued(copies: Sequence[Copy]) -> Counter[bytes]:
    return Counter(recipient for copy in copies for recipient in copy.recipients)


def _missing(case: Case, copies: Sequence[Copy]) -> Counter[bytes]:
    return Counter(map(address, case.recipients)) - _queued(copies)


def _is_misdirected(case: Case, copy: Copy) -> bool:
    strangers = set(copy.recipients) - set(map(address, case.recipients))
    return bool(strangers) or copy.sender != address(case.sender)


def _is_duplicated(case: Case, action: str, copies: Sequence[Copy]) -> bool:
    if action == "deferred" and copies:
        return not case.may_repeat
    return bool(_queued(copies) - Counter(map(address, case.recipients)))


def is_whole(original: bytes, copy: bytes) -> bool:
    """Tell whether copy holds the body of the original, and its header fields except Subject and X-Spam."""
    header, body = split(original)
    kept = {line.rstrip(b"\r") for line in copy.split(b"\n")}
    wanted = (field for field in fields(header) if not field.lower().startswith((b"subject", b"x-spam")))
    has_header = bool(split(copy)[0]) or not header
    return has_header and body in copy and all(kept.issuperset(_lines(field)) for field in wanted)


def _lines(field: bytes) -> list[bytes]:
    return [line.rstrip(b"\r") for line in field.removesuffix(b"\n").split(b"\n")]


def fields(header: Sequence[bytes]) -> list[bytes]:
    """Join header lines to fields: a line that begins with white space continues the one before."""
    joined: list[bytes] = []
    for line in header:
        if line[:1] in b" \t" and joined:
            joined[-1] += line
        else:
            joined.append(line)
    return joined


def _is_forged(original: bytes, copy: bytes) -> bool:
    forgeries = {field for field in fields(split(original)[0]) if field.lower().startswith(b"x-spam")}
    return bool(forgeries.intersection(fields(split(copy)[0])))


def _is_scanned(copy: bytes) -> bool:
    return any(line.startswith(SCAN_MARK) for line in split(copy)[0])


def split(message: bytes) -> tuple[list[bytes], bytes]:
    """Split a message into header lines and body; a line that is no field ends the header, and belongs to the body."""
    header: list[bytes] = []
    rest = message
    while rest:
        line, end, following = rest.partition(b"\n")
        if not line.rstrip(b"\r"):
            return header, following
        if not _is_header_line(line, first=not header):
            break
        header.append(line + end)
        rest = following
    return header, rest


def _is_header_line(line: bytes, first: bool) -> bool:
    if first:
        return line.startswith(b"From ") or bool(_FIELD.match(line))
    return line[:1] in b" \t" or bool(_FIELD.match(line))


def address(text: bytes) -> bytes:
    """Return an address as the caller of the filter means it: unquoted, and the null sender's spellings as one."""
    if text in _NULL_SENDERS:
        return b""
    if text[:1] == b"<" and text[-1:] == b">":
        text = text[1:-1]
    local, at, domain = text.rpartition(b"@")
    if at and local[:1] == b'"' and local[-1:] == b'"' and len(local) > 1:
        return re.sub(rb"\\(.)", rb"\1", local[1:-1], flags=re.DOTALL) + at + domain
    return text


def envelope(argv: Sequence[bytes]) -> tuple[bytes, tuple[bytes, ...]]:
    """Return sender and recipients as sendmail(1) understands its arguments; a malformed sender is the null sender."""
    sender, recipients = b"", []
    rest = list(argv)
    while rest:
        argument = rest.pop(0)
        if argument == b"--" or argument[:1] != b"-":
            recipients = rest if argument == b"--" else [argument, *rest]
            break
        if argument[:2] in (b"-f", b"-r"):
            sender = argument[2:] or (rest.pop(0) if rest else b"")
    senders = parse_addresses(sender)
    return senders[0] if len(senders) == 1 else b"", tuple(one for text in recipients for one in parse_addresses(text))


def parse_addresses(text: bytes) -> list[bytes]:
    """Parse one argument as tok822_parse() does, in the main: words without an operator between are two addresses."""
    found: list[bytes] = []
    current, after_word = b"", False
    for kind, value in _tokens(text):
        if kind == b"word":
            if after_word and current:
                found.append(current)
                current = b""
            current, after_word = current + value, True
        elif value in b"<":
            current, after_word = b"", False
        elif value in b">,;":
            found, current, after_word = [*found, current], b"", False
        else:
            current, after_word = current + value, False
    return [one for one in [*found, current] if one]


def _tokens(text: bytes) -> list[tuple[bytes, bytes]]:
    pattern = re.compile(
        rb'(?P<space>[ \t\r\n]+)|\((?P<comment>[^)]*)\)?|"(?P<quoted>(?:\\.|[^"\\])*)"?'
        rb"|(?P<literal>\[[^\]]*\]?)|(?P<atom>(?:\\.|[^\\ \t\r\n|%!()<>@,;:.\"\[\]])+)|(?P<operator>.)",
        re.DOTALL,
    )
    tokens = []
    for match in pattern.finditer(text):
        kind = match.lastgroup or ""
        value = match[kind] if kind else b""
        if kind in ("quoted", "atom", "literal"):
            tokens.append((b"word", re.sub(rb"\\(.)", rb"\1", value, flags=re.DOTALL)))
        elif kind == "operator":
            tokens.append((b"operator", value))
    return tokens
