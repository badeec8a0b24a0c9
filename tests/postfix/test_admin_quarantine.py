"""pf-spamfilt-admin quarantine: what the filter has kept is listed, shown, released whole and once, learned, expired.

Each kind of store, with a real Postfix and spamd; an address is one too: its mailbox is the lab's.
"""

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from proving import JANE, MESSAGES, SAM, Host, body_is_whole, by_recipient, is_mark, sent_fields

from lab.mailbox import Copy
from lab.smtp import SENDER
from lab.tools import wait_until

KINDS = ("maildir", "dir", "mbox", "address")
KEEPER = "spam@quarantine.example"
POLICY = '[policy]\nkill_level = {level}\ndestiny = "discard"\nquarantine = "{quarantine}"\n'
RELEASED = b"X-Quarantine-Released: "


class Quarantine:
    """A store of one kind at the mail host, and pf-spamfilt-admin for it."""

    def __init__(self, host: Host, kind: str, level: str = "10") -> None:
        self.host = host
        self.is_address = kind == "address"
        self.folder = host.directory / f"quarantine-{time.monotonic_ns()}"
        self.folder.mkdir()
        os.chown(self.folder, host.number, host.number)
        self.store = f"maildir:{host.directory}/mail/all" if self.is_address else f"{kind}:{self.folder}/store"
        quarantine = KEEPER if self.is_address else self.store
        host.configured(POLICY.format(level=level, quarantine=quarantine))

    def keep(self, message: bytes | str = "gtube", recipients: tuple[str, ...] = (JANE,), sender: str = SENDER) -> str:
        """Send a message that is kept, and return the id that the log tells for it."""
        queue_id = self.host.put(message, recipients, sender)
        self.host.settled()
        assert self.host.postfix.log_lines(queue_id, "status=sent", "quarantined"), self.host.postfix.log_tail()
        return next(entry["id"] for entry in self.listed() if str(entry["id"]).startswith(f"{queue_id}-"))

    def admin(self, *words: str) -> "subprocess.CompletedProcess[bytes]":
        """Run a command as root, and return what it said."""
        command = Path(self.host.command).with_name("pf-spamfilt-admin")
        names = ["--store", self.store] if self.is_address else []
        return subprocess.run(
            [command, "-c", "/etc/postfix", "quarantine", *words, *names],
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
            env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        )  # fmt: skip

    def done(self, *words: str) -> str:
        """Run a command that must succeed, and return what it printed."""
        ended = self.admin(*words)
        assert (ended.returncode, ended.stderr) == (0, b""), (words, ended)
        return ended.stdout.decode()

    def listed(self, *words: str) -> "list[dict[str, object]]":
        """Return what is kept."""
        ended = self.admin("list", "--json", *words)
        assert ended.returncode == 0, ended
        return json.loads(ended.stdout)  # type: ignore[no-any-return]

    def release(self, *words: str, count: int = 1) -> list[Copy]:
        """Release, and return the copies that are delivered."""
        self.done("release", *words)
        copies = self.host.once(count)
        assert self.listed() == []
        return copies


Make = Callable[[str], Quarantine]


