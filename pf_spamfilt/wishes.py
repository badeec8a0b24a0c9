"""Gather what each recipient of a message wants: from tables, from blocks, from [policy].

A Postfix table is asked, and what asks it imported, only where the settings name one; likewise regular expressions.
"""

import _signal  # type: ignore[import-not-found]  # see process.py
import posix
import time

from pf_spamfilt import headers, policy, report, trace
from pf_spamfilt.exits import SettingsError
from pf_spamfilt.patterns import Address
from pf_spamfilt.policy import Wishes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pf_spamfilt.envelope import Envelope
    from pf_spamfilt.log import Log
    from pf_spamfilt.policy import Source
    from pf_spamfilt.settings import Settings
    from pf_spamfilt.tables import Tables

# So many addresses in From are looked at: a header can hold 100,000.
_CLAIMED_MAX = 10
# A person has already decided on this one.
_RELEASED: "Source" = (trace.RELEASED.decode(), {"bypass": True})
# This one was handled, and is on its way to where it is kept: handled there again, it would run in circles.
_KEPT: "Source" = (trace.KEPT.decode(), {"spam_lover": True})
# How long one regular expression may take for one address, in seconds.
_PATIENCE = 5.0


class Lookups:
    """Tables and regular expressions, as these addresses are looked up in them."""

    def __init__(self, addresses: list[bytes], settings: "Settings", deadline: float, log: "Log") -> None:
        self.addresses = [Address(address, settings.recipient_delimiter) for address in dict.fromkeys(addresses)]
        self._asked = settings.tables.command, deadline, log
        self._tables: Tables | None = None

    @property
    def tables(self) -> "Tables":
        """The tables, once they are needed."""
        if self._tables is None:
            from pf_spamfilt.tables import Tables

            self._tables = Tables(self.addresses, *self._asked)
        return self._tables

    def has(self, table: str, address: Address) -> bool:
        """Tell whether a table has an entry for `address`."""
        return self.tables.has(table, address)

    def search(self, regex: str, address: Address) -> bool:
        """Tell whether a regular expression matches `address`; one that takes too long is a SettingsError."""
        import re  # costs as much as all our modules

        def stop(_number: int, _frame: object) -> None:
            raise SettingsError(f"/{regex}/ takes too long for {report.printable(address.text)}: write it more simply")

        _signal.signal(_signal.SIGALRM, stop)
        _signal.setitimer(_signal.ITIMER_REAL, max(0.01, min(_PATIENCE, self._asked[1] - time.monotonic())))
        try:
            return re.search(regex, address.text, re.IGNORECASE) is not None
        finally:
            _signal.setitimer(_signal.ITIMER_REAL, 0)

    def sources(self, names: list[str], address: Address) -> "Iterator[Source]":
        """Return what the tables `names` say of a recipient."""
        return self.tables.sources(names, address) if names else iter(())


def gather(
    envelope: "Envelope", fields: list[bytes], settings: "Settings", deadline: float, log: "Log"
) -> list[Wishes]:
    """Return what each recipient wants, in their order, and how the sender stands with him; without any, nobody's.

    The sender is known by his envelope address and those in From. Raises Deferred if a table cannot be read.
    """
    senders = Lookups([envelope.sender, *_claimed(fields)], settings, deadline, log)
    names = envelope.recipients or [b""]
    recipients = Lookups(names, settings, deadline, log)
    first = [_RELEASED] if trace.is_released(fields, posix.getuid()) else []
    first += [_KEPT] if trace.is_kept(fields) else []
    outgoing = list(policy.matching_blocks("senders", settings.senders, senders.addresses[0], senders))
    found = {}
    for name, address in zip(dict.fromkeys(names), recipients.addresses, strict=True):
        tables = recipients.sources(settings.tables.recipients, address)
        blocks = policy.matching_blocks("recipients", settings.recipients, address, recipients)
        found[name] = Wishes(name, [*first, *outgoing, *tables, *blocks, ("[policy]", settings.policy)])
    policy.look_up_sender(list(found.values()), senders.addresses, senders)
    return [found[name] for name in names]


def _claimed(fields: list[bytes]) -> list[bytes]:
    """Return the first addresses in From."""
    found: list[bytes] = []
    for field in fields:
        if len(found) < _CLAIMED_MAX and headers.name_of(field) == b"from":
            found += headers.addresses_of(field)
    return found[:_CLAIMED_MAX]
