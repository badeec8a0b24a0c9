"""The filter is killed at each system call that touches a store, or the call fails: a message is there whole or not.

strace(1) does that to the installed command. Which calls there are is seen in a run that nothing happens to; then each
has a run of its own, in which it is the one. What is judged is what Postfix is told, what a reader of the store sees,
and what the next try makes of it.
"""

import os
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

HEADER = b"Received: by mx.example.com (Postfix) id 4cDR2f5x; Sun, 22 Nov 2026 10:00:00 +0000\nSubject: x\n\n"
# More than the filter writes at once, on few lines.
MESSAGE = HEADER + b"From me\n" + (b"x" * 60_000 + b"\n") * 40 + b"the last line\n"
SETTINGS = """
[spamc]
command = ["{site}/spamc"]
oversize = "head"
[sendmail]
command = ["{site}/sendmail"]
[log]
syslog = false
[policy]
kill_level = 6
destiny = "discard"
quarantine = "{kind}:{store}"
"""
SPAMC = "echo X-Spam-Flag: YES; echo X-Spam-Status: Yes, score=9.0 required=5.0 tests=A; cat; exit 1"
KINDS = ["dir", "maildir", "mbox"]
CALLS = "write,openat,mkdir,link,linkat,unlink,unlinkat,rename,fsync,ftruncate,close,fcntl"
ALLOCATING = ("write", "openat", "mkdir", "link", "linkat", "rename", "fsync", "close")
ERRORS = {"EIO": CALLS.split(","), "ENOSPC": ALLOCATING, "EDQUOT": ALLOCATING, "EINTR": CALLS.split(",")}
# How strace shows what it did; a signal that is blocked it does not show.
HAPPENED = {"error": "(INJECTED)", "signal=KILL": "killed by SIGKILL", "signal=TERM": "exited"}
JOBS = 4


class Call(NamedTuple):
    """A system call of the filter: the how manieth of its name, and how strace shows it."""

    name: str
    number: int
    shown: str

    def __str__(self) -> str:
        return self.shown


class Scene:
    """A configuration of its own with a store, for one run and the next."""

    def __init__(self, command: Path, site: Path, kind: str, place: Path) -> None:
        self.command, self.kind, self.place = command, kind, place
        self.folder, self.store = place / "kept", place / "kept" / "spam"
        self.folder.mkdir(parents=True, mode=0o755)
        (place / "pf-spamfilt.toml").write_text(SETTINGS.format(site=site, kind=kind, store=self.store))

    def filter(self, *around: str) -> int:
        """Filter the message, and return the exit status; `around` is what the command line begins with."""
        return self.start(*around).wait()

    def start(self, *around: str) -> "subprocess.Popen[bytes]":
        """Start the filter in a session of its own."""
        (self.place / "message").write_bytes(MESSAGE)
        with (self.place / "message").open("rb") as message, (self.place / "said").open("wb") as said:
            return subprocess.Popen(
                [*around, self.command, "a@example.com", "b@example.com"],
                stdin=message,
                stdout=said,
                stderr=said,
                env={"MAIL_CONFIG": str(self.place), "PATH": "/usr/bin:/bin"},
                start_new_session=True,
            )

    def traced(self, *what: str) -> list[str]:
        """Return the command that traces the filter's system calls into a file."""
        return ["strace", "-f", "-y", "-s", "0", "-o", str(self.place / "trace"), *what, "--"]

    def visible(self) -> dict[str, bytes]:
        """Return the messages that are in the store, by name; of an mbox, by number."""
        if self.kind == "mbox":
            box = self.store.read_bytes() if self.store.exists() else b""
            return {str(number): each for number, each in enumerate(re.split(rb"^(?=From )", box, flags=re.M)) if each}
        folders = [self.store] if self.kind == "dir" else [self.store / "new", self.store / "cur"]
        files = [file for folder in folders if folder.exists() for file in folder.iterdir()]
        return {file.name: file.read_bytes() for file in files if file.name[0] != "."}

    def litter(self) -> list[Path]:
        """Return the files that are neither the store nor a message in it."""
        files = [file for file in self.folder.rglob("*") if file.is_file()]
        return [file for file in files if file.name not in self.visible() and file != self.store]