@pytest.fixture
def make(mailhost: Host) -> Make:
    """Make a quarantine of some kind."""
    return lambda kind: Quarantine(mailhost, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_kept_spam_is_listed(make: Make, kind: str) -> None:
    quarantine = make(kind)
    name = quarantine.keep(recipients=(JANE, SAM))
    (entry,) = quarantine.listed()
    assert entry["id"] == name
    assert (entry["sender"], entry["recipients"]) == (SENDER, [JANE, SAM])
    assert (entry["score"], entry["tests"]) == (1000.0, ["GTUBE"])
    assert abs(os.stat(str(entry["path"])).st_mtime - time.time()) < 60
    table = quarantine.done("list")
    assert all(word in table for word in (name, "1000", SENDER, f"{JANE},{SAM}", str(entry["subject"])))


@pytest.mark.parametrize("kind", KINDS)
def test_kept_spam_is_shown(make: Make, kind: str) -> None:
    quarantine = make(kind)
    shown = quarantine.done("show", quarantine.keep())
    assert all(word in shown for word in (SENDER, JANE, "1000", "GTUBE", "text/plain", "XJS*C4JDBQADN1"))


@pytest.mark.parametrize("kind", KINDS)
def test_raw_is_what_was_sent(make: Make, kind: str) -> None:
    quarantine = make(kind)
    raw = quarantine.admin("show", "--raw", quarantine.keep()).stdout
    assert raw.endswith(MESSAGES["gtube"])
    assert b"X-Quarantine" not in raw


@pytest.mark.parametrize("kind", KINDS)
def test_released_message_arrives_whole_and_once(make: Make, kind: str) -> None:
    quarantine = make(kind)
    name = quarantine.keep()
    (copy,) = quarantine.release(name)
    assert body_is_whole(copy, MESSAGES["gtube"])
    mark, *fields = sent_fields(copy)
    assert mark == RELEASED + f"<{name}>\n".encode()
    assert b"".join(fields) == MESSAGES["gtube"].partition(b"\n\n")[0] + b"\n"
    assert (copy.sender, copy.recipient) == (SENDER, JANE)


@pytest.mark.parametrize("kind", KINDS)
def test_release_is_for_those_whose_copy_was_kept(make: Make, kind: str) -> None:
    quarantine = make(kind)
    copies = quarantine.release(quarantine.keep(recipients=(JANE, SAM)), count=2)
    assert set(by_recipient(copies)) == {JANE, SAM}


@pytest.mark.parametrize("sender", ["", '"a b"@client.example', "jäne@client.example"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_sender_is_kept(make: Make, kind: str, sender: str) -> None:
    quarantine = make(kind)
    (copy,) = quarantine.release(quarantine.keep(sender=sender))
    assert copy.sender == sender


@pytest.mark.parametrize("recipient", ['"a b"@example.com', "jäne@example.com", "-f@example.com", "a+b@example.com"])
@pytest.mark.parametrize("kind", KINDS)
def test_any_recipient_gets_it(make: Make, kind: str, recipient: str) -> None:
    quarantine = make(kind)
    (copy,) = quarantine.release(quarantine.keep(recipients=(recipient,)))
    assert copy.recipient == recipient


def test_release_goes_to_another_if_told(make: Make) -> None:
    quarantine = make("maildir")
    (copy,) = quarantine.release("--to", SAM, quarantine.keep())
    assert (copy.sender, copy.recipient) == (SENDER, SAM)


def test_release_that_postfix_refuses_keeps_the_message(make: Make) -> None:
    quarantine = make("mbox")
    name = quarantine.keep()
    with quarantine.host.postfix.changed(main="authorized_submit_users = nobody\n"):
        ended = quarantine.admin("release", name)
    assert ended.returncode == 1
    assert b"not allowed to submit mail" in ended.stderr
    assert [entry["id"] for entry in quarantine.listed()] == [name]


@pytest.fixture(scope="module")
def released(module_mailhost: Host) -> dict[str, Copy]:
    """All message files as they come out of an mbox, which changes lines, and as they are without the filter."""
    host = module_mailhost
    quarantine = Quarantine(host, "mbox", '"always"')
    for name in MESSAGES:
        host.put(name, [f"{name}@example.com"])
        host.put(name, [f"{name}@plain.example"], filtered=False)
    host.once(len(MESSAGES))
    assert len(quarantine.listed()) == len(MESSAGES)
    quarantine.done("release", "--since", "1d")
    return {copy.recipient: copy for copy in host.once(2 * len(MESSAGES))}


@pytest.mark.parametrize("name", MESSAGES)
def test_any_message_is_released_whole(released: dict[str, Copy], name: str) -> None:
    plain, copy = released[f"{name}@plain.example"], released[f"{name}@example.com"]
    assert copy.body == plain.body
    assert original_fields(copy) == original_fields(plain)


def original_fields(copy: Copy) -> list[bytes]:
    """Return the fields that the sender has written, without forged ones."""
    return [field for field in sent_fields(copy) if not is_mark(field) and not field.startswith(RELEASED)]


@pytest.fixture
def learning(mailhost: Host) -> Iterator[None]:
    """A spamd that learns."""
    with mailhost.spamd.learning():
        yield


def test_the_log_tells_who_has_done_what(make: Make) -> None:
    quarantine = make("dir")
    names = [quarantine.keep() for _ in range(2)]
    quarantine.done("release", names[0])
    quarantine.done("delete", names[1])
    for words in (f"released {names[0]} from dir:", f"deleted {names[1]} in dir:"):
        line = quarantine.host.syslog.wait_for("pf-spamfilt-admin[", words)
        assert f"<{JANE}>" in line
        assert line.endswith(", by root")


@pytest.mark.usefixtures("learning")
@pytest.mark.parametrize("kind", KINDS)
def test_message_is_learned_for_the_user_it_was_scanned_for(make: Make, kind: str) -> None:
    quarantine = make(kind)
    name = quarantine.keep()
    assert quarantine.done("learn", "spam", name) == f"learned as spam: {name} for {JANE}\n"
    assert quarantine.host.spamd.learned(JANE) == (1, 0)
    assert quarantine.host.spamd.learned(SAM) == (0, 0)
    assert [entry["id"] for entry in quarantine.listed()] == [name]


@pytest.mark.usefixtures("learning")
def test_message_is_learned_once(make: Make) -> None:
    quarantine = make("dir")
    name = quarantine.keep()
    quarantine.done("learn", "spam", name)
    assert quarantine.done("learn", "spam", name).startswith(f"nothing new in {name} for {JANE}")
    assert quarantine.host.spamd.learned(JANE) == (1, 0)


@pytest.mark.usefixtures("learning")
def test_message_learned_as_spam_can_be_learned_as_ham(make: Make) -> None:
    quarantine = make("dir")
    name = quarantine.keep()
    quarantine.done("learn", "spam", name)
    assert quarantine.done("learn", "ham", name) == f"learned as ham: {name} for {JANE}\n"
    assert quarantine.host.spamd.learned(JANE) == (0, 1)


@pytest.mark.usefixtures("learning")
def test_message_scanned_for_nobody_is_learned_for_the_filter(make: Make) -> None:
    """As it was scanned: of several recipients none is the user."""
    quarantine = make("dir")
    quarantine.done("learn", "spam", quarantine.keep(recipients=(JANE, SAM)))
    assert quarantine.host.spamd.learned("spamfilt") == (1, 0)


def test_spamd_that_may_not_learn_is_named(make: Make) -> None:
    quarantine = make("dir")
    ended = quarantine.admin("learn", "ham", quarantine.keep())
    assert ended.returncode == 1
    assert b"start it with --allow-tell" in ended.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_deleted_message_is_gone(make: Make, kind: str) -> None:
    quarantine = make(kind)
    first, second = quarantine.keep(), quarantine.keep()
    assert quarantine.done("delete", first) == "deleted: 1 message\n"
    assert [entry["id"] for entry in quarantine.listed()] == [second]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_older_expires(make: Make, kind: str) -> None:
    quarantine = make(kind)
    quarantine.keep()
    assert quarantine.done("expire", "--days", "1") == ""
    assert len(quarantine.listed()) == 1
    time.sleep(1.1)  # an mbox tells whole seconds
    assert quarantine.done("expire", "--days", "0.00001").startswith("expired: 1 message")
    assert quarantine.listed() == []


def test_spam_is_kept_while_an_mbox_is_emptied_again_and_again(make: Make) -> None:
    """No message gets lost between two files: each is found once, or is there at the end."""
    quarantine = make("mbox")
    host = quarantine.host
    queued = {host.put("gtube") for _ in range(20)}
    found: list[str] = []

    def empty() -> bool:
        names = [str(entry["id"]) for entry in quarantine.listed()]
        if names:
            quarantine.done("delete", *names)
        found.extend(names)
        return len(found) >= len(queued)

    assert wait_until(empty, 60), host.postfix.log_tail()
    host.settled()
    assert sorted(name.partition("-")[0] for name in found) == sorted(queued)
    assert quarantine.listed() == []


def test_message_released_while_postfix_is_down_arrives_when_it_is_up(make: Make) -> None:
    quarantine = make("dir")
    name = quarantine.keep()
    quarantine.host.postfix.stop()
    quarantine.done("release", name)
    quarantine.host.postfix.start()
    (copy,) = quarantine.host.once(1)
    assert body_is_whole(copy, MESSAGES["gtube"])
    assert quarantine.listed() == []


@pytest.mark.parametrize(
    "recipient",
    [KEEPER, '"spam+ with LMTP "@quarantine.example', '"spam+ by a (Postfix, from userid 1) "@quarantine.example'],
)
def test_nobody_else_can_release_through_the_mailbox(make: Make, recipient: str) -> None:
    """A message that came by SMTP with a block of its own is none that the filter has kept.

    Whatever its recipient is called, which Postfix writes into Received.
    """
    quarantine = make("address")
    block = b"X-Quarantine-ID: <4cDR2f5x-0123abcd>\nX-Envelope-From: <a@b.example>\nX-Envelope-To: <c@d.example>\n"
    quarantine.host.put(block + MESSAGES["clean"], [recipient], filtered=False)
    quarantine.host.once(1)
    assert quarantine.listed() == []
