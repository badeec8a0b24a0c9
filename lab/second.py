"""A second Postfix beside the lab's own, in a folder of its own: for set-ups of two hosts.

It is found by its configuration directory (`postfix -c`), has its own queue, ports, log and maildir, and the lab's
filter in its master.cf. The first Postfix's main.cf must have it in alternate_config_directories (`allowed`), for
postdrop(1) believes no other directory. Should the lab be killed, the lab's watcher stops it, too.
Failures are LabErrors, as in lab/postfix.py.
"""

import contextlib
import os
import shutil
import signal
import tempfile
from pathlib import Path
from types import TracebackType

from lab.mailbox import Mailbox
from lab.mailhost import MailHost, kill_all_of
from lab.postfix import Postfix
from lab.tools import LabError, wait_until


class Second(Postfix):
    """A second Postfix in the lab of a mail host; entering starts it, leaving stops and removes it."""

    def __init__(self, host: MailHost) -> None:
        directory = Path(tempfile.mkdtemp(prefix="second-", dir=host.directory))
        directory.chmod(0o755)
        super().__init__(directory, host.number, host.command)
        self._number = host.number
        self._place = ("-c", str(self.configuration))
        self.allowed = f"alternate_config_directories = {self.configuration}\n"
        self.mailbox = Mailbox(directory / "mail" / "all", self.log_tail)

    def __enter__(self) -> "Second":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        kill_all_of(self._number)  # a filter outlives Postfix's stopping, and its sendmail would wait for a queue
        shutil.rmtree(self.lab)

    def run_with(self, main: str = "", master: str = "") -> None:
        """Start it anew with these settings and entries beside what the lab needs."""
        self._restart_with(main, master)

    def queued(self) -> list[str]:
        """Return QUEUE/ID of all mail which is not delivered yet; what power failure has cut off is no mail."""
        return [name for name in super().queued() if not self._is_cut(name)]

    def processes(self) -> list[int]:
        """Return all processes that work in its queue: its own, and those of the filters that it has started."""
        queue = os.fsencode(self.lab / "queue")
        return [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if _works_below(pid, queue)]

    def lose_power(self) -> None:
        """Kill all of it at one time, in the middle of whatever it does; its queue, mailbox and log are left."""
        stopped: set[int] = set()
        while new := set(self.processes()) - stopped:  # what stands still cannot start another, or see another die
            _signal(new, signal.SIGSTOP)
            stopped |= new
        _signal(stopped, signal.SIGKILL)
        if not wait_until(lambda: not self.processes(), timeout=10):
            raise LabError(f"still running after SIGKILL: {self.processes()}")
        # The next start fails if postsuper(1) complains of a file that was cut off, and cannot write into the log.
        shutil.chown(self.log_file, "postfix")

    def _is_cut(self, name: str) -> bool:
        """Tell whether a file has not been written to its end: only then Postfix makes it executable."""
        if not name.startswith(("maildrop/", "incoming/")):
            return False
        try:
            return not (self.lab / "queue" / name).stat().st_mode & 0o100
        except FileNotFoundError:  # it has gone on
            return False


def _works_below(pid: int, directory: bytes) -> bool:
    """Tell whether a process runs whose working directory is this one, or below it; one that has ended has none."""
    try:
        working = os.readlink(f"/proc/{pid}/cwd".encode())
    except OSError:
        return False
    return working == directory or working.startswith(directory + b"/")


def _signal(processes: set[int], number: signal.Signals) -> None:
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
