"""examples/before-rewriting as it is: the filter sees addresses as they came, the mailboxes the rewritten ones.

What the filter saw is what it keeps: a quarantine has the original, with the envelope that the filter was given.
"""

import email
import re
import shutil
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from proving import JANE, SAM, Host

from lab import kept, setups, smtp
from lab.accounts import FILTER_ACCOUNT

SALES, OLD, JOHN = "sales@example.com", "j.doe@example.com", "john@example.com"
ANNA, SMITH = "anna@client.example", "anna.smith@client.example"
MESSAGE = f"From: {ANNA}\nTo: {SALES}, {OLD}\nSubject: Before\n\nText.\n".encode()
# Everything is kept, and everything delivered.
KEEP = '[policy]\nkill_level = "always"\ndestiny = "pass"\nquarantine = "dir:{}"\n'


class View(NamedTuple):
    """What somebody sees of the message: envelope sender and recipients, and the addresses in the header."""

    sender: str
    recipients: list[str]
    header_from: str
    header_to: str


class Way(NamedTuple):
    """What the filter saw, what is in the mailboxes, and the filter's line in syslog."""

    seen: View
    delivered: View
    line: str


AS_SENT = View(ANNA, [OLD, SALES], ANNA, f"{SALES}, {OLD}")
REWRITTEN = View(SMITH, [JANE, JOHN, SAM], SMITH, f"{SALES}, {JOHN}")
SEEN = {
    "plain": REWRITTEN,
    "master.cf": AS_SENT,
    "pre-cleanup.cf": AS_SENT,
    "pre-cleanup.cf without a line": AS_SENT._replace(recipients=[OLD, JANE, SAM]),
}


def entries(host: Host, name: str) -> str:
    """Return the entries of a set-up for master.cf; none for the usual one, which there is to compare with."""
    file, _, without = name.partition(" ")
    text = "" if name == "plain" else setups.before_rewriting(host, file)
    if without:
        assert text.count("    -o virtual_alias_maps=\n") == 1
        text = text.replace("    -o virtual_alias_maps=\n", "")
    return text


@pytest.fixture(scope="module", params=SEEN)
def name(request: pytest.FixtureRequest) -> str:
    """Which set-up."""
    return str(request.param)


@pytest.fixture(scope="module")
def way(name: str, session_mailhost: Host) -> Iterator[Way]:
    """What became of one message with a set-up, which runs on."""
    host = session_mailhost
    host.reset()
    folder = host.directory / "seen"
    folder.mkdir(mode=0o755)
    shutil.chown(folder, FILTER_ACCOUNT, FILTER_ACCOUNT)
    with setups.rewriting(host, entries(host, name)):
        host.configured(KEEP.format(folder))
        queue_id = host.put(MESSAGE, [SALES, OLD], ANNA)
        delivered = mailboxes(host)
        yield Way(quarantined(f"dir:{folder}"), delivered, host.syslog.wait_for(f"{queue_id}: from="))
    shutil.rmtree(folder)


def quarantined(store: str) -> View:
    """Return what the filter saw: the only message in the store."""
    ((_, text),) = kept.read(store)
    message = email.message_from_bytes(text)
    sender, recipients = (re.findall("<(.*?)>", message[f"X-Envelope-{what}"]) for what in ("From", "To"))
    return View(sender[0], sorted(recipients), message["From"], message["To"])


def mailboxes(host: Host) -> View:
    """Return what is delivered, which is the same message three times."""
    copies = host.once(3)
    ((sender, header_from, header_to),) = {
        (copy.sender, str(copy.header("From")), str(copy.header("To"))) for copy in copies
    }
    return View(sender, sorted(copy.recipient for copy in copies), header_from, header_to)


def test_filter_sees_what_the_setup_promises(way: Way, name: str) -> None:
    assert way.seen == SEEN[name]


def test_log_has_the_addresses_that_the_filter_saw(way: Way, name: str) -> None:
    recipients = ",".join(f"<{recipient}>" for recipient in SEEN[name].recipients)
    assert f"from=<{SEEN[name].sender}>, to={recipients}, size=" in way.line


def test_mail_is_delivered_rewritten(way: Way) -> None:
    """The same mail in the same mailboxes, whenever addresses are rewritten."""
    assert way.delivered == REWRITTEN


def test_incomplete_address_in_the_header_is_completed_where_main_cf_says(
    way: Way, name: str, session_mailhost: Host
) -> None:
    """In the end always; before the filter unless the first cleanup is one of its own."""
    session_mailhost.mailbox.clear()
    (copy,) = session_mailhost.deliver(MESSAGE.replace(OLD.encode(), b"joe"))
    assert copy.header("To") == f"{SALES}, joe@domain.invalid"
    seen = [email.message_from_bytes(text)["To"] for _, text in kept.read(f"dir:{session_mailhost.directory}/seen")]
    assert sum(to.endswith(" joe") for to in seen) == name.startswith("pre-cleanup")


def test_smtpd_knows_the_aliases(way: Way, session_mailhost: Host) -> None:
    """A domain of aliases refuses who is none, before any rewriting."""
    with pytest.raises(smtp.Refused, match=r"<nobody@aliases\.example>.*User unknown in virtual alias table"):
        session_mailhost.put(MESSAGE, ["nobody@aliases.example"])


def test_check_finds_nothing_wrong(way: Way, session_mailhost: Host) -> None:
    assert session_mailhost.check() == []
