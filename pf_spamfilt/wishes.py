"""Gather what each recipient of a message wants: from tables, from blocks, from [policy].

A Postfix table is asked, and what asks it imported, only where the settings name one.
"""

from pf_spamfilt import headers, policy
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


class Lookups:
    """Postfix tables, as these addresses are looked up in them."""

    __slots__ = ("_asked", "addresses")

    def __init__(self, addresses: list[bytes], settings: "Settings", deadline: float, log: "Log") -> None:
        self.addresses = [Address(address, settings.recipient_delimiter) for address in dict.fromkeys(addresses)]
        self._asked: tuple[list[str], float, Log] | Tables = (settings.tables.command, deadline, log)

    def has(self, name: str, address: Address) -> bool:
        """Tell whether table `name` has an entry for `address`."""
        return self._tables().has(name, address)

    def sources(self, names: list[str], address: Address) -> "Iterator[Source]":
        """Return what the tables `names` say of a recipient."""
        return self._tables().sources(names, address) if names else iter(())

    def _tables(self) -> "Tables":
        if isinstance(self._asked, tuple):
            from pf_spamfilt.tables import Tables

            self._asked = Tables(self.addresses, *self._asked)
        return self._asked


def gather(
    envelope: "Envelope", fields: list[bytes], settings: "Settings", deadline: float, log: "Log"
) -> list[Wishes]:
    """Return what each recipient wants, in their order, and how the sender stands with him.

    The sender is known by his envelope address and those in From. Raises Deferred if a table cannot be read.
    """
    claimed = [each for field in fields if headers.name_of(field) == b"from" for each in headers.addresses_of(field)]
    senders = Lookups([envelope.sender, *claimed], settings, deadline, log)
    recipients = Lookups(envelope.recipients, settings, deadline, log)
    outgoing = list(policy.matching_blocks("senders", settings.senders, senders.addresses[0], senders.has))
    found = {}
    for name, address in zip(dict.fromkeys(envelope.recipients), recipients.addresses, strict=True):
        tables = recipients.sources(settings.tables.recipients, address)
        blocks = policy.matching_blocks("recipients", settings.recipients, address, recipients.has)
        found[name] = Wishes(name, [*outgoing, *tables, *blocks, ("[policy]", settings.policy)])
    policy.look_up_sender(list(found.values()), senders.addresses, senders.has)
    return [found[name] for name in envelope.recipients]
