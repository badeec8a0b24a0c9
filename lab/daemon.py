"""A server program of the lab's own, run in the foreground as an account without rights: PostgreSQL, slapd.

It gets a directory in the lab, the only place where it may write, and is known to the lab's watcher by its .pid file.
Failures are LabErrors that show the end of the server's log.
"""

import contextlib
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from lab.tools import ENVIRONMENT, LabError, run, tail, wait_until

ACCOUNT = "nobody"
GROUP = "nogroup"


def as_account(command: list[str]) -> list[str]:
    """Return the command that runs `command` as the servers' account."""
    return ["setpriv", f"--reuid={ACCOUNT}", f"--regid={GROUP}", "--clear-groups", "--", *command]


class Daemon:
    """One server of one lab; `command` starts it in the foreground and `ready` succeeds when it answers."""

    def __init__(self, lab: Path, name: str) -> None:
        self.name = name
        self.directory = lab / name
        self.log_file = self.directory / "log"
        self._pid_file = lab / f"{name}.pid"
        self._process: subprocess.Popen[bytes] | None = None
        self.directory.mkdir()
        shutil.chown(self.directory, ACCOUNT, GROUP)

    def command(self) -> list[str]:
        """Return what starts the server in the foreground."""
        raise NotImplementedError

    def ready(self) -> list[str]:
        """Return a command that succeeds when the server answers."""
        raise NotImplementedError

    def start(self) -> None:
        """Start it and return when it answers; does nothing when it runs already."""
        if self._process is not None:
            return
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                as_account(self.command()), cwd=self.directory, env=ENVIRONMENT, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._pid_file.write_text(f"{self._process.pid}\n", encoding="ascii")
        if not wait_until(lambda: self._ended() or self._answers(), timeout=60, pause=0.05) or self._ended():
            raise LabError(f"{self.name} does not answer; its log:\n{tail(self.log_file)}")

    def stop(self) -> None:
        """End it; nobody is listening any more on return. Does nothing when it is not running."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        self._pid_file.unlink()

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let it stand still inside the with block: connections are taken, and never answered."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _answers(self) -> bool:
        try:
            run(self.ready())
        except LabError:
            return False
        return True
