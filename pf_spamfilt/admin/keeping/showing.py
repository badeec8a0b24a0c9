"""A kept message for a person: a row of a list, an object for a program, or all that is worth a look.

All that the sender wrote is hostile: nothing of it reaches a terminal but printable characters, and nothing that the
email package makes of it can end the command.
"""

import binascii
import datetime
import email
import functools
import re
from collections.abc import Callable, Iterator
from email.message import Message
from typing import TypeVar

from pf_spamfilt import headers, verdict
from pf_spamfilt.admin.keeping.kept import Kept
from pf_spamfilt.admin.keeping.vault import Entry
from pf_spamfilt.report import address, printable

Result = TypeVar("Result")
HEADINGS = ("kept", "id", "score", "size", "sender", "recipients", "subject", "store")
RIGHT = (HEADINGS.index("score"), HEADINGS.index("size"))
LONG = (HEADINGS.index("sender"), HEADINGS.index("recipients"), HEADINGS.index("subject"))
_SHOWN_FIELDS = ("From", "Reply-To", "To", "Cc", "Date", "Subject", "Message-ID", "List-Id", "Content-Type")
_WORD = r"=\?([^?*\s]+)(?:\*[^?\s]*)?\?([bBqQ])\?([^?\s]*)\?="
_ENCODED_WORD = re.compile(_WORD)
_ENCODED_WORDS = re.compile(rf"{_WORD}(?:\s+{_WORD})*")
_LINES, _PARTS = 20, 50
# So much of a text is looked at for its first lines, in characters.
_LOOKED_AT = 20_000
# In a list of 100,000 it counts what is worked out once only.
_figure = functools.cache(verdict.figure)
# Longer than any line that is worth a look, in characters.
_LONG = 2000
_WIDTH = 100
# A file can have any time; this is one that every calendar has, in seconds since 1970.
_LAST = 253_370_764_800.0  # the year 9999