def whole(kind: str, message: bytes) -> bool:
    """Tell whether this is the message as it is kept."""
    if kind == "mbox":
        line, _, entry = message.partition(b"\n")
        is_entry = line.startswith(b"From MAILER-DAEMON ") and entry.endswith(b"\n\n")
        return is_entry and whole("dir", entry[:-1].replace(b"\n>From me\n", b"\nFrom me\n"))
    fields = rb"X-Quarantine-ID: <4cDR2f5x-\w{8}>\nX-Envelope-From: <a@example.com>\nX-Quarantine-User: b@example.com\n"
    found = re.match(fields + rb"X-Envelope-To: <b@example.com>\n(X-Spam-\w+: [^\n]+\n){2}", message)
    return found is not None and message[found.end() :] == MESSAGE


class Stage:
    """Makes scenes of one kind, whose store is `used`, with a message in it, or not yet there."""

    def __init__(self, command: Path, site: Path, kind: str, used: bool) -> None:
        self.command, self.site, self.kind = command, site, kind
        self.before = self.scene("before")
        if used:
            assert self.before.filter() == 0

    def scene(self, name: str) -> Scene:
        """Make a scene in which nothing has happened yet."""
        return Scene(self.command, self.site, self.kind, self.site / name)

    def prepared(self, name: str) -> Scene:
        """Make a scene with the store as it was before."""
        scene = self.scene(name)
        shutil.copytree(self.before.folder, scene.folder, dirs_exist_ok=True)
        return scene

    def calls(self, names: str = CALLS) -> list[Call]:
        """Return the filter's calls that touch the store, as a run shows them; no other process has so many."""
        scene = self.prepared("calls")
        assert scene.filter(*scene.traced("-e", f"trace={names}")) == 0
        counts: Counter[tuple[str, str]] = Counter()
        touching: dict[str, list[Call]] = {}
        for line in (scene.place / "trace").read_text(errors="replace").splitlines():
            if begun := re.match(r"(\d+) +(\w+)\(", line):
                counts[begun[1], begun[2]] += 1
                if f"{scene.folder}" in line:
                    touching.setdefault(begun[1], []).append(Call(begun[2], counts[begun[1], begun[2]], line))
        ((pid, found),) = touching.items()
        others = Counter({name: count for (other, name), count in counts.items() if other != pid})
        assert all(call.number > others[call.name] for call in found)
        return found

    def new(self, scene: Scene) -> list[bytes]:
        """Return the messages that have come since; those before are there, and as they were."""
        messages, before = scene.visible(), self.before.visible()
        unharmed = all(messages.get(name) == message for name, message in before.items())
        assert unharmed
        return [message for name, message in messages.items() if name not in before]


@pytest.fixture(params=["unused", "used"])
def used(request: pytest.FixtureRequest) -> bool:
    return bool(request.param == "used")


@pytest.fixture(params=KINDS)
def stage(request: pytest.FixtureRequest, used: bool, command: Path, make_site: Callable[..., Path]) -> Stage:
    return Stage(command, make_site(SPAMC, "cat >/dev/null"), request.param, used)


Play = Callable[[Scene, Call], int]


def played(stage: Stage, calls: list[Call], play: Play) -> Iterator[tuple[Call, Scene, int]]:
    """Play something to each call, some at the same time; yield the scene after it, and the exit status."""

    def one(number: int) -> tuple[Call, Scene, int]:
        scene = stage.prepared(f"scene-{number}")
        return calls[number], scene, play(scene, calls[number])

    assert calls
    with ThreadPoolExecutor(JOBS) as pool:
        yield from pool.map(one, range(len(calls)))


def injected(what: str) -> Play:
    """Return what has this happen at a call: see inject in strace(1)."""

    def play(scene: Scene, call: Call) -> int:
        inject = f"inject={call.name}:{what}:when={call.number}"
        status = scene.filter(*scene.traced("-e", f"trace={call.name}", "-e", inject))
        shown = HAPPENED[what if what in HAPPENED else "error"] in (scene.place / "trace").read_text()
        assert shown, f"it has not come to {call}"
        return status

    return play


def all_killed(scene: Scene, call: Call) -> int:
    """Kill the launcher and the filter at once when a call is done."""
    inject = f"inject={call.name}:signal=STOP:when={call.number}"
    process = scene.start(*scene.traced("-e", f"trace={call.name}", "-e", inject))
    trace = scene.place / "trace"
    while not (trace.exists() and "stopped by SIGSTOP" in trace.read_text()):
        assert process.poll() is None, f"it has ended, and not come to {call}"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    return process.wait()


