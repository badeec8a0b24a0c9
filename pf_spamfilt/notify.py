"""Notices of handled mail: a bounce or a short word to its sender, a report to the administrator.

They are built here and sent elsewhere; no message without a notice imports this. A message's body is never enclosed:
most spam names an innocent sender. Whatever bytes its header and addresses hold, a notice is 7-bit, no line is longer
than RFC 5322 allows, its header fields are ours alone, and nothing is raised.
"""

import binascii
import re
import textwrap
from email.errors import MessageError
from email.header import Header, decode_header, make_header
from email.message import Message
from email.policy import compat32
from email.utils import formatdate, make_msgid

from pf_spamfilt import envelope, headers
from pf_spamfilt.exits import Deferred
from pf_spamfilt.report import printable

# So many bytes of the header are enclosed, and so many are read.
HEADER_MAX = 16384
READ_MAX = 131072
LINE_MAX = 998
# An address may have 320 bytes (RFC 5321, 4.5.3.1). A longer one is cut: for people here, for programs at _FIELD_MAX.
_ADDRESS_MAX = 320
_FIELD_MAX = 900

# Lines are folded only where they must be: not every program that reads notices unfolds them.
_POLICY = compat32.clone(linesep="\n", max_line_length=LINE_MAX, mangle_from_=False)
_DOT_ATOM = r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*"
_QUOTED_STRING = r'"(?:[ !#-\[\]-~]|\\[ -~])*"'
_LITERAL = r"\[[!-Z^-~]+\]"
_HOST = re.compile(rf"[\w-]+(?:\.[\w-]+)*|{_LITERAL}", re.ASCII)
_MAILBOX = re.compile(rf"(?:{_DOT_ATOM}|{_QUOTED_STRING})(?:@(?:{_DOT_ATOM}|{_LITERAL}))?", re.ASCII)
_MESSAGE_ID = re.compile(rf"<{_DOT_ATOM}@(?:{_DOT_ATOM}|{_LITERAL})>", re.ASCII)
_DATE = re.compile(r"(?:[A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d(?::\d\d)? [+-]\d{4}", re.ASCII)
_PLAIN_LINES = re.compile(rb"(?:[\t -~]{0,%d}\n)*" % LINE_MAX)


class Case:
    """What a notice tells of one message: `sender` and `header` are bytes as received, `size` is in bytes."""

    __slots__ = ("header", "host", "queue_id", "reason", "required", "score", "sender", "size", "tests")

    def __init__(
        self,
        queue_id: str,
        sender: bytes,
        size: int,
        score: str,
        required: str,
        tests: str,
        reason: str,
        header: bytes,
        host: str,
    ) -> None:
        self.queue_id = queue_id
        self.sender = sender
        self.size = size
        self.score = score
        self.required = required
        self.tests = tests
        self.reason = reason
        self.header = header
        self.host = host


def bounce(case: Case, recipients: list[bytes], status: str = "5.7.1") -> bytes:
    """Build the notice that `recipients` did not get the message (RFC 3464), `status` being its enhanced code."""
    kind = "multipart/report; report-type=delivery-status"
    notice = _reply(case, kind, "MAILER-DAEMON", "Undelivered Mail Returned to Sender")
    text = _paragraphs(
        f"This is the mail filter at host {_host(case)}.",
        "Your message could not be delivered to:",
        _list(recipients),
        f"It was refused for them: {printable(case.reason)}. This says nothing of its other recipients.",
        _whom_to_ask(case),
    )
    report = _delivery_status(case, recipients, status)
    return _joined(notice, _part("Notification", "text/plain", text), report, _enclosed(case))


def to_sender(case: Case, recipients: list[bytes]) -> bytes:
    """Build a short word to the sender: `recipients` did not get the message as they usually would.

    It comes from postmaster and calls itself a reply, so that programs which count bounces do not count this.
    """
    notice = _reply(case, "multipart/mixed", "postmaster", "Your message was taken for spam")
    text = _paragraphs(
        f"This is an automatic reply of the mail filter at host {_host(case)}.",
        "Your message was taken for spam, and so it was not delivered as usual to:",
        _list(recipients),
        f"The reason: {printable(case.reason)}. The recipients may not see the message, or only later.",
        _whom_to_ask(case),
    )
    return _joined(notice, _part("Notification", "text/plain", text), _enclosed(case))


