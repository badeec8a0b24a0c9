"""The header edits that a verdict asks for. SpamAssassin's own markup is delivered as it is."""

from pf_spamfilt import headers
from pf_spamfilt.report import printable


def unscanned(message: bytes, reason: str) -> bytes:
    """Return `message` with `X-Spam-Unscanned: reason` before its other fields; the rest keeps its bytes."""
    mark = b"X-Spam-Unscanned: " + printable(reason, 120).encode("ascii", "replace") + headers.line_end(message)
    start = message.find(b"\n") + 1 if message.startswith(b"From ") else 0
    return message[:start] + mark + message[start:]
