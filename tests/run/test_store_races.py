"""Many filters keep mail in one store at once, and another program writes to it: nothing is lost or mixed up."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

COUNT = 20
SPAMC = "echo X-Spam-Flag: YES; echo X-Spam-Status: Yes, score=9.0 required=5.0 tests=A; cat; exit 1"
POLICY = '[policy]\nkill_level = 6\ndestiny = "discard"\nquarantine = "{}"\nquarantine_name = "name"\n'
APPEND = "printf 'From somebody\\n\\nnumber {0:02}\\n\\n' >>{1}"


def message(number: int) -> bytes:
    """Return a message that can be told from the others in all its lines."""
    return b"Subject: x\n\n" + b"number %02d\n" % number * (1000 * number + 1)


def started(command: Path, site: Path, number: int) -> "subprocess.Popen[bytes]":
    (site / f"message-{number}").write_bytes(message(number))
    with (site / f"message-{number}").open("rb") as stdin:
        environment = {"MAIL_CONFIG": str(site), "PATH": "/usr/bin:/bin"}
        return subprocess.Popen([command, "a@example.com", "b@example.com"], stdin=stdin, env=environment)


def all_started(command: Path, site: Path) -> "list[subprocess.Popen[bytes]]":
    return [started(command, site, number) for number in range(COUNT)]


def bodies(kept: list[bytes]) -> list[bytes]:
    return sorted(each.partition(b"\n\n")[2] for each in kept)


def entries(box: Path) -> list[bytes]:
    """Return the messages of an mbox without the empty line after each."""
    return [each.removesuffix(b"\n") for each in re.split(rb"^(?=From )", box.read_bytes(), flags=re.M)[1:]]


ALL = bodies([message(number) for number in range(COUNT)])


@pytest.mark.parametrize("kind", ["dir", "maildir"])
def test_every_filter_has_a_file_of_its_own(command: Path, make_site: Callable[..., Path], kind: str) -> None:
    """With one name for all of them, and though each finds no folder, and makes it."""
    store = (site := make_site(SPAMC, "cat >/dev/null")) / "kept"
    make_site(SPAMC, "cat >/dev/null", POLICY.format(f"{kind}:{store}"))
    assert {each.wait() for each in all_started(command, site)} == {0}
    assert bodies([file.read_bytes() for file in store.rglob("*") if file.is_file()]) == ALL


def test_messages_in_an_mbox_are_one_after_the_other(command: Path, make_site: Callable[..., Path]) -> None:
    """Each filter makes the file, too."""
    box = (site := make_site(SPAMC, "cat >/dev/null")) / "kept"
    make_site(SPAMC, "cat >/dev/null", POLICY.format(f"mbox:{box}"))
    assert {each.wait() for each in all_started(command, site)} == {0}
    assert bodies(entries(box)) == ALL
    assert [file.name for file in site.glob("kept*")] == ["kept"]


@pytest.mark.parametrize("locks", ["dotlock", "fcntl", "dotlock, fcntl", "fcntl, dotlock"])
def test_another_mail_program_can_write_to_the_mbox(command: Path, make_site: Callable[..., Path], locks: str) -> None:
    """Postfix's own locks, with any of them: postlock(1)."""
    box = (site := make_site(SPAMC, "cat >/dev/null")) / "kept"
    make_site(SPAMC, "cat >/dev/null", POLICY.format(f"mbox:{box}"))
    (site / "main.cf").write_text("compatibility_level = 3.6\ndeliver_lock_attempts = 500\ndeliver_lock_delay = 1s\n")
    box.touch(0o600)
    lock = ["postlock", "-c", site, "-l", locks, box, "sh", "-c"]
    filters = all_started(command, site)
    others = [subprocess.Popen([*lock, APPEND.format(number, box)]) for number in range(COUNT)]
    assert {process.wait() for process in filters + others} == {0}
    more = [b"number %02d\n" % number for number in range(COUNT)]
    assert bodies(entries(box)) == sorted(ALL + more)