def to_admin(case: Case, admin: str, outcomes: list[tuple[bytes, str]]) -> bytes:
    """Build the report to `admin` of a handled message: each recipient, and what became of his copy."""
    verdict = f"{case.score}/{case.required}" if case.score else case.reason
    subject = f"Spam ({printable(verdict, 80)}) from {_shown(case.sender)}"
    notice = _notice(case, "multipart/mixed", "postmaster", admin.encode("utf-8", "replace"), subject)
    notice["Auto-Submitted"] = "auto-generated"
    text = _paragraphs(
        f"The mail filter at host {_host(case)} has handled a message:",
        _facts(case),
        "What became of it:",
        _table(outcomes),
        "Its header is attached.",
    )
    enclosed = _enclosed(case)
    enclosed["Content-Disposition"] = 'attachment; filename="header.txt"'
    return _joined(notice, _part("Notification", "text/plain", text), enclosed)


def _reply(case: Case, kind: str, author: str, subject: str) -> Message:
    """Return a notice to the sender that refers to his message, if that has a Message-ID (RFC 3834, 3.1)."""
    notice = _notice(case, kind, author, case.sender, subject)
    notice["Auto-Submitted"] = "auto-replied"
    message_id = _value(case, b"message-id").decode("utf-8", "replace")
    if len(message_id) <= _ADDRESS_MAX and _MESSAGE_ID.fullmatch(message_id):
        notice["In-Reply-To"] = message_id
        notice["References"] = message_id
    return notice


def _notice(case: Case, kind: str, author: str, to: bytes, subject: str) -> Message:
    notice = Message()
    notice["Date"] = formatdate(localtime=True)
    notice["From"] = f"Mail filter <{author}@{_host(case)}>"
    notice["To"] = _mailbox(to)
    notice["Subject"] = _encoded(subject)
    notice["Message-ID"] = make_msgid("pf-spamfilt", _host(case))
    notice["MIME-Version"] = "1.0"
    notice["Content-Type"] = kind
    return notice


def _joined(notice: Message, *parts: Message) -> bytes:
    notice.set_payload(list(parts))
    return notice.as_bytes(policy=_POLICY)


def _part(description: str, kind: str, content: bytes) -> Message:
    """Return a part with lines of text: as they are if mail can carry them so, else as quoted-printable (RFC 2045)."""
    content = content.replace(b"\r\n", b"\n")
    plain = _PLAIN_LINES.fullmatch(content) is not None
    if not plain:
        # Line by line: b2a_qp would take a CR alone for the end of a line, and leave it as it is.
        content = b"\n".join(binascii.b2a_qp(line, istext=False) for line in content.split(b"\n"))
    part = Message()
    part["Content-Description"] = description
    part["Content-Type"] = f"{kind}; charset={'us-ascii' if plain else 'utf-8'}"
    part["Content-Transfer-Encoding"] = "7bit" if plain else "quoted-printable"
    part.set_payload(content.decode("ascii"))
    return part


def _enclosed(case: Case) -> Message:
    """Return the message's header as a part (RFC 6522, 4), cut at a line end if it is very long."""
    header = b"".join(_fields(case))
    if len(header) <= HEADER_MAX:
        return _part("Header of the message", "text/rfc822-headers", header)
    end = header.rfind(b"\n", 0, HEADER_MAX) + 1 or HEADER_MAX
    return _part("Header of the message, its beginning", "text/rfc822-headers", header[:end])


def _delivery_status(case: Case, recipients: list[bytes], status: str) -> Message:
    """Return the part for programs: fields of the message, then a group of fields for each recipient (RFC 3464, 2)."""
    part = Message()
    part["Content-Description"] = "Delivery report"
    part["Content-Type"] = "message/delivery-status"
    part.set_payload([_of_message(case), *(_of_recipient(case, recipient, status) for recipient in recipients)])
    return part


def _of_message(case: Case) -> Message:
    group = Message()
    group["Reporting-MTA"] = f"dns; {_host(case)}"
    group["X-Postfix-Queue-ID"] = _ascii(case.queue_id)
    group["X-Postfix-Sender"] = _typed(case.sender)
    arrival = _value(case, b"received").rpartition(b";")[2].partition(b"(")[0].strip().decode("utf-8", "replace")
    if _DATE.fullmatch(arrival):
        group["Arrival-Date"] = arrival
    return group


def _of_recipient(case: Case, recipient: bytes, status: str) -> Message:
    group = Message()
    group["Final-Recipient"] = _typed(recipient)
    group["Action"] = "failed"
    group["Status"] = status
    group["Diagnostic-Code"] = f"x-spam; {_ascii(case.reason)}"
    return group


