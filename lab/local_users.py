"""Accounts with home directories in a lab, to which its Postfix delivers by local(8).

They are added to the lab's passwd, which lies over the host's in the namespace, as do the inboxes over /var/mail; both
are gone when the with block ends. LabError: see mailhost.py.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from lab import namespace
from lab.mailhost import MailHost
from lab.tools import PROJECT, LabError

DOMAIN = "lab.example"
INSTALLED = "/usr/local/bin/pf-spamfilt"
# Mail for DOMAIN is for accounts; nothing is virtual.
_MAIN_CF = f"""\
mydestination = {DOMAIN}
local_recipient_maps =
virtual_mailbox_domains =
recipient_delimiter = +
"""
_LOCAL = "local unix - n n - - local\n"


class User:
    """An account: its name, its number, its home directory, its inbox (an mbox file)."""

    def __init__(self, host: MailHost, name: str, number: int) -> None:
        self.name = name
        self.number = number
        self.home = host.directory / "home" / name
        self.inbox = host.directory / "inboxes" / name
        self._command = host.command

    def example(self, name: str, file: str) -> None:
        """Put an example into the home directory as it is, but for the path of pf-spamfilt."""
        text = (PROJECT / "examples" / name).read_text(encoding="utf-8")
        if INSTALLED not in text:
            raise LabError(f"examples/{name} does not name {INSTALLED}")
        self.write(file, text.replace(INSTALLED, self._command))

    def write(self, file: str, text: str) -> None:
        """Write a file in the home directory that nobody else can read."""
        path = self.home / file
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        os.chown(path, self.number, self.number)

    def forget(self) -> None:
        """Empty home directory and inbox."""
        self.inbox.unlink(missing_ok=True)
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir(mode=0o700)
        os.chown(self.home, self.number, self.number)


def messages(folder: Path) -> list[bytes]:
    """Return the messages in a folder, a Maildir or an mbox file; none if there is no such folder.

    A line "From " in an mbox file's message has a mark there, which is taken off. What is before the first message of
    such a file, where nothing should be, is taken for one.
    """
    if folder.is_dir():
        return [file.read_bytes() for file in sorted((folder / "new").glob("*"))]
    content = folder.read_bytes() if folder.exists() else b""
    before, *parts = re.split(rb"^From .*\n", content, flags=re.MULTILINE)
    return [re.sub(rb"^>From ", b"From ", part, flags=re.MULTILINE) for part in ([before] if before else []) + parts]


def empty(folder: Path) -> None:
    """Remove the messages in a folder, a Maildir or an mbox file."""
    for file in (folder / "new").glob("*") if folder.is_dir() else [folder]:
        file.unlink(missing_ok=True)


@contextlib.contextmanager
def accounts(host: MailHost, *names: str) -> Iterator[dict[str, User]]:
    """Give these names accounts inside the with block."""
    passwd = host.directory / "passwd"
    before = passwd.stat().st_size
    users = {name: User(host, name, host.number + 7000 + place) for place, name in enumerate(names)}
    for folder in ("home", "inboxes"):
        (host.directory / folder).mkdir(exist_ok=True)
    (host.directory / "inboxes").chmod(0o1777)
    for user in users.values():
        user.forget()
    entries = [f"{user.name}:x:{user.number}:{user.number}::{user.home}:/bin/sh\n" for user in users.values()]
    with passwd.open("ab") as file:
        file.write("".join(entries).encode())
    namespace.bind(host.directory / "inboxes", "/var/mail")
    try:
        yield users
    finally:
        namespace.uncover("/var/mail")
        os.truncate(passwd, before)  # Postfix has just started: it must find its own account at any moment
        for folder in ("home", "inboxes"):
            shutil.rmtree(host.directory / folder)


@contextlib.contextmanager
def delivering(host: MailHost, mailbox_command: str = "") -> Iterator[None]:
    """Let Postfix deliver to accounts inside the with block, with this line of main.cf, if any."""
    with host.postfix.changed(main=f"{_MAIN_CF}{mailbox_command}\n", master=_LOCAL):
        yield
