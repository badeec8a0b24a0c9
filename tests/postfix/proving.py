"""The mail host of these tests, and what they ask of it again and again: send, wait, count exactly, look at the log."""

import contextlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from lab import smtp
from lab.mailbox import Copy
from lab.mailhost import MailHost
from lab.tools import PROJECT, LabError, run, wait_until

JANE = "jane@example.com"
SAM = "sam@example.com"

_FOLDERS = (PROJECT / "tests" / "messages", PROJECT / "tests" / "postfix" / "messages")
MESSAGES = {file.stem: file.read_bytes() for folder in _FOLDERS for file in sorted(folder.glob("*.eml"))}

_OWN_TRACE = re.compile(
    rb"(Return-Path|Delivered-To|X-Original-To):|Received: (.*\s)?by lab\.example \(Postfix[,)]", re.DOTALL
)
_STATUS = re.compile(r"(Yes|No), score=(-?[\d.]+) required=(-?[\d.]+) ")
_ONCE = ("x-spam-flag", "x-spam-status", "x-spam-level", "x-spam-report", "x-spam-checker-version")
_MOST_STARS = 50


class Host(MailHost):
    """A MailHost that knows when all mail has arrived, and says so with the end of the mail log if it has not."""

    def put(
        self,
        message: bytes | str = "clean",
        recipients: Sequence[str] = (JANE,),
        sender: str = smtp.SENDER,
        *,
        filtered: bool = True,
        chunked: bool = False,
    ) -> str:
        """Send a message, or the message file of this name, by DATA or by BDAT; return its queue id."""
        port = self.postfix.port if filtered else self.postfix.plain_port
        content = MESSAGES[message] if isinstance(message, str) else message
        return smtp.send(port, content, recipients, sender, chunked=chunked)

    def deliver(
        self, message: bytes | str = "clean", recipients: Sequence[str] = (JANE,), sender: str = smtp.SENDER
    ) -> list[Copy]:
        """Send a message and return what arrives: one copy for each recipient."""
        self.put(message, recipients, sender)
        return self.once(len(recipients))

    def once(self, count: int, timeout: float = 30) -> list[Copy]:
        """Return the copies, `count` of them, when all mail and all filters have come to their end."""
        self.mailbox.wait_for(count, timeout)
        copies = self.settled()
        assert len(copies) == count, f"{len(copies)} copies instead of {count}\n{self.postfix.log_tail(60)}"
        return copies

    def settled(self) -> list[Copy]:
        """Return the copies, however many, when all mail and all filters have come to their end."""
        self.postfix.wait_idle()
        self.wait_no_filter()
        return self.mailbox.copies()

    def retry(self, count: int = 1) -> list[Copy]:
        """Have deferred mail tried again now, and return the copies, `count` of them."""
        self.postfix.flush()
        return self.once(count)

    def deferred(self, queue_id: str, *texts: str) -> str:
        """Wait until Postfix has deferred a message with these texts in its log; nothing is delivered by then."""
        line = self.postfix.wait_log(queue_id, "relay=spamcheck", "status=deferred")
        missing = [text for text in texts if text not in line]
        assert not missing, f"{missing} is not in {line}"
        assert self.mailbox.count() == 0, self.postfix.log_tail()
        assert [name for name in self.postfix.queued() if not name.endswith(f"/{queue_id}")] == []
        return line

    def scans(self, *texts: str) -> list[str]:
        """Return a line of spamd's log for each scan, or for those whose line holds all of these texts."""
        return self.spamd.scans(*texts)

    def wait_filter(self, name: str) -> int:
        """Wait until the filter's account runs a program of this name, and return its process."""
        if not wait_until(lambda: bool(self.filter_processes(name)), 10, pause=0.005):
            raise LabError(f"no {name} was started\n{self.postfix.log_tail()}")
        return self.filter_processes(name)[0]

    def wait_no_filter(self) -> None:
        """Wait until nothing of the filter's account runs any more."""
        if not wait_until(lambda: not self.filter_processes(), 30):
            raise LabError(f"processes of the filter are left: {self.filter_processes()}\n{self.postfix.log_tail()}")

    def program(self, name: str, script: str) -> Path:
        """Write a script that the filter's account may run, and return its path."""
        file = self.directory / name
        file.write_text(f"#!/bin/sh\n{script}", encoding="utf-8")
        file.chmod(0o755)
        return file

    def check(self) -> list[str]:
        """Return what `pf-spamfilt-admin check` finds wrong, but for settings that are not compiled."""
        ended = subprocess.run([f"{self.command}-admin", "check", "--json"], capture_output=True, check=False)
        found = json.loads(ended.stdout)
        return [each["text"] for each in found if each["severity"] != "ok" and each["id"] != "compiled"]

    def servers(self, *servers: str, more: str = "") -> None:
        """Write settings with these servers for spamd, and `more` lines for [spamc] and what follows."""
        self.settings(f"[spamc]\nservers = {list(servers)}\n{more}")

    def configured(self, more: str) -> None:
        """Write the lab's own settings with `more` lines for [spamc] and what follows."""
        self.servers(self.spamd.address, more=more)

    @contextlib.contextmanager
    def sendmail(self, script: str) -> Iterator[None]:
        """Have the filter run a script instead of sendmail inside the with block."""
        self.configured(f'[sendmail]\ncommand = ["{self.program("sendmail", script)}"]\n')
        yield
        self.settings()

    def refusing(self, address: str, status: int) -> str:
        """Return settings for a sendmail that takes nothing for an address, and ends with this status."""
        script = f"""case "${{*##*-- }} " in
    *"{address} "*) echo 'no such thing' >&2; exit {status};;
esac
exec /usr/sbin/sendmail "$@"
"""
        return f'[sendmail]\ncommand = ["{self.program("refusing", script)}"]\n'


