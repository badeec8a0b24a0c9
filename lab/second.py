"""A second Postfix beside the lab's own, in a folder of its own: for set-ups of two hosts.

It is found by its configuration directory (`postfix -c`), has its own queue, ports, log and maildir, and the lab's
filter in its master.cf. The first Postfix's main.cf must have it in alternate_config_directories (`allowed`), for
postdrop(1) believes no other directory. Should the lab be killed, the lab's watcher stops it, too.
Failures are LabErrors, as in lab/postfix.py.
"""

import shutil
import tempfile
from pathlib import Path
from types import TracebackType

from lab.mailbox import Mailbox
from lab.mailhost import MailHost, kill_all_of
from lab.postfix import Postfix


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
