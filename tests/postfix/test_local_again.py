"""Mail that local(8) delivers twice: what was kept and is released arrives, what runs in circles does not."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from proving import Host, changed

from lab import setups
from lab.local_users import DOMAIN, User, messages

WAYS = ["the filter, then procmail", "procmail with the procmailrc"]
POLICY = '[policy]\nkill_level = 10\ndestiny = "discard"\nquarantine = "maildir:{home}/kept"\n'


@pytest.fixture(scope="module", params=WAYS)
def running(request: pytest.FixtureRequest, module_mailhost: Host) -> Iterator[tuple[User, setups.Way]]:
    """The mail host, delivering to jane."""
    way = setups.WAYS[request.param]
    with setups.local_delivery(module_mailhost, way, "jane") as users:
        yield users["jane"], way


@pytest.fixture
def jane(running: tuple[User, setups.Way], mailhost: Host) -> User:
    """An account without mail, whose spam is kept in its home directory."""
    user, way = running
    user.forget()
    way.prepare(user)
    mailhost.configured(POLICY.format(home=user.home))
    return user


def test_mail_in_circles_is_stopped_though_it_is_wrapped(jane: User, mailhost: Host) -> None:
    """By local(8), which must still see that it was here: SpamAssassin's report would hide it."""
    mailhost.spamd.preferences("jane", "required_score -100\nreport_safe 1\n")
    again = f"{mailhost.command} --pipe-to /usr/sbin/sendmail -i -f sender@client.example jane@{DOMAIN}"
    jane.write(".forward", f'"|{again}"\n')
    before = [len(lines) for lines in rounds(mailhost)]
    mailhost.put("clean", [f"jane@{DOMAIN}"], filtered=False)
    mailhost.settled()
    assert [len(lines) for lines in rounds(mailhost)] == [count + 1 for count in before]


@pytest.mark.parametrize("address", [f"jane+kept@{DOMAIN}", f"spam@{DOMAIN}"], ids=["extension", "alias"])
def test_what_is_kept_at_an_address_of_this_host_arrives_there(jane: User, mailhost: Host, address: str) -> None:
    """Though it is spam there, too: kept there again it would run in circles, and bounce to nobody."""
    mailhost.configured(f'[policy]\nkill_level = 10\ndestiny = "discard"\nquarantine = "{address}"\n')
    with changed(mailhost, "alias_maps = inline:{spam=jane}"):
        mailhost.put("gtube", [f"jane@{DOMAIN}"], filtered=False)
        mailhost.settled()
    copies = messages(jane.inbox) + messages(jane.home / "spam")
    assert [b"\nX-Spam-Flag: YES\n" in copy for copy in copies if b"\nX-Quarantine-ID: <" in copy] == [True]


def rounds(host: Host) -> list[list[str]]:
    """Return the lines of what the filter has handed over, and of Postfix's loops."""
    return [host.syslog.lines("action=piped"), host.postfix.log_lines("mail forwarding loop for")]


def test_released_mail_is_delivered(jane: User, mailhost: Host) -> None:
    """Though it was delivered to this address before, as local(8) has written on top of it: that is no loop."""
    address = f"jane@{DOMAIN}"
    mailhost.put("gtube", [address], filtered=False)
    mailhost.settled()
    for file in [jane.inbox, *jane.home.glob("spam/new/*")]:
        file.unlink(missing_ok=True)
    (kept,) = (jane.home / "kept" / "new").iterdir()
    command = Path(mailhost.command).with_name("pf-spamfilt-admin")
    name = kept.read_bytes().partition(b"<")[2].partition(b">")[0]
    words = ["quarantine", "release", "--to", address, name]  # the example's domain is another
    subprocess.run([command, *words], check=True, stdout=subprocess.DEVNULL)
    mailhost.settled()
    (copy,) = messages(jane.inbox)
    assert b"\nX-Quarantine-Released: <" + name + b">\n" in copy
    assert copy.count(b"\nDelivered-To: ") == 1
