"""Messages a second by local delivery, in the ways of examples/main.cf.local, against the plain transport.

Each message is for another account, unless it says "one user's": then Postfix delivers no more than two at a time
(local_destination_concurrency_limit), and programs wait for each other's lock on an mbox file. Without a Maildir, the
inbox is an mbox file in /var/mail. A copy that is missing, was not scanned or is not whole is a LabError.
"""

import contextlib
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bench.examples import MESSAGES, PLAIN, Running, SetUp, compared_rates, plain, rates_of
from bench.report import Section
from bench.scene import Scene
from lab.local_users import DOMAIN, User
from lab.setups import SIEVE, WAYS, Way, local_delivery
from lab.tools import LabError

USERS = [f"{number + 1}user" for number in range(MESSAGES)]  # the names to which `smtp-source -N -t user@...` sends
PACKAGES = {"procmail": "procmail", "maildrop": "maildrop", "dovecot-core": "dovecot", "dovecot-sieve": "sievec"}
MAILDIR = "DEFAULT=$HOME/Maildir/\n"


def measure(scene: Scene) -> Section:
    """Run the benchmark."""
    missing = [name for name, program in PACKAGES.items() if not shutil.which(program)]
    if missing:
        raise LabError(f"local: run lab/packages.sh {' '.join(missing)}")
    rates = rates_of(scene, "local", SET_UPS)
    section = compared_rates("messages a second by local delivery", rates, dict.fromkeys(SET_UPS, PLAIN))
    section.notes.append(f"{MESSAGES} messages in each round, each for another account unless it says: one user's")
    section.notes.append("mbox: /var/mail/ACCOUNT; ratio: to the plain transport, examples/master.cf")
    return section


@contextlib.contextmanager
def _local(scene: Scene, way: Way, *, maildir: bool = False, one: bool = False) -> Iterator[Running]:
    with local_delivery(scene.host, way, *USERS) as users:
        if maildir:
            for user in users.values():
                _choose_maildir(user)
        folders = [folder for user in users.values() for folder in _folders(user)]
        recipients = ("-t", f"{USERS[0]}@{DOMAIN}") if one else ("-N", "-t", f"user@{DOMAIN}")
        yield Running([scene.host.postfix.plain_port], folders, recipients=recipients)


def _choose_maildir(user: User) -> None:
    """Let procmail put into a Maildir what no rule of the user's delivers."""
    file = user.home / ".procmailrc"
    user.write(file.name, (file.read_text(encoding="utf-8") if file.exists() else "") + MAILDIR)


def _folders(user: User) -> list[Path]:
    """Return where a message can be, whatever it is and whoever delivers it."""
    return [user.inbox, user.home / "Maildir", user.home / "Maildir" / ".Junk", user.home / "spam"]


_PROCMAILRC, _MAILFILTER = WAYS["procmail with the procmailrc"], WAYS["maildrop with the mailfilter"]
SET_UPS: dict[str, SetUp] = {
    PLAIN: plain,
    "--pipe-to procmail, Maildir": partial(_local, way=WAYS["the filter, then procmail"], maildir=True),
    "--pipe-to maildrop, mbox": partial(_local, way=WAYS["the filter, then maildrop"]),
    "--pipe-to dovecot-lda, Maildir": partial(_local, way=WAYS["the filter, then Dovecot"]),
    "procmailrc, Maildir": partial(_local, way=_PROCMAILRC, maildir=True),
    "mailfilter, mbox": partial(_local, way=_MAILFILTER),
    "forward, Maildir": partial(_local, way=WAYS["the forward"], maildir=True),
    "Dovecot's Sieve, Maildir": partial(_local, way=SIEVE),
    "procmailrc, one user's Maildir": partial(_local, way=_PROCMAILRC, maildir=True, one=True),
    "procmailrc, one user's mbox": partial(_local, way=_PROCMAILRC, one=True),
    "mailfilter, one user's mbox": partial(_local, way=_MAILFILTER, one=True),
}
