"""A message as it is kept in quarantine: what the filter put on top, and the original below. Pure: bytes to values.

pf_spamfilt/quarantine.py writes it. On top may stand what delivery to a mailbox has added, or mbox lines, which belong
to the original. Only the first block counts: the original may hold others, forged or from an earlier release. Nothing
here fails: what is no kept message is None.
"""

import re
from typing import NamedTuple

from pf_spamfilt import headers

# So many bytes of a message nearly always hold all that is looked for.
HEAD = 4096
# Beyond this nothing is looked for.
HEAD_MAX = 1 << 20
_ID = b"X-Quarantine-ID: <"
_BLOCK = re.compile(
    rb"X-Quarantine-ID: <([A-Za-z0-9-]+)>\r?\n"
    rb"X-Envelope-From: <(.*)>\r?\n"
    rb"(?:X-Quarantine-User: ([^\r\n]*)\r?\n)?"
    rb"X-Envelope-To: <(.*(?:\r?\n\t<.*)*)>\r?\n"
    rb"((?:(?i:X-Spam-)[^\n]*\n(?:[ \t][^\n]*\n)*)*)"
)
_NEXT_RECIPIENT = re.compile(rb">,\r?\n\t<")
_SCORE = re.compile(rb"\nX-Spam-Status:(?:[^\n]|\n[ \t])*?\b(?:score|hits)=(-?\d+(?:\.\d+)?)(?![\d.]|,\d)")
_OTHER_SUBJECT = re.compile(rb"\nsubject[ \t]*:", re.IGNORECASE)
# What this host's Postfix writes for sendmail(1), and an LMTP server for Postfix. A sender chooses his HELO name,
# recipient and certificate, which Postfix writes into the field: whatever they hold, it does not match.
_FROM_HERE = re.compile(
    rb"by [^ ()]+ \([^()]+, from userid \d+\)(?: |$)"
    rb"|from [^ ()]+(?: \([^()\"]*\))* by [^ ()]+(?: \([^()\"]*\))? with LMTP[A-Z]*(?:[ ;]|$)"
)
# What delivery puts on top of a message in a mailbox.
_DELIVERY = (b"return-path", b"delivered-to", b"x-original-to", b"received", b"envelope-to", b"delivery-date")


class Kept(NamedTuple):
    """A kept message: its envelope, whom it was scanned for, what SpamAssassin said, and where all that stands.

    `score` is None if it is not told, `spam_fields` are SpamAssassin's, `subject` is as it stands in the header. The
    block is from `start` to `end`; `delivered`: what stands before it is not the original's. `is_complete`: the bytes
    that were parsed held all of the header that matters.
    """

    id: str
    sender: bytes
    recipients: list[bytes]
    user: bytes
    score: float | None
    spam_fields: bytes
    subject: bytes
    start: int
    end: int
    delivered: bool
    is_complete: bool

    @property
    def overhead(self) -> int:
        """How many bytes are not the original's."""
        return self.end if self.delivered else self.end - self.start


def parse(head: bytes) -> Kept | None:
    """Return what the beginning of a kept message says; None if it is none, or too little of it."""
    start, delivered = (0, False) if head.startswith(_ID) else _find_block(head)
    found = _BLOCK.match(head, start)
    if found is None:
        return None
    name, sender, user, recipients, spam_fields = found.groups()
    score = _SCORE.search(head, found.start(5) - 1, found.end())
    subject, is_complete = _subject(head, found.end())
    return Kept(
        name.decode(),
        sender,
        _NEXT_RECIPIENT.split(recipients) if b"\n" in recipients else [recipients],
        user or b"",
        float(score[1]) if score else None,
        spam_fields,
        subject,
        start,
        found.end(),
        delivered,
        is_complete,
    )


def is_cut(head: bytes, kept: Kept | None) -> bool:
    """Tell whether more of a message than its beginning `head` could say more."""
    if kept is not None:
        return not kept.is_complete
    return b"\n\n" not in head and b"\n\r\n" not in head


def _find_block(head: bytes) -> tuple[int, bool]:
    """Return where the block begins, the end if there is none, and whether delivery has put something before it."""
    if _ID not in head:
        return len(head), False
    place = 0
    received: list[bytes] = []
    for field in headers.split(head)[0]:
        if field.startswith(_ID):
            return (place, bool(received)) if all(map(_is_from_here, received)) else (len(head), False)
        if headers.name_of(field) in _DELIVERY:
            received.append(field)
        elif not headers.is_mbox_line(field):
            break
        place += len(field)
    return len(head), False


def _is_from_here(field: bytes) -> bool:
    """Tell whether a field that delivery has added can stand above a block of the filter of this host.

    Whoever can send mail to the mailbox by SMTP could write such a block, and an envelope of his choice.
    """
    if headers.name_of(field) != b"received":
        return True
    return _FROM_HERE.match(headers.value_of(field)) is not None


def _subject(head: bytes, place: int) -> tuple[bytes, bool]:
    """Return the first Subject of a header that goes on at `place`, and whether the header was long enough."""
    line = place - 1
    found = head.find(b"\nSubject:", line)
    limit = _header_end(head, line, found + 1 if found >= 0 else len(head))
    if found >= 0 and limit < 0:
        return _value(head, found + len(b"\nSubject:"))
    other = _OTHER_SUBJECT.search(head, line, limit + 1 if limit >= 0 else len(head))
    return _value(head, other.end()) if other else (b"", limit >= 0)


def _header_end(head: bytes, place: int, limit: int) -> int:
    """Return where the empty line after a header is, if it is between the two places; -1 if it is not."""
    end = head.find(b"\n\n", place, limit)
    crlf = head.find(b"\n\r\n", place, end if end >= 0 else limit)
    return crlf if crlf >= 0 else end


def _value(head: bytes, begin: int) -> tuple[bytes, bool]:
    """Return the value of a field, unfolded, and whether all of it is there."""
    end = head.find(b"\n", begin)
    while end >= 0 and head[end + 1 : end + 2] in (b" ", b"\t"):
        end = head.find(b"\n", end + 1)
    value = head[begin:end] if end >= 0 else head[begin:]
    return b" ".join(value.split()), 0 <= end < len(head) - 1


def original(message: bytes, kept: Kept) -> bytes:
    """Return the original of a whole kept message, byte for byte."""
    return message[kept.end :] if kept.delivered else message[: kept.start] + message[kept.end :]


def from_mbox(entry: bytes) -> bytes:
    """Return the message of an mbox entry: without its "From " line, the empty line after it, and mboxrd's quoting."""
    message = entry.partition(b"\n")[2]
    if message.endswith(b"\n\n"):
        message = message[:-1]
    return re.sub(rb"^>(>*From )", rb"\1", message, flags=re.MULTILINE)
