"""Decide what to scan, all of a message, its head or nothing, and for which users; then have it scanned."""

import time

from pf_spamfilt import scan, spool
from pf_spamfilt.envelope import as_user, spamc_user
from pf_spamfilt.exits import UNREACHED, ScanFailed
from pf_spamfilt.verdict import Scan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pf_spamfilt.envelope import Envelope
    from pf_spamfilt.filter import Filter
    from pf_spamfilt.policy import Wishes
    from pf_spamfilt.settings import Settings
    from pf_spamfilt.spool import Message


def examine(running: "Filter", message: "Message", everybody: "list[Wishes]") -> list[Scan]:
    """Return the scan that counts for each recipient; recipients with one spamc user share one.

    Raises ScanFailed if one fails and settings do not let such a message pass.
    """
    spamc = running.settings.spamc
    users = [None if each["bypass"] else _user(running, each.recipient) for each in everybody]
    wanted = [user for user in dict.fromkeys(users) if user is not None]
    if message.in_memory:
        scans = _scan_for(running, message, wanted)
    elif spamc.oversize == "head":
        scans = _scan_for(running, spool.cut(message, spamc.max_size), wanted, partial=True)
    else:
        scans = dict.fromkeys(wanted, Scan(unscanned=f"{message.size} bytes"))
    bypass = Scan(unscanned="bypass")
    running.record.scans = [*scans.values()] or [bypass]
    return [bypass if user is None else scans[user] for user in users]


def _user(running: "Filter", recipient: bytes) -> bytes:
    """Return spamc's user: in the forms for local delivery the account whose mail this is."""
    if running.form.user and running.settings.spamc.user:
        return as_user(running.form.user)
    return user_for(recipient, running.envelope, running.settings)


def user_for(recipient: bytes, envelope: "Envelope", settings: "Settings") -> bytes:
    """Return spamc's user: with several recipients none, so that nobody's preferences hold for another."""
    if len(envelope.recipients) != 1 and not settings.spamc.per_recipient:
        return b""
    return spamc_user(settings.spamc.user, recipient, settings.recipient_delimiter)


def _scan_for(running: "Filter", message: "Message", users: list[bytes], partial: bool = False) -> dict[bytes, Scan]:
    """Scan the message for each user; equal answers become one. A scanner out of reach is asked once."""
    started = time.monotonic()
    scans: dict[bytes, Scan] = {}
    unreached: Scan | None = None
    try:
        for user in users:
            found = unreached or _scan(running, message, user)
            found.partial = partial
            unreached = found if found.failed == UNREACHED else None
            scans[user] = same = next((each for each in scans.values() if each.equals(found)), found)
            if same is not found and found.answer:
                found.answer.close()
    finally:
        running.record.scan_seconds = time.monotonic() - started
    return scans


def _scan(running: "Filter", message: "Message", user: bytes) -> Scan:
    """Scan the message for one user, or say why it goes on without."""
    try:
        return scan.scan(message, user, running.settings.spamc, running.scan_deadline, running.log)
    except ScanFailed as error:
        if running.settings.spamc.on_failure != "pass":
            raise
        running.log.warning(f"{running.record.queue_id}: passed without a scan: {error.text}")
        return Scan(user, error.text, failed=error.code)
