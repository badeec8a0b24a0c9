"""Giving a message to the private Postfix by SMTP, with any envelope and any bytes.

Nothing is retried, and nothing is parsed or corrected on the way: addresses are sent as they are given.
A refusal is a Refused error with the server's reply.
"""

import re
import smtplib
from collections.abc import Sequence

from lab.tools import LabError

SENDER = "sender@client.example"


class Refused(LabError):
    """The server answered with something else than success."""


def send(port: int, message: bytes, recipients: Sequence[str], sender: str, *, chunked: bool = False) -> str:
    """Send a message and return the queue id that Postfix gave it.

    The sender may be empty (null sender). Addresses are in SMTP's form, with quotes where the local part
    needs them; 8-bit bytes in them may be surrogate escapes. SMTPUTF8 is asked for when one is not ASCII and
    the server offers it.
    Chunked (BDAT, RFC 3030), the last line need not end with a line break.
    """
    with smtplib.SMTP("127.0.0.1", port, local_hostname="client.example", timeout=60) as client:
        client.ehlo()
        unicode = not "".join([sender, *recipients]).isascii() and client.has_extn("smtputf8")
        options = " BODY=8BITMIME" + (" SMTPUTF8" if unicode else "")
        _command(client, f"MAIL FROM:<{sender}>{options}")
        for recipient in recipients:
            _command(client, f"RCPT TO:<{recipient}>")
        lines = re.sub(rb"(?<!\r)\n", b"\r\n", message)
        code, reply = _bdat(client, lines) if chunked else client.data(lines)
    return _queue_id(code, reply)


def _bdat(client: smtplib.SMTP, chunk: bytes) -> tuple[int, bytes]:
    client.send(b"BDAT %d LAST\r\n" % len(chunk) + chunk)
    return client.getreply()


def _command(client: smtplib.SMTP, line: str) -> None:
    client.send(line.encode("utf-8", "surrogateescape") + b"\r\n")
    code, reply = client.getreply()
    if code != 250:
        raise Refused(f"{line}: {code} {reply.decode(errors='replace')}")


def _queue_id(code: int, reply: bytes) -> str:
    found = re.search(r"queued as (\w+)", reply.decode(errors="replace"))
    if code != 250 or not found:
        raise Refused(f"end of data: {code} {reply.decode(errors='replace')}")
    return found[1]
