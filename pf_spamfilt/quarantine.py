"""Keep a handled message for a person to look at: the original, with its envelope and SpamAssassin's fields on top.

In this version it is sent to an address.
"""

import posix

from pf_spamfilt import headers, spool, tagging
from pf_spamfilt.envelope import NULL_SENDER
from pf_spamfilt.exits import Deferred, Rejected, SettingsError
from pf_spamfilt.settings import STORES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pf_spamfilt.dispose import Disposal
    from pf_spamfilt.policy import Treatment


def check(disposal: "Disposal", treatment: "Treatment") -> None:
    """Raise Ended if the message could not be kept for this recipient: before anything is sent for another."""
    wanted = treatment.wishes["quarantine"]
    if wanted.startswith(STORES):
        raise SettingsError(f'quarantine "{wanted}": not in this version; an address is')
    disposal.argv(NULL_SENDER, [disposal.destination(treatment)])


def keep(disposal: "Disposal", destination: bytes, group: "list[Treatment]") -> str:
    """Store the message for these recipients in `destination`; return its id.

    Raises Ended if that was not possible.
    """
    name = f"{disposal.record.queue_id}-{posix.urandom(4).hex()}"
    fields, _ = headers.split(spool.head(disposal.message))
    marks = _marks(name, disposal.envelope.sender, group, headers.line_end_of(fields))
    kept = spool.with_header(disposal.message, fields, tagging.on_top(fields, marks))
    # Sent by nobody: if it cannot be delivered, no innocent sender hears of it.
    try:
        disposal.submit(kept, NULL_SENDER, [destination])
    except Rejected as error:
        raise Deferred(f"quarantine: {error.text}") from None
    kept.close()
    return name


def _marks(name: str, sender: bytes, group: "list[Treatment]", end: bytes) -> list[bytes]:
    """Return the envelope and what SpamAssassin said as header fields."""
    recipients = [b"<" + treatment.wishes.recipient + b">" for treatment in group]
    answer = group[0].scan.answer
    scanned = headers.split(answer.head)[0] if answer else []
    return [
        b"X-Quarantine-ID: <" + name.encode() + b">" + end,
        b"X-Envelope-From: <" + sender + b">" + end,
        b"X-Envelope-To: " + (b"," + end + b"\t").join(recipients) + end,
        *[field for field in scanned if headers.is_spam_field(field)],
    ]
