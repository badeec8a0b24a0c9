"""What became of one message: safe, or which harm was done to it.

Pure: the decision of Postfix, the copies that sendmail queued and the message go in, a verdict comes out. The verdicts,
the worst first; where several hold, the first is given:

    lost        Postfix believes it delivered, and a recipient has neither a copy nor what his policy says instead
    changed     a queued copy lacks a header field or a byte of the body, or is empty
    misdirected a copy went to somebody else, or is another recipient's, or has another sender
    bounced     returned to its sender for a fault that is not the message's
    stuck       not ended in time, which Postfix bounces too
    unkept      delivered, bounced or told of before all that the quarantine is due was there; what is in a store may
                be taken out again when the message is put off
    duplicated  queued, and yet to be tried again; or queued twice for one recipient
    forged      X-Spam fields of the sender reached the recipient
    unscanned   queued without a scan though it was small enough
    leftover    a process was left behind
    refused     put off although nothing was wrong
    safe        delivered whole and once, or put off
"""

import itertools
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

SAFE = "safe"
HARMS = (
    "lost", "changed", "misdirected", "bounced", "stuck", "unkept", "duplicated", "forged", "unscanned", "leftover",
    "refused",
)  # fmt: skip
SCAN_MARK = b"X-Spam-Checker-Version: stub"
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_NULL_SENDERS = (b"", b"<>", b"MAILER-DAEMON")
_IN_BRACKETS = re.compile(rb"<([^>]*)>")
_FINAL_RECIPIENT = re.compile(rb"^Final-Recipient: rfc822; (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Copy:
    """One message that sendmail queued: its envelope as sendmail understood its arguments, and what it read."""

    sender: bytes
    recipients: tuple[bytes, ...]
    message: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What a recipient's policy makes of the message: without one a copy, which tells of the scan.

    `delivered`: he gets a copy; `told`: if he has none, the sender is told so; `quarantine`: the address or store
    where it is kept before anything else; `field`: how a header field of his copy begins; `scanned`: his copy tells of
    the scan.
    """

    delivered: bool = True
    told: bool = False
    quarantine: bytes = b""
    field: bytes = b""
    scanned: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What was asked of the filter, and what it may do with it.

    `dues` are those of recipients with a policy. `notices` are addresses that may hear of the message from nobody, the
    null sender.
    """

    message: bytes
    sender: bytes
    recipients: tuple[bytes, ...]
    dues: Mapping[bytes, Due] = field(default_factory=dict)
    notices: tuple[bytes, ...] = ()
    must_deliver: bool = False
    must_scan: bool = True
    may_bounce: bool = False
    may_repeat: bool = False
    may_leave_process: bool = False

    def due(self, recipient: bytes) -> Due:
        """Return what one recipient is due."""
        return self.dues.get(recipient) or Due(told=self.may_bounce)

    def everybody(self) -> list[tuple[bytes, Due]]:
        """Return each recipient with what he is due."""
        return [(name, self.due(name)) for name in map(address, self.recipients)]


class Queue:
    """What sendmail queued, in its order: copies in quarantine, copies for recipients, notices."""

    def __init__(self, case: Case, copies: Sequence[Copy]) -> None:
        stores = {due.quarantine for _, due in case.everybody() if due.quarantine}
        told = set(case.notices)
        from_nobody = [copy for copy in copies if copy.sender == b"" and len(copy.recipients) == 1]
        self.copies = copies
        self.kept = [copy for copy in from_nobody if copy.recipients[0] in stores]
        self.notices = [copy for copy in from_nobody if copy.recipients[0] in told - stores]
        self.deliveries = [copy for copy in copies if copy not in self.kept and copy not in self.notices]

    def delivered(self) -> Counter[bytes]:
        """Count the copies of each recipient."""
        return Counter(recipient for copy in self.deliveries for recipient in copy.recipients)

    def refused(self) -> Counter[bytes]:
        """Count how often the sender was told that a recipient did not get it (RFC 3464, 2.3.2)."""
        return Counter(name for copy in self.notices for name in _FINAL_RECIPIENT.findall(copy.message))

    def first(self) -> "list[Copy]":
        """Return the copies in quarantine that were there before anything else was queued."""
        return list(itertools.takewhile(lambda copy: copy in self.kept, self.copies))


def rule(case: Case, action: str, copies: Sequence[Copy], *, timed_out: bool = False, leftover: bool = False) -> str:
    """Return the verdict on one run; `action` is Postfix's, of pipe8.Outcome. `copies` are in the order of queueing."""
    queue = Queue(case, copies)
    mail = [*queue.kept, *queue.deliveries]
    found = {
        "lost": action == "delivered" and _is_lost(case, queue),
        "changed": any(not is_whole(case.message, copy.message) for copy in queue.deliveries)
        or any(not is_original(case.message, copy.message) for copy in queue.kept),
        "misdirected": _is_misdirected(case, queue),
        "stuck": timed_out,
        "bounced": _is_bounced(case, action, queue) and not timed_out,
        "unkept": _is_unkept(case, action, queue),
        "duplicated": _is_duplicated(case, action, queue),
        "forged": any(_is_forged(case.message, copy.message) for copy in mail),
        "unscanned": case.must_scan and any(_is_unscanned(case, copy) for copy in queue.deliveries),
        "leftover": leftover and not case.may_leave_process,
        "refused": case.must_deliver and action != _wanted(case),
    }
    return next((harm for harm in HARMS if found[harm]), SAFE)


def _wanted(case: Case) -> str:
    """Return what Postfix has to do where nothing is wrong: it bounces what all recipients refuse."""
    return "bounced" if all(due.told and not due.delivered for _, due in case.everybody()) else "delivered"


def _is_lost(case: Case, queue: Queue) -> bool:
    """Tell whether anybody has less than he is due, though there will be no other try."""
    wanted = Counter(name for name, due in case.everybody() if due.delivered or due.told)
    excused = Counter(name for name, due in case.everybody() if due.told) & queue.refused()
    return bool(wanted - queue.delivered() - excused) or bool(_store(case) - _stored(queue.kept))


def _store(case: Case) -> Counter[tuple[bytes, bytes]]:
    """Count what must be in quarantine, as recipient and address."""
    return Counter((name, due.quarantine) for name, due in case.everybody() if due.quarantine)


def _stored(kept: Sequence[Copy]) -> Counter[tuple[bytes, bytes]]:
    """Count for whom a message is in quarantine: it says so itself."""
    return Counter((name, copy.recipients[0]) for copy in kept for name in _kept_for(copy))


def _kept_for(copy: Copy) -> list[bytes]:
    """Return the recipients that a copy in quarantine names."""
    named = [one for one in fields(split(copy.message)[0]) if one.lower().startswith(b"x-envelope-to:")]
    return [address(name) for one in named[:1] for name in _IN_BRACKETS.findall(one)]


def _is_misdirected(case: Case, queue: Queue) -> bool:
    dues = dict(case.everybody())
    return (
        any(copy.sender != address(case.sender) for copy in queue.deliveries)
        or any(
            name not in dues or not dues[name].delivered or not _has_field(copy, dues[name].field)
            for copy in queue.deliveries
            for name in copy.recipients
        )
        or bool(_stored(queue.kept).keys() - _store(case).keys())
    )


def _has_field(copy: Copy, start: bytes) -> bool:
    return any(one.startswith(start) for one in fields(split(copy.message)[0])) or not start


def _is_bounced(case: Case, action: str, queue: Queue) -> bool:
    """Tell whether the sender hears that somebody did not get it who should have.

    Where the message has earned it, Postfix may say so of all, if those who should have it do.
    """
    spared = Counter(name for name, due in case.everybody() if not due.told)
    wanting = Counter(name for name, due in case.everybody() if due.delivered and not due.told) - queue.delivered()
    if action == "bounced" and (wanting if case.may_bounce else spared):
        return True
    return bool(queue.refused().keys() & spared.keys())


def _is_unkept(case: Case, action: str, queue: Queue) -> bool:
    first = queue.first()
    begun = action == "bounced" or len(first) < len(queue.copies)
    missing = _store(case) - _stored(first)
    return begun and any(action != "deferred" or b":" not in place for _, place in missing)


def _is_duplicated(case: Case, action: str, queue: Queue) -> bool:
    once = Counter(name for name, _ in case.everybody())
    words = Counter(copy.recipients for copy in queue.notices if not _FINAL_RECIPIENT.search(copy.message))
    again = action == "deferred" and queue.copies and not case.may_repeat
    return bool(
        again
        or queue.delivered() - once
        or queue.refused() - once
        or _stored(queue.kept) - _store(case)
        or any(number > 1 for number in words.values())
    )


def is_whole(original: bytes, copy: bytes) -> bool:
    """Tell whether copy holds the body of the original, and its header fields except Subject and X-Spam."""
    header, body = split(original)
    kept = {line.rstrip(b"\r") for line in copy.split(b"\n")}
    wanted = (field for field in fields(header) if not field.lower().startswith((b"subject", b"x-spam")))
    has_header = bool(split(copy)[0]) or not header
    return has_header and body in copy and all(kept.issuperset(_lines(field)) for field in wanted)


def is_original(original: bytes, copy: bytes) -> bool:
    """Tell whether copy is the original, with header fields added and none taken away but X-Spam."""
    (header, body), (copied, rest) = split(original), split(copy)
    wanted = (field for field in fields(header) if not field.lower().startswith(b"x-spam"))
    return rest == body and set(fields(copied)).issuperset(wanted)


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


def _is_unscanned(case: Case, copy: Copy) -> bool:
    wanted = any(case.due(name).scanned for name in copy.recipients)
    return wanted and not any(line.startswith(SCAN_MARK) for line in split(copy.message)[0])


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
