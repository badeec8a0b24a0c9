"""Envelope addresses that shells, getopt(3) and sendmail(1) would like to understand otherwise.

Each is sent as sender and as recipient, with the filter and without: Postfix alone says how it must arrive.
"""

from pathlib import Path

import pytest
from proving import JANE, MESSAGES, Host

CANARY = Path("/tmp/pf-spamfilt-ran-an-address")
ADDRESSES = {
    "plain": "jane@example.com",
    "extension": "jane+lists@example.com",
    "capitals": "Jane.Doe@Example.COM",
    "blank": '"a b"@example.com',
    "comma": '"a,b"@example.com',
    "at": '"a@b"@example.com',
    "two-addresses": '"x@example.net, y@example.net"@example.com',
    "quotes": r'"a\"b\\c"@example.com',
    "brackets": '"<jane>"@example.com',
    "only-brackets": '"<>"@example.com',
    "comment": '"(jane)"@example.com',
    "group": '"a:b;"@example.com',
    "empty-local-part": '""@example.com',
    "two-dots": "a..b@example.com",
    "last-dot": "jane.@example.com",
    "option": "-x@example.com",
    "option-of-sendmail": "-t@example.com",
    "end-of-options": "--@example.com",
    "option-of-ours": "--config=/etc/x@example.com",
    "explain": "--explain@example.com",
    "quoted-option": '"-oQ/tmp -f"@example.com',
    "shell": "$HOME`id`|&!#'*/?^{}~%@example.com",
    "quoted-shell": f'"$(touch {CANARY});id>{CANARY}"@example.com',
    "include": '":include:/etc/passwd"@example.com',
    "command": '"|/bin/false"@example.com',
    "file": "/etc/passwd@example.com",
    "macro": "${recipient}@example.com",
    "percent": "jane%example.net@example.com",
    "path": "../../../etc@example.com",
    "utf8": "jürgen@müller.example",
    "utf8-quoted": '"grüße, 日本 語"@例え.example',
    "mailer-daemon": "MAILER-DAEMON@client.example",
    "postmaster": "postmaster@example.com",
    "long": "x" * 64 + "@" + "d" * 60 + ".example",
}
OTHER = "other@client.example"
ROLES = ("sender", "recipient")
PORTS = ("filtered", "plain")
Envelope = tuple[str, str]


@pytest.fixture(scope="module")
def envelopes(module_mailhost: Host) -> dict[str, list[Envelope]]:
    """Sender and recipient of each delivered copy, by what was sent: name, role and port."""
    for name, address in ADDRESSES.items():
        for port in PORTS:
            filtered = port == "filtered"
            module_mailhost.put(_labelled(name, "sender", port), [OTHER], address, filtered=filtered)
            module_mailhost.put(_labelled(name, "recipient", port), [address], OTHER, filtered=filtered)
    found: dict[str, list[Envelope]] = {}
    for copy in module_mailhost.once(len(ADDRESSES) * len(ROLES) * len(PORTS)):
        found.setdefault(str(copy.header("X-Label")), []).append((copy.sender, copy.recipient))
    return found


def _labelled(*label: str) -> bytes:
    return f"X-Label: {' '.join(label)}\n".encode() + MESSAGES["clean"]


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("name", ADDRESSES)
def test_envelope_is_as_postfix_alone_delivers_it(envelopes: dict[str, list[Envelope]], name: str, role: str) -> None:
    """One copy each way, with the same sender and recipient."""
    (filtered,) = envelopes[f"{name} {role} filtered"]
    (plain,) = envelopes[f"{name} {role} plain"]
    assert filtered == plain
    assert OTHER in filtered


@pytest.mark.parametrize("name", ["blank", "comma", "at", "option", "option-of-ours", "shell", "utf8", "extension"])
def test_address_is_the_one_that_was_sent(envelopes: dict[str, list[Envelope]], name: str) -> None:
    assert envelopes[f"{name} sender filtered"] == [(ADDRESSES[name], OTHER)]
    assert envelopes[f"{name} recipient filtered"] == [(OTHER, ADDRESSES[name])]


def test_all_odd_recipients_of_one_message_have_a_copy_each(mailhost: Host) -> None:
    """They are arguments of one command then."""
    recipients = [address for address in ADDRESSES.values() if address.lower().endswith("@example.com")]
    copies = mailhost.deliver("clean", recipients, "--@client.example")
    plain = _plain_recipients(mailhost, recipients)
    assert sorted(copy.recipient for copy in copies) == plain
    assert {copy.sender for copy in copies} == {"--@client.example"}


def _plain_recipients(host: Host, recipients: list[str]) -> list[str]:
    host.mailbox.clear()
    host.put("clean", recipients, filtered=False)
    return sorted(copy.recipient for copy in host.once(len(recipients)))


def test_address_of_other_bytes_than_utf8_passes(mailhost: Host) -> None:
    """Postfix takes Latin-1 when it is told not to know of SMTPUTF8."""
    address = "j\udcfcrgen@example.com"
    with mailhost.postfix.changed(main="smtputf8_enable = no\n"):
        (copy,) = mailhost.deliver("clean", [address], address)
    assert (copy.sender, copy.recipient) == (address, address)


def test_nothing_of_an_address_is_run(envelopes: dict[str, list[Envelope]]) -> None:
    """A command in a quoted address would have made a file."""
    assert not CANARY.exists()


def test_spamds_user_is_the_address_as_it_is(mailhost: Host) -> None:
    """Also one that spamc would take for an option."""
    mailhost.deliver("clean", ["-t@example.com"])
    assert mailhost.scans("user=-t@example.com,")


def test_smtputf8_message_for_several_recipients(mailhost: Host) -> None:
    recipients = ["jürgen@müller.example", "anna@müller.example", JANE]
    copies = mailhost.deliver("utf8", recipients, "grüße@müller.example")
    assert sorted(copy.recipient for copy in copies) == sorted(recipients)
    assert {copy.sender for copy in copies} == {"grüße@müller.example"}
    assert [copy.body == MESSAGES["utf8"].partition(b"\n\n")[2] for copy in copies] == [True] * 3
