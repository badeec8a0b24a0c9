"""Keep a handled message for a person to look at: the original, with its envelope and SpamAssassin's fields on top.

In a store of this host, or sent to an address.
"""

import posix

from pf_spamfilt import headers, process, spool, tagging, trace
from pf_spamfilt.envelope import NULL_SENDER
from pf_spamfilt.exits import Deferred, Rejected
from pf_spamfilt.settings import STORES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pf_spamfilt.dispose import Disposal
    from pf_spamfilt.policy import Treatment
    from pf_spamfilt.spool import Message
    from pf_spamfilt.stores import Undo


def check(disposal: "Disposal", treatment: "Treatment") -> None:
    """Raise Ended if the message could not be kept for this recipient: before anything is sent for another."""
    wanted = treatment.wishes["quarantine"]
    if wanted.startswith(STORES):
        from pf_spamfilt import stores

        stores.check(wanted)
    else:
        disposal.argv(NULL_SENDER, [disposal.destination(treatment)])


def keep(disposal: "Disposal", destination: bytes, group: "list[Treatment]") -> "tuple[str, Undo | None]":
    """Store the message for these recipients in `destination`; return its id, and what takes it out again.

    A message that was sent to an address cannot be taken back. Raises Ended if it could not be kept.
    """
    name = f"{disposal.record.queue_id}-{posix.urandom(4).hex()}"
    fields, _ = headers.split(spool.head(disposal.message))
    marks = _marks(name, disposal.envelope.sender, group, headers.line_end_of(fields))
    wishes = group[0].wishes
    is_store = wishes["quarantine"].startswith(STORES)
    # Local delivery has put its fields there, by which it would take what is sent to an address for a loop.
    original = trace.without_delivery(fields) if disposal.is_hook and not is_store else fields
    kept = spool.with_header(disposal.message, fields, tagging.on_top(original, marks))
    undo = None
    if is_store:
        from pf_spamfilt import stores

        process.hold_signals()  # from here on it is there, and must be known to be
        undo = stores.keep(wishes["quarantine"], kept, name, wishes["quarantine_name"], disposal.deadline)
    else:
        _send(disposal, kept, destination)
    kept.close()
    return name, undo


def _send(disposal: "Disposal", kept: "Message", address: bytes) -> None:
    """Send a message to an address; from nobody: if it cannot be delivered, no innocent sender hears of it."""
    try:
        disposal.submit(kept, NULL_SENDER, [address])
    except Rejected as error:
        raise Deferred(f"quarantine: {error.text}") from None


def _marks(name: str, sender: bytes, group: "list[Treatment]", end: bytes) -> list[bytes]:
    """Return the envelope and what SpamAssassin said as header fields."""
    recipients = [b"<" + treatment.wishes.recipient + b">" for treatment in group]
    answer, user = group[0].scan.answer, group[0].scan.user
    scanned = headers.split(answer.head)[0] if answer else []
    return [
        trace.KEPT + b": <" + name.encode() + b">" + end,
        b"X-Envelope-From: <" + sender + b">" + end,
        *([b"X-Quarantine-User: " + user + end] if user else []),
        b"X-Envelope-To: " + (b"," + end + b"\t").join(recipients) + end,
        *[field for field in scanned if headers.is_spam_field(field)],
    ]
