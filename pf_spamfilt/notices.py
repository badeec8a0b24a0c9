"""Send the notices about handled mail that settings ask for: bounces, to administrators, to the sender.

Imported only where there is one to send; notify.py words them.
"""

import posix

from pf_spamfilt import headers, notify, policy, report, spool, trace
from pf_spamfilt.dispose import Disposal, reason, recipients_of
from pf_spamfilt.envelope import NULL_SENDER
from pf_spamfilt.policy import Treatment

_REJECTED = "5.6.0"


def send(disposal: Disposal, bounced: list[Treatment]) -> None:
    """Send what the sender must know of `bounced` recipients, and what recipients' policies ask for."""
    sender = disposal.envelope.sender
    handled = [treatment for treatment in disposal.treatments if treatment.handled]
    for group in policy.grouped(bounced, lambda each: each.rejected):
        status = _REJECTED if group[0].rejected else "5.7.1"
        notice = spool.from_bytes(notify.bounce(_case(disposal, group), recipients_of(group), status))
        # That one is rejected is for Postfix to tell the sender: better that it says too much than nothing.
        disposal.submit(notice, NULL_SENDER, [sender])
        notice.close()
    # Two hosts that handled each other's notices would go on for ever.
    is_ours = sender == NULL_SENDER and trace.is_automatic(disposal.fields)
    for group in policy.grouped(handled, lambda each: each.wishes["admin"]):
        if (admin := group[0].wishes["admin"]) and not is_ours:
            outcomes = [(each.wishes.recipient, _outcome(each)) for each in group]
            _submit(disposal, notify.to_admin(_case(disposal, group), admin, outcomes), admin.encode())
    warned = [each for each in handled if each.wishes["warn_sender"] and each.end != report.BOUNCED]
    if warned and trace.may_answer(sender, disposal.fields):
        _submit(disposal, notify.to_sender(_case(disposal, warned), recipients_of(warned)), sender)


def _submit(disposal: Disposal, notice: bytes, recipient: bytes) -> None:
    """Send a notice from the null sender; leave it out if all that would come of another try is a further copy."""
    try:
        message = spool.from_bytes(notice)
        disposal.submit(message, NULL_SENDER, [recipient])
        message.close()
    except disposal.untold as error:
        disposal.log.warning(f"{disposal.record.queue_id}: no notice to <{report.address(recipient)}>: {error.text}")


def _outcome(treatment: Treatment) -> str:
    """Say what became of one recipient's copy."""
    kept = f", in quarantine {treatment.kept}" if treatment.kept else ""
    return f"{'delivered' if treatment.end == report.REINJECTED else treatment.end}{kept}"


def _case(disposal: Disposal, group: list[Treatment]) -> notify.Case:
    treatment, verdict = group[0], group[0].scan.verdict
    return notify.Case(
        queue_id=disposal.record.queue_id,
        sender=disposal.envelope.sender,
        size=disposal.record.size,
        # The score of a blocked sender is not why.
        score=verdict.score if verdict and not treatment.is_blocked else "",
        required=policy.limit(treatment),
        tests=verdict.tests if verdict else "",
        reason="the mail system cannot accept this message" if treatment.rejected else reason(group),
        header=b"".join(headers.split(spool.head(disposal.message))[0]),
        host=trace.host(disposal.fields) or posix.uname().nodename,
    )
