"""Processor time: of the whole machine, and of the lab alone, which other work on the machine hardly disturbs.

The lab's is that of a control group (cgroup2) in which this process and all that it starts run. Where none can be
made, as in most containers, the lab's figures are left out. What the kernel does for nobody in particular, such as
writing to disk later, is in the whole machine's figure only.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

NAME = "pf-spamfilt-bench-"


def machine_seconds() -> float:
    """Return the seconds that all processors have worked since the machine started: proc(5), /proc/stat."""
    fields = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0].split()
    user, nice, system, _idle, _iowait, irq, softirq = map(int, fields[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def session_seconds(leader: int) -> float:
    """Return the seconds that the processes of a session have worked, with those children that have ended: proc(5)."""
    ticks = 0
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # a process that has just ended
            fields = file.read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
            ticks += sum(map(int, fields[11:15])) if int(fields[3]) == leader else 0
    return ticks / os.sysconf("SC_CLK_TCK")


class Group:
    """The control group of this process, or a stand-in that knows nothing when `folder` is None."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def __bool__(self) -> bool:
        return self._folder is not None

    def seconds(self) -> float:
        """Return the seconds that its processes have worked; 0 without a group."""
        if self._folder is None:
            return 0
        numbers = dict(line.split() for line in (self._folder / "cpu.stat").read_text(encoding="ascii").splitlines())
        return int(numbers["usage_usec"]) / 1e6


@contextlib.contextmanager
def own_group() -> Iterator[Group]:
    """Run in a group of our own inside the with block, and in the one from before afterwards."""
    try:
        before = _current()
        _remove_abandoned(before)
        folder = before / f"{NAME}{os.getpid()}"
        folder.mkdir()
    except (OSError, LookupError):
        yield Group(None)
        return
    try:
        yield _entered(folder)
    finally:
        with contextlib.suppress(OSError):
            (before / "cgroup.procs").write_text(f"{os.getpid()}\n", encoding="ascii")
        with contextlib.suppress(OSError):  # a process of the lab that is still ending
            folder.rmdir()


def _remove_abandoned(parent: Path) -> None:
    """Remove what a killed run has left; a group with processes stays."""
    for folder in parent.glob(f"{NAME}*"):
        with contextlib.suppress(OSError):
            folder.rmdir()


def _entered(folder: Path) -> Group:
    group = Group(folder)
    try:
        (folder / "cgroup.procs").write_text(f"{os.getpid()}\n", encoding="ascii")
        group.seconds()
    except (OSError, LookupError):
        return Group(None)
    return group


def _current() -> Path:
    """Return the folder of the group that this process is in; LookupError without cgroup2."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    places = [fields[1] for fields in mounts if fields[2] == "cgroup2"]
    groups = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    names = [line.removeprefix("0::") for line in groups if line.startswith("0::")]
    return Path(places[0] + names[0])