def _typed(address: bytes) -> str:
    """Return an address with its type, in ASCII: rfc822, or utf-8 where only escapes can write it (RFC 6533, 3).

    What looks like an encoded word (RFC 2047) is escaped too: some programs would decode it.
    """
    quoted = _quoted(address)
    if b"=?" not in quoted and re.fullmatch(rb"[!-~](?:[ -~]*[!-~])?", quoted):
        return f"rfc822; {quoted[:_FIELD_MAX].decode()}"
    escaped = "".join(map(_escaped, address.decode("utf-8", "replace")))
    return f"utf-8; {_cut_escaped(escaped)}"


def _escaped(char: str) -> str:
    return char if "!" <= char <= "~" and char not in "\\+=" else f"\\x{{{ord(char):02X}}}"


def _cut_escaped(text: str) -> str:
    return text if len(text) <= _FIELD_MAX else re.sub(r"\\[^}]*$", "", text[:_FIELD_MAX])


def _quoted(address: bytes) -> bytes:
    """Return an address as mail writes it, or as it is if no quoting makes one of it."""
    try:
        return envelope.for_sendmail(address)
    except Deferred:
        return address


def _mailbox(address: bytes) -> str:
    """Return an address as the value of To; what is none in ASCII becomes the name of an empty group (RFC 6857)."""
    text = _quoted(address).decode("utf-8", "replace")
    if len(text) <= _ADDRESS_MAX and "=?" not in text and _MAILBOX.fullmatch(text):
        return text
    name = printable(address)
    return f"{Header(name, 'utf-8').encode()} :;" if name else "undisclosed-recipients:;"


def _encoded(text: str) -> str:
    """Return a line of text as the value of Subject, without anything that only looks encoded (RFC 2047)."""
    return Header(text, "us-ascii" if text.isascii() and "=?" not in text else "utf-8").encode()


def _ascii(text: str) -> str:
    return printable(text).encode("ascii", "replace").decode()


def _host(case: Case) -> str:
    return case.host if len(case.host) <= 255 and _HOST.fullmatch(case.host) else "localhost"


def _value(case: Case, name: bytes) -> bytes:
    """Return the value of the first such field of the message; empty if there is none."""
    return next((headers.value_of(field) for field in _fields(case) if headers.name_of(field) == name), b"")


def _fields(case: Case) -> list[bytes]:
    return headers.split(case.header[:READ_MAX])[0]


def _decoded(value: bytes) -> str:
    """Return a field's value as a person reads it: encoded words (RFC 2047) decoded, if that can be done."""
    text = value[:LINE_MAX].decode("utf-8", "replace")
    try:
        return printable(str(make_header(decode_header(text))))
    except (MessageError, LookupError, ValueError):
        return printable(text)


def _shown(address: bytes) -> str:
    return f"<{printable(address, _ADDRESS_MAX)}>"


def _paragraphs(*paragraphs: str) -> bytes:
    """Join paragraphs of a text; lines are wrapped unless the paragraph is indented or has lines already."""
    wrapped = (text if text.startswith(" ") or "\n" in text else _wrapped(text) for text in paragraphs)
    return ("\n\n".join(wrapped) + "\n").encode()


def _wrapped(text: str, first: str = "") -> str:
    return textwrap.fill(
        text,
        width=76,
        initial_indent=first,
        subsequent_indent=" " * len(first),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _list(recipients: list[bytes]) -> str:
    return "\n".join(f"    {_shown(recipient)}" for recipient in recipients)


def _whom_to_ask(case: Case) -> str:
    return (
        f"If this is a mistake, please write to <postmaster@{_host(case)}> and include this notice. "
        f"The message was known here as {_ascii(case.queue_id)}; its header is attached."
    )


def _facts(case: Case) -> str:
    """Return what is known of a message, one fact a line, wrapped."""
    facts = [
        ("Queue id", printable(case.queue_id)),
        ("Sender", _shown(case.sender)),
        ("From", _decoded(_value(case, b"from"))),
        ("Subject", _decoded(_value(case, b"subject"))),
        ("Size", f"{case.size} bytes"),
        ("Score", f"{printable(case.score)}, required {printable(case.required)}" if case.score else ""),
        ("Reason", printable(case.reason)),
        ("Tests", printable(case.tests.replace(",", ", "), 4000)),
    ]
    return "\n".join(_wrapped(value or "(none)", f"    {name + ':':<10}") for name, value in facts)


def _table(outcomes: list[tuple[bytes, str]]) -> str:
    shown = [(_shown(recipient), printable(outcome)) for recipient, outcome in outcomes]
    width = min(40, max((len(recipient) for recipient, _ in shown), default=0))
    return "\n".join(f"    {recipient:<{width}}  {outcome}" for recipient, outcome in shown)
