"""Quarantine at an address: whether Postfix's own tables say that there is no such mailbox. Nothing is sent there.

What is kept is sent from nobody: where there is no mailbox it is lost. Wherever something else than these tables may
have a say, nothing is found.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping

import click

from pf_spamfilt import settings
from pf_spamfilt.admin.checks.findings import Finding, warning
from pf_spamfilt.admin.checks.instance import Instance, words

# Asks a table for a key: empty if it has none. Raises ClickException if it cannot be asked.
Lookup = Callable[[str, str], str]
# Where domains are, and the tables of their mailboxes.
_MAILBOXES = {"mydestination": "local_recipient_maps", "virtual_mailbox_domains": "virtual_mailbox_maps"}
# What may change an address, or deliver what these tables do not have.
_OTHERS = (
    "canonical_maps", "recipient_canonical_maps", "transport_maps", "luser_relay",
    "mailbox_transport", "mailbox_transport_maps", "fallback_transport", "fallback_transport_maps",
)  # fmt: skip


def about(destinations: Iterable[str], instance: Instance | None, lookup: Lookup, source: str) -> Iterator[Finding]:
    """Yield each quarantine that is an address without a mailbox; `source` is the file or table that names it."""
    if not instance or any(map(instance.main.get, _OTHERS)) or not instance.is_local:
        return
    for address in destinations:
        is_plain = not address.startswith(settings.STORES) and "@" in address and "${" not in address
        if is_plain and _is_unknown(address.lower(), instance.main, lookup):
            text = f'{source}: quarantine "{address}": Postfix knows no such mailbox: what is to be kept there is lost'
            yield warning("quarantine-address", text, "Make the mailbox or an alias, or name another address there")


def _is_unknown(address: str, main: Mapping[str, str], lookup: Lookup) -> bool:
    """Tell whether no table has an address of a domain that is this host's."""
    domain = address.rpartition("@")[2]
    maps = [main.get(name, "") for where, name in _MAILBOXES.items() if domain in words(main.get(where, "").lower())]
    tables = [table.removeprefix("proxy:") for table in words(" ".join([*maps, main.get("virtual_alias_maps", "")]))]
    try:
        return any(maps) and not any(lookup(key, table) for table in tables for key in _keys(address, main))
    except click.ClickException:
        return False


def _keys(address: str, main: Mapping[str, str]) -> list[str]:
    """Return what Postfix asks tables for, of an address."""
    local, _, domain = address.rpartition("@")
    delimiters = main.get("recipient_delimiter", "")
    bare = re.split(f"[{re.escape(delimiters)}]", local)[0] if delimiters else local
    return list(dict.fromkeys([address, local, f"{bare}@{domain}", bare, f"@{domain}"]))