def harm(stage: Stage, scene: Scene, call: Call, status: int, killed: bool) -> str:
    """Return what is wrong after a run, and after the next try of what was put off; empty if nothing is."""
    new = stage.new(scene)
    count = sum(whole(stage.kind, message) for message in new)
    if not killed and not call.name.startswith("unlink") and scene.litter():
        return f"left behind: {scene.litter()}"
    if status == 0:
        return "" if count == len(new) == 1 else f"status 0, {count} whole of {len(new)}"
    if status not in (75, -signal.SIGKILL):
        return f"status {status}"
    if count and not killed:
        return "put off, though it is kept"
    if len(new) > count and (stage.kind != "mbox" or not killed):  # the next one mends an mbox
        return "half of it is visible"
    if scene.filter() != 0:
        return "the next try fails"
    then = stage.new(scene)
    good = len(then) == count + 1 and all(whole(stage.kind, message) for message in then)
    return "" if good else f"{count} kept whole, and after the next try {len(then)} messages"


def harms(stage: Stage, play: Play, calls: list[Call], killed: bool = False) -> list[str]:
    """Return what is wrong, with the call that it was played to; who is `killed` may leave something behind."""
    results = [(harm(stage, scene, call, status, killed), call) for call, scene, status in played(stage, calls, play)]
    return [f"{wrong}: {call}" for wrong, call in results if wrong]


@pytest.mark.parametrize("play", [injected("signal=KILL"), all_killed], ids=["filter", "filter and launcher"])
def test_killed_at_any_call(stage: Stage, play: Play) -> None:
    """It may be kept twice only if all of it was there already."""
    assert harms(stage, play, stage.calls(), killed=True) == []


def test_terminated_at_any_call(stage: Stage) -> None:
    """Kept once: from the first write on, the signal has to wait."""
    assert harms(stage, injected("signal=TERM"), stage.calls()) == []


@pytest.mark.parametrize("error", ERRORS)
def test_any_call_fails(stage: Stage, error: str) -> None:
    """Kept once, and nothing is left of the try that failed, unless it could not be removed."""
    calls = [call for call in stage.calls() if call.name in ERRORS[error]]
    assert harms(stage, injected(f"error={error}"), calls) == []


def test_half_message_in_an_mbox_that_cannot_be_taken_back_is_taken_out_by_the_next(
    command: Path, make_site: Callable[..., Path]
) -> None:
    stage = Stage(command, make_site(SPAMC, "cat >/dev/null"), "mbox", used=True)
    second = [call for call in stage.calls("write") if call.shown.partition(",")[0].endswith("/kept/spam>")][1]
    scene = stage.prepared("scene")
    faults = [f"inject=write:error=EIO:when={second.number}+", "inject=ftruncate:error=EIO"]
    assert scene.filter(*scene.traced("-e", "trace=write,ftruncate", "-e", faults[0], "-e", faults[1])) == 75
    (half,) = stage.new(scene)
    assert not whole("mbox", half)
    assert scene.filter() == 0
    (kept,) = stage.new(scene)
    assert whole("mbox", kept)
    assert scene.litter() == []


@pytest.mark.parametrize("kind", ["dir", "maildir"])
def test_file_system_without_hard_links_is_told_of(command: Path, make_site: Callable[..., Path], kind: str) -> None:
    scene = Stage(command, make_site(SPAMC, "cat >/dev/null"), kind, used=False).scene("scene")
    assert scene.filter(*scene.traced("-e", "trace=linkat", "-e", "inject=linkat:error=EPERM")) == 75
    said = (scene.place / "said").read_text()
    assert said == f'4.3.5 quarantine "{kind}:{scene.store}": is on a file system without hard links: choose another\n'


@pytest.mark.parametrize(("kind", "folders"), [("dir", ["", "/spam"]), ("maildir", ["", "/spam", "/spam/new"])])
def test_names_of_the_folders_above_a_message_are_on_disk(
    command: Path, make_site: Callable[..., Path], kind: str, folders: list[str]
) -> None:
    """Those that are there, too: whoever made them may have been killed before he saw to that."""
    stage = Stage(command, make_site(SPAMC, "cat >/dev/null"), kind, used=True)
    synced = " ".join(call.shown for call in stage.calls("fsync"))
    assert [folder for folder in folders if f"/kept{folder}>)" not in synced] == []
