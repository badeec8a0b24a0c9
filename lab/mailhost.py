"""A whole private mail host in one directory: Postfix with the filter in it, spamd, a mailbox and a syslog.

    with MailHost() as host:
        queue_id = host.send(message, ["jane@example.com"])
        copy = host.mailbox.wait_for(1)[0]

Needs root. Entering starts everything, in a mount namespace of this process; leaving stops it and removes the
directory, whatever happened in between. Should this process be killed outright, a watcher process does the
same. Nothing of the host is changed. Failures are LabErrors.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import types
from collections.abc import Callable, Sequence
from pathlib import Path

from lab import accounts, namespace, smtp
from lab.mailbox import Mailbox
from lab.postfix import Postfix
from lab.spamd import Spamd
from lab.syslog import Syslog
from lab.tools import ENVIRONMENT, Entered, LabError, install

# Waits for a line, or for the end of the process that holds the pipe's other end; $1 is the lab's directory.
WATCHER = """
read -r _ && exit 0
for etc in "$1"/etc "$1"/*/etc; do [ -d "$etc" ] && postfix -c "$etc" abort; done
for file in "$1"/*.pid "$1"/*/*.pid; do kill -9 "-$(cat "$file")"; done
sleep 1
rm -rf -- "$1"
"""


class MailHost(Entered):
    """One mail host; its parts are the attributes postfix, spamd, mailbox and syslog, its filter is command.

    Without a command, the project is installed into the lab and that command is used. main, master and
    local_cf are further lines for main.cf, master.cf and SpamAssassin's local.cf; children is the number of
    spamd's children; progress is told of each step that takes a second or more.
    """

    def __init__(
        self,
        command: str | None = None,
        *,
        children: int = 2,
        main: str = "",
        master: str = "",
        local_cf: str = "",
        progress: Callable[[str], None] = lambda _: None,
    ) -> None:
        super().__init__()
        self.command = command or ""
        self._options = (children, main, master, local_cf)
        self._progress = progress
        self.number = 0

    def _begin(self) -> None:
        self._prepare()
        self._progress("starting a private spamd and a private Postfix")
        self._make_servers()
        self.start()

    def start(self) -> None:
        """Start spamd and Postfix; what runs already goes on."""
        self.spamd.start()
        if not self.postfix.running():
            self.postfix.start()

    def settings(self, text: str | None = None) -> None:
        """Write pf-spamfilt.toml; None writes the lab's own settings, which only say where spamd is."""
        file = self.postfix.configuration / "pf-spamfilt.toml"
        own = f'[spamc]\nservers = ["{self.spamd.address}"]\n'
        file.write_text(own if text is None else text, encoding="utf-8")

    def send(
        self,
        message: bytes,
        recipients: Sequence[str] = ("jane@example.com",),
        sender: str = smtp.SENDER,
        *,
        filtered: bool = True,
    ) -> str:
        """Give a message to Postfix by SMTP, to the port with the filter or without; return its queue id."""
        port = self.postfix.port if filtered else self.postfix.plain_port
        return smtp.send(port, message, recipients, sender)

    def reset(self) -> None:
        """Make it as new: both servers run, the lab's own settings, nobody's preferences, queue and mailbox empty."""
        self.start()
        self.settings()
        self.spamd.forget_preferences()
        if self.postfix.queued():
            self.postfix.discard_queue()
        self.postfix.wait_idle()
        self.mailbox.clear()

    def as_filter(self, command: Sequence[str], **options: object) -> "subprocess.CompletedProcess[bytes]":
        """Run a command as the filter's account, with the environment and directory that pipe(8) gives."""
        environment = {"PATH": "/usr/bin:/bin", "LANG": "C", "MAIL_CONFIG": "/etc/postfix"}
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            command, user=self.number, group=self.number, extra_groups=[], env=environment,
            cwd=self.directory / "queue", capture_output=True, check=False, **options,
        )  # fmt: skip

    def filter_processes(self, name: str = "") -> list[int]:
        """Return the processes of the filter's account, or those that run a program of this name."""
        return [pid for pid in _processes_of(self.number) if name in ("", program_name(pid))]

    def _prepare(self) -> None:
        if os.geteuid() != 0:
            raise LabError(namespace.REMEDY)
        namespace.enter()
        os.umask(0o022)
        self.directory = Path(tempfile.mkdtemp(prefix="pf-spamfilt-lab-", dir="/tmp"))
        self._clean_up.callback(shutil.rmtree, self.directory)
        self.directory.chmod(0o755)
        self._watch()
        self.number = accounts.unused_number()
        self._clean_up.callback(kill_all_of, self.number)
        accounts.write_copies(self.directory, self.number)
        if not self.command:
            self._progress("installing pf-spamfilt into a temporary directory")
            self.command = str(install(self.directory / "prefix"))

    def _make_servers(self) -> None:
        children, main, master, local_cf = self._options
        self.spamd = Spamd(self.directory, children, local_cf)
        self._clean_up.callback(self.spamd.stop)
        self.postfix = Postfix(self.directory, self.number, self.command, main, master)
        self.mailbox = Mailbox(self.directory / "mail" / "all", self.postfix.log_tail)
        self.settings()
        self.postfix.configure()
        self._lay_over_host()
        self.syslog = Syslog(self.directory / "syslog")
        self.syslog.start()
        self._clean_up.callback(self.syslog.stop)
        self._clean_up.callback(self.postfix.stop)

    def _lay_over_host(self) -> None:
        """Show the lab's files where programs look for the host's."""
        for name, target in (("passwd", "/etc/passwd"), ("group", "/etc/group"), ("etc", "/etc/postfix")):
            namespace.bind(self.directory / name, target)
            self._clean_up.callback(namespace.uncover, target)
        if Path("/run/nscd").is_dir():  # a cache of the host's accounts: it does not know the filter's
            namespace.bind(self.directory / "mail", "/run/nscd")
            self._clean_up.callback(namespace.uncover, "/run/nscd")
        namespace.private_dev()
        self._clean_up.callback(namespace.uncover, "/dev")

    def _watch(self) -> None:
        watcher = subprocess.Popen(
            ["sh", "-c", WATCHER, "watcher", str(self.directory)],
            cwd="/", env=ENVIRONMENT, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._clean_up.callback(watcher.communicate, b"all is cleaned up\n")


def stop_on_signals() -> None:
    """Let SIGTERM and SIGHUP end this program as Ctrl-C does; a second signal does not disturb the end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)


def _interrupt(_number: int, _frame: types.FrameType | None) -> None:
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def program_name(pid: int) -> str:
    """Return the name of the program that a process runs; empty if the process is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
    return ""


def kill_all_of(number: int) -> None:
    """Kill what the filter's account still runs in this namespace: a filter outlives Postfix's stopping."""
    for pid in _processes_of(number):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _processes_of(number: int) -> list[int]:
    """Return the processes of an account in this namespace."""
    ours = os.readlink("/proc/self/ns/mnt")
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if entry.stat().st_uid == number and os.readlink(entry / "ns/mnt") == ours:
                found.append(int(entry.name))
    return found
