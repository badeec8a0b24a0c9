"""The lab's own /dev/log: keeps what programs log by syslog(3) out of the host's log, and lets tests read it.

It needs namespace.private_dev() first. A process of its own collects the lines: a thread would make each fork
of the tests unsafe. What cannot be written is lost, as with any syslog daemon.
"""

import os
import socket
import subprocess
import sys
from pathlib import Path

from lab import logs
from lab.tools import ENVIRONMENT, LabError, wait_until

DEV_LOG = "/dev/log"
COLLECT = r"""
import os
while datagram := os.read(0, 65536):
    os.write(1, datagram.rstrip(b"\0\n") + b"\n")
"""


class Syslog:
    """The syslog of one lab; each line begins with its <priority>."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._collector: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Listen at /dev/log."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener, self.file.open("ab") as output:
            listener.bind(DEV_LOG)
            os.chmod(DEV_LOG, 0o666)
            self._collector = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", COLLECT],
                stdin=listener.fileno(), stdout=output, cwd="/", env=ENVIRONMENT, start_new_session=True,
            )  # fmt: skip
        self.file.with_suffix(".pid").write_text(f"{self._collector.pid}\n", encoding="ascii")

    def stop(self) -> None:
        """Stop listening; the lines stay."""
        if self._collector is not None:
            self._collector.kill()
            self._collector.wait()

    def lines(self, *texts: str) -> list[str]:
        """Return the lines that hold all of these texts, none missing."""
        logs.catch_up(self.file, _log)
        return logs.matching(self.file, texts)

    def wait_for(self, *texts: str, timeout: float = 10) -> str:
        """Wait for a line that holds all of these texts and return the first."""
        if not wait_until(lambda: bool(logs.matching(self.file, texts)), timeout):
            raise LabError(f"no syslog line with {texts} after {timeout:.0f} s, only {self.lines()[-5:]}")
        return logs.matching(self.file, texts)[0]


def _log(line: str) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
        sender.sendto(line.encode(), DEV_LOG)
