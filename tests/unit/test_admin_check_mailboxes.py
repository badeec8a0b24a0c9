"""Of which quarantine addresses check says that there is no such mailbox: only where Postfix's own tables say so."""

import click
import pytest

from pf_spamfilt.admin.account import Account
from pf_spamfilt.admin.checks import mailboxes
from pf_spamfilt.admin.checks.findings import WARNING
from pf_spamfilt.admin.checks.instance import Instance

MAIN = {
    "mydestination": "host.example.com, Example.com, localhost",
    "local_recipient_maps": "proxy:unix:passwd.byname hash:/etc/aliases",
    "virtual_mailbox_domains": "example.net",
    "virtual_mailbox_maps": "hash:/boxes",
    "virtual_alias_maps": "hash:/virtual",
    "local_transport": "local:host.example.com",
    "recipient_delimiter": "+",
}
TABLES = {
    "unix:passwd.byname": ["jane"],
    "hash:/etc/aliases": ["postmaster"],
    "hash:/boxes": ["sam@example.net"],
    "hash:/virtual": ["abuse@example.net", "@other.example", "info"],
}


def lookup(key, table):
    if table not in TABLES:
        raise click.ClickException("unsupported dictionary type")
    return "x" if key in TABLES[table] else ""


def found(address, **main):
    """Return what is found about this quarantine."""
    instance = Instance("/etc/postfix", [], MAIN | main, [], Account(89, 89), 90)
    return [(each.severity, each.id) for each in mailboxes.about([address], instance, lookup, "source")]


@pytest.mark.parametrize("address", ["spam@example.com", "spam@EXAMPLE.com", "spam+x@localhost", "spam@example.net"])
def test_address_that_no_table_has_is_a_warning(address):
    assert found(address) == [(WARNING, "quarantine-address")]


@pytest.mark.parametrize(
    "address",
    [
        "jane@example.com",
        "Jane@example.com",
        "jane+spam@example.com",
        "postmaster@localhost",
        "info@example.com",
        "sam@example.net",
        "sam+x@example.net",
        "abuse@example.net",
    ],
)
def test_address_that_a_table_has_is_fine(address):
    assert found(address) == []


@pytest.mark.parametrize(
    "address", ["spam@elsewhere.example", "spam", "spam+${user}@example.com", "dir:/var/spool/spam@example.com"]
)
def test_of_other_domains_macros_and_stores_nothing_is_said(address):
    assert found(address) == []


@pytest.mark.parametrize(
    "main",
    [
        {"local_recipient_maps": ""},
        {"local_recipient_maps": "nis:passwd"},
        {"virtual_alias_maps": "nis:mail"},
        {"mydestination": "hash:/etc/domains"},
        {"luser_relay": "jane"},
        {"mailbox_transport": "lmtp:unix:x"},
        {"fallback_transport_maps": "hash:/x"},
        {"local_transport": "lmtp:unix:x"},
        {"canonical_maps": "hash:/x"},
        {"recipient_canonical_maps": "hash:/x"},
        {"transport_maps": "hash:/x"},
    ],
)
def test_where_something_else_may_know_it_nothing_is_said(main):
    assert found("spam@example.com", **main) == []
