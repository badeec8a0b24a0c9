"""Who has done what to the quarantine: a line for each message in the mail log, beside those of the filter."""

import os
import syslog
from collections.abc import Iterable

from pf_spamfilt import log, report, settings
from pf_spamfilt.admin import account
from pf_spamfilt.admin.keeping.vault import Entry

IDENT = "pf-spamfilt-admin"


def tell(chosen: settings.Settings, what: str) -> None:
    """Log what was done, and by whom: the account that logged in, also behind sudo(8). Never fails."""
    if chosen.log.syslog:
        syslog.openlog(IDENT, syslog.LOG_PID, log.FACILITIES[chosen.log.facility])
        syslog.syslog(syslog.LOG_INFO, report.printable(f"{what}, by {_somebody()}", report.LINE_MAX))


def described(entry: Entry) -> str:
    """Return what is said of a message that is gone."""
    sender = report.address(entry.kept.sender)
    return f"{entry.kept.id} in {entry.store.destination} from <{sender}> to {addresses(entry.kept.recipients)}"


def addresses(recipients: Iterable[bytes]) -> str:
    """Return recipients as the filter logs them."""
    return ",".join(f"<{report.address(each)}>" for each in recipients)


def _somebody() -> str:
    name = os.environ.get("SUDO_USER", "")
    return f"{name} (root)" if name and os.getuid() == 0 else account.own_name()
