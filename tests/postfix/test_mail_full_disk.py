"""A quarantine's disk fills up, a small one for real: mail waits in Postfix's queue, and is kept once there is room."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from proving import Host, scoring

POLICY = """
[policy]
kill_level = 10
destiny = "discard"
quarantine = "{kind}:{disk}/spam"
"""
KINDS = ["dir", "maildir", "mbox"]
PAGE = 4096
LARGE = scoring(12) + b"".join(b"line %06d\n" % number for number in range(4000))


@pytest.fixture
def disk(mailhost: Host) -> Iterator[Path]:
    """A file system of 160 kB in memory, which belongs to the filter's account; the host does not see it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        options = f"size=160k,mode=0700,uid={mailhost.number},gid={mailhost.number}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", name], check=True)
        yield Path(name)
        subprocess.run(["umount", name], check=True)


def filled(disk: Path, spare: int) -> Path:
    """Fill a disk up with a file, but for so many pages."""
    file = disk / "filler"
    with file.open("wb", buffering=0) as filler:
        try:
            while filler.write(bytes(PAGE)):
                pass
        except OSError:
            filler.truncate(filler.tell() - spare * PAGE)
    return file


def contents(disk: Path) -> dict[Path, bytes]:
    """Return all files on a disk but the one that fills it."""
    return {file: file.read_bytes() for file in disk.rglob("*") if file.is_file() and file.name != "filler"}


def count(disk: Path, end: bytes) -> int:
    """Count the messages on a disk that end so."""
    return sum(content.count(b"\n" + end) for content in contents(disk).values())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spare", [0, 1, 2, 4, 8])
def test_mail_waits_for_room_and_is_kept_once(mailhost: Host, disk: Path, kind: str, spare: int) -> None:
    """Whatever the disk has room for: nothing is left of the try that failed, and what was there is unharmed."""
    mailhost.configured(POLICY.format(kind=kind, disk=disk))
    mailhost.put(scoring(12))
    mailhost.postfix.wait_idle()
    before = contents(disk)
    assert len(before) == 1
    filler = filled(disk, spare)
    queue_id = mailhost.put(LARGE)
    mailhost.deferred(queue_id, "dsn=4.3.1", f'(quarantine "{kind}:{disk}/spam": No space left on device')
    mailhost.wait_no_filter()
    assert contents(disk) == before
    filler.unlink()
    mailhost.postfix.flush()
    mailhost.postfix.wait_idle()
    (kept,) = {content for file, content in contents(disk).items() if content != before.get(file)}
    assert kept.startswith(before.get(disk / "spam", b""))
    body = LARGE.partition(b"\n\n")[2]
    assert kept.endswith(body.replace(b"\nFrom ", b"\n>From ") + b"\n" if kind == "mbox" else body)
    assert count(disk, b"line 003999\n") == 1