def scoring(score: int) -> bytes:
    """Return a message to which spamd gives this score."""
    return b"X-Test-Score: %d\n" % score + MESSAGES["clean"]


def for_recipients(match: str, keys: str) -> str:
    """Return a [[recipients]] block with these keys for those who match one pattern."""
    return f"[[recipients]]\nmatch = ['{match}']\n{keys}\n"


def fields(head: bytes) -> list[bytes]:
    """Split a header into its fields, folding kept."""
    return re.findall(rb"[^\n]*\n(?:[ \t][^\n]*\n)*", head)


def sent_fields(copy: Copy) -> list[bytes]:
    """Return the header fields of a copy without those that this host has added on its way."""
    return [field for field in fields(copy.head) if not _OWN_TRACE.match(field)]


def is_mark(field: bytes) -> bool:
    """Tell whether a header field is one of SpamAssassin's, or pretends to be."""
    return field.lower().startswith(b"x-spam-")


def marks(copy: Copy) -> list[bytes]:
    """Return the X-Spam-* fields of a copy."""
    return list(filter(is_mark, fields(copy.head)))


def is_consistent(copy: Copy, tag: str = "") -> bool:
    """Tell whether flag, report, status, score against required score, stars and subject tag say one thing, once."""
    spam = copy.header("X-Spam-Flag") == "YES"
    status, stars = copy.header("X-Spam-Status"), copy.header("X-Spam-Level")
    names = [name for name in copy.message if name.lower() in _ONCE]
    facts = [len(names) == len(set(map(str.lower, names))), (status is None) == (stars is None)]
    facts.append(spam or copy.header("X-Spam-Report") is None)
    if tag:
        facts.append(str(copy.header("Subject")).startswith(tag) == spam)
    if status is not None:
        found = _STATUS.match(status)
        assert found, status
        score, required = float(found[2]), float(found[3])
        facts += [(found[1] == "Yes") == spam, (score >= required) == spam]
        facts.append(stars == "*" * min(_MOST_STARS, max(0, int(score))))
    return all(facts)


def reinjection(copy: Copy) -> str:
    """Return the queue id under which a copy was given back to Postfix: copies of one sendmail share it."""
    return str(copy.header("Received")).partition(" id ")[2].partition(";")[0]


def body_is_whole(copy: Copy, message: bytes) -> bool:
    """Tell whether a copy has the body of the message that was sent."""
    return copy.body == message.partition(b"\n\n")[2]


def by_recipient(copies: list[Copy]) -> dict[str, list[Copy]]:
    """Sort copies by envelope recipient."""
    found: dict[str, list[Copy]] = {}
    for copy in copies:
        found.setdefault(copy.recipient, []).append(copy)
    return found


@contextlib.contextmanager
def moved(path: Path, substitute: Callable[[Path], object] = lambda _: None) -> Iterator[None]:
    """Take a file or folder away inside the with block, and put what `substitute` makes in its place."""
    away = path.with_name(path.name + ".away")
    os.rename(path, away)
    try:
        substitute(path)
        yield
    finally:
        os.rename(away, path)


@contextlib.contextmanager
def changed(host: Host, *settings: str, service: str = "") -> Iterator[None]:
    """Have other settings in main.cf, and one for the port with the filter, inside the with block."""
    files = [host.postfix.configuration / name for name in ("main.cf", "master.cf")]
    before = [file.read_text() for file in files]
    run(["postconf", "-e", *settings])
    if service:
        run(["postconf", "-P", f"127.0.0.1:{host.postfix.port}/inet/{service}"])
    host.postfix.reload()
    try:
        yield
    finally:
        for file, text in zip(files, before, strict=True):
            file.write_text(text)
        host.postfix.reload()