def row(entry: Entry) -> tuple[str, ...]:
    """Return an entry as the cells below HEADINGS."""
    found = entry.kept
    return (
        _minute(int(entry.time) // 60),
        found.id,
        score(found),
        size(entry.size),
        sender(found),
        ",".join(map(printable, found.recipients)),
        subject(found),
        entry.store.destination,
    )


@functools.cache
def _minute(number: int) -> str:
    return _local(60 * number).strftime("%Y-%m-%d %H:%M")


def _local(seconds: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(max(0, min(seconds, _LAST)))


def for_program(entry: Entry) -> dict[str, object]:
    """Return an entry for JSON."""
    found = entry.kept
    told = _told(found)
    return {
        "id": found.id,
        "time": _local(entry.time).astimezone().isoformat(timespec="seconds"),
        "score": found.score,
        "required": told.get("required", ""),
        "tests": _tests(told),
        "size": entry.size,
        "sender": printable(found.sender, _LONG),
        "recipients": [printable(each, _LONG) for each in found.recipients],
        "user": printable(found.user, _LONG),
        "subject": subject(found),
        "store": entry.store.destination,
        "path": printable(entry.path, _LONG),
    }


def sender(found: Kept) -> str:
    """Return the envelope sender."""
    return printable(found.sender) or "<>"


def score(found: Kept) -> str:
    """Return the score, empty if it is not told."""
    return "" if found.score is None else _figure(found.score)


def size(count: int) -> str:
    """Return a number of bytes as people read it."""
    if count < 1000:
        return str(count)
    return f"{count / 1000:.1f}k" if count < 1_000_000 else f"{count / 1_000_000:.1f}M"


def subject(found: Kept) -> str:
    """Return the subject, decoded (RFC 2047)."""
    return decoded(found.subject)


def decoded(value: bytes) -> str:
    """Return the value of a header field as one printable line, its encoded words decoded (RFC 2047).

    Not by the email package: that takes ten times as long, which counts in a list of 100,000 subjects.
    """
    text = value[:_LONG].decode("utf-8", "replace")
    return printable(_ENCODED_WORDS.sub(_without_encoding, text) if "=?" in text else text, _LONG)


def _without_encoding(found: re.Match[str]) -> str:
    """Return the text of neighbouring encoded words; those of one charset may share a character."""
    pieces: list[tuple[str, bytes]] = []
    for charset, encoding, content in _ENCODED_WORD.findall(found[0]):
        before = pieces.pop()[1] if pieces and pieces[-1][0] == charset else b""
        pieces.append((charset, before + _octets(encoding, content)))
    return "".join(in_charset(octets, charset) for charset, octets in pieces)


def _octets(encoding: str, content: str) -> bytes:
    try:
        if encoding in "bB":
            return binascii.a2b_base64(content + "=" * (-len(content) % 4))
        return binascii.a2b_qp(content, header=True)
    except ValueError:
        return content.encode("utf-8", "replace")


def in_charset(octets: bytes, charset: str) -> str:
    """Return text in a charset that a sender names; as UTF-8 if there is no such thing."""
    try:
        return octets.decode(charset, "replace")
    except (LookupError, ValueError):
        return octets.decode("utf-8", "replace")


def described(entry: Entry) -> Iterator[tuple[str, str]]:
    """Yield what the filter knew of a message."""
    found, told = entry.kept, _told(entry.kept)
    yield "kept", _local(entry.time).strftime("%Y-%m-%d %H:%M:%S")
    yield "store", entry.store.destination
    yield "file", printable(entry.path, _LONG)
    yield "size", f"{entry.size} bytes"
    yield "sender", f"{address(found.sender)}" if found.sender else "<> (the null sender)"
    for recipient in found.recipients:
        yield "recipient", printable(recipient)
    yield "user", printable(found.user) or "none: scanned for the filter's account, or not scanned"
    yield "score", f"{score(found)}, {told.get('required', '?')} required" if score(found) else "not told"
    yield "tests", ", ".join(_tests(told)) or "none"


def header(original: bytes) -> Iterator[tuple[str, str]]:
    """Yield the header fields that a person looks at first."""
    names = [name.lower().encode() for name in _SHOWN_FIELDS]
    fields = [(headers.name_of(field), field) for field in headers.split(original)[0]]
    for shown, wanted in zip(_SHOWN_FIELDS, names, strict=True):
        for name, field in fields:
            if name == wanted:
                yield shown, printable(decoded(headers.value_of(field)), 300)


def parts(original: bytes) -> list[tuple[str, str]]:
    """Return type, size and name of each part of a message."""
    message = _parsed(original)
    return _safely(lambda: [_part(part) for part, _ in zip(_leaves(message), range(_PARTS), strict=False)], [])


def text(original: bytes) -> list[str]:
    """Return the first lines of a message's text, without empty lines at its start; of HTML, what is not markup."""
    message = _parsed(original)
    leaves: list[Message] = _safely(lambda: list(_leaves(message)), [])
    for kind in ("text/plain", "text/html"):
        for part in leaves:
            if part.get_content_type() == kind:
                return _beginning(_content(part)[:_LOOKED_AT], kind == "text/html")
    return []


def _beginning(content: str, is_html: bool) -> list[str]:
    if is_html:
        content = re.sub(r"(?s)<(style|script)\b.*?</\1>|<[^>]*>", " ", content)
    lines = [printable(line, _WIDTH) for line in content.strip().split("\n")]
    shown = [line for place, line in enumerate(lines) if line or lines[place - 1]]
    return shown if len(shown) <= _LINES else [*shown[:_LINES], "..."]


def _told(found: Kept) -> dict[str, str]:
    for field in headers.split(found.spam_fields)[0]:
        if headers.name_of(field) == b"x-spam-status":
            return verdict.told(field)
    return {}


def _tests(told: dict[str, str]) -> list[str]:
    return [printable(test) for test in told.get("tests", "").split(",") if test and test != "none"]


def _parsed(original: bytes) -> Message:
    return _safely(lambda: email.message_from_bytes(original), Message())


def _leaves(message: Message) -> Iterator[Message]:
    return (part for part in message.walk() if not part.is_multipart())


def _part(part: Message) -> tuple[str, str]:
    content = part.get_payload(decode=True)
    name = part.get_filename()
    named = f", {decoded(str(name).encode('utf-8', 'replace'))}" if name else ""
    return printable(part.get_content_type(), 60), f"{len(content) if isinstance(content, bytes) else 0} bytes{named}"


def _content(part: Message) -> str:
    content: object = _safely(lambda: part.get_payload(decode=True), None)
    charset = _safely(lambda: part.get_content_charset() or "utf-8", "utf-8")
    data = content if isinstance(content, bytes) else b""
    return in_charset(data[: 4 * _LOOKED_AT], charset)  # punycode takes minutes for a megabyte


def _safely(function: Callable[[], Result], otherwise: Result) -> Result:
    """Return what a function says of a message, or `otherwise`: for hostile ones the email package raises anything."""
    try:
        return function()
    except Exception:
        return otherwise
