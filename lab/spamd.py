"""A private spamd on a loopback port, with a handful of rules of its own instead of SpamAssassin's thousands.

A message scores what its X-Test-Score field asks for (one of SCORES); the GTUBE test scores 1000; all else 0.
It never asks DNS or another network service (-L), learns only inside `learning`, and reads no preferences of the host's
accounts. Failures are LabErrors that show the end of spamd's log.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from lab import logs
from lab.tools import ENVIRONMENT, LabError, free_port, run, tail, wait_until

SCORES = (-5, 1, 3, 4, 6, 8, 12, 20)
ACCOUNT = "nobody"
GTUBE_RULE = r"/XJS\*C4JDBQADN1\.NSBN3\*2IDNEN\*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL\*C\.34X/"

USUAL_FIELDS = """\
required_score 5
clear_headers
add_header all Checker-Version SpamAssassin _VERSION_ on _HOSTNAME_
add_header spam Flag _YESNOCAPS_
add_header all Level _STARS(*)_
add_header all Status "_YESNO_, score=_SCORE_ required=_REQD_ tests=_TESTS_ autolearn=no version=_VERSION_"
clear_report_template
report This message is _YESNO(probably,not)_ spam: _SCORE_ points, _REQD_ required.
report Preview: _PREVIEW_
report _SUMMARY_
"""


class Spamd:
    """The private spamd of one lab."""

    def __init__(self, lab: Path, children: int = 2, local_cf: str = "") -> None:
        self.lab = lab
        self.directory = lab / "spamassassin"
        self.log_file = self.directory / "log" / "spamd.log"
        self.socket = self.directory / "spamd.socket"
        self.children = children
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._local_cf = local_cf
        self._options: list[str] = []
        self._make_directories()
        self.configure(local_cf)

    @property
    def address(self) -> str:
        """HOST:PORT, as spamc -d and the filter's `servers` take it."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """The process that leads spamd's session, while it runs."""
        if self._process is None:
            raise LabError("spamd does not run")
        return self._process.pid

    def configure(self, local_cf: str = "") -> None:
        """Write local.cf: the lab's, then these lines; restart() makes them hold."""
        text = "use_bayes 0\nuse_auto_welcomelist 0\nreport_safe 0\nclear_trusted_networks\n" + local_cf
        (self.directory / "site" / "local.cf").write_text(text, encoding="utf-8")

    def preferences(self, user: str, text: str) -> None:
        """Give a user (spamc --username) preferences of his own, which hold from the next message on."""
        directory = self.directory / "users" / user
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "user_prefs").write_text(text, encoding="utf-8")

    def forget_preferences(self) -> None:
        """Take away the preferences of all users."""
        shutil.rmtree(self.directory / "users")
        self._make_writable("users")

    def start(self) -> None:
        """Start it and return when it answers; does nothing when it runs already."""
        if self._process is not None:
            return
        environment = ENVIRONMENT | {"HOME": str(self.directory)}
        self._process = subprocess.Popen(
            self._command(), cwd="/", env=environment, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        (self.lab / "spamd.pid").write_text(f"{self._process.pid}\n", encoding="ascii")
        self.wait_ready()

    def stop(self) -> None:
        """End it in an orderly way; children and all are gone on return."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Kill it and its children, in the middle of whatever they do."""
        self._end(signal.SIGKILL)

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let it and its children stand still inside the with block: connections are taken, and never answered."""
        self._signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self._signal(signal.SIGCONT)

    @contextlib.contextmanager
    def learning(self) -> Iterator[None]:
        """Have it learn what it is told to, inside the with block: a Bayes database for each user, see learned()."""
        self._restart(["--allow-tell"], self._local_cf + "use_bayes 1\nbayes_auto_learn 0\n")
        try:
            yield
        finally:
            self._restart([], self._local_cf)

    def learned(self, user: str) -> tuple[int, int]:
        """Return how many messages it has learned for a user as spam, and as ham."""
        database = self.directory / "users" / user / "bayes"
        if not Path(f"{database}_toks").exists():
            return 0, 0
        shown = run([
            "sa-learn", f"--configpath={self.directory}/rules", f"--siteconfigpath={self.directory}/site",
            f"--dbpath={database}", "--dump", "magic",
        ])  # fmt: skip
        spam, ham = (re.search(rf"(\d+)\s+\d+\s+non-token data: {name}\n", shown) for name in ("nspam", "nham"))
        if not spam or not ham:
            raise LabError(f"sa-learn --dump magic: {shown}")
        return int(spam[1]), int(ham[1])

    def _restart(self, options: list[str], local_cf: str) -> None:
        self.stop()
        self._options = options
        self.configure(local_cf)
        self.start()

    def scans(self, *texts: str) -> list[str]:
        """Return a line of its log for each scan, or for those whose line holds all of these texts.

        None is missing: it writes the line before it closes the connection, and until then spamc reads.
        """
        return logs.matching(self.log_file, ("spamd: result: ", *texts))

    def wait_ready(self, timeout: float = 60) -> None:
        """Wait until it answers a PING."""
        if not wait_until(lambda: self._ended() or self._answers(), timeout, pause=0.05) or self._ended():
            raise LabError(f"spamd does not answer; its log:\n{tail(self.log_file)}")

    def _command(self) -> list[str]:
        place = self.directory
        return [
            "spamd", "-L", "-x", f"--username={ACCOUNT}", f"--syslog={self.log_file}",
            f"--listen={self.address}", f"--listen={self.socket}", "--allowed-ips=127.0.0.1",
            f"--helper-home-dir={place}/home",
            f"--configpath={place}/rules", f"--siteconfigpath={place}/site",
            f"--virtual-config-dir={place}/users/%u",
            f"--min-children={self.children}", f"--max-children={self.children}", *self._options,
        ]  # fmt: skip

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, number)

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        process, self._process = self._process, None
        if process.poll() is None:
            os.killpg(process.pid, how)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        wait_until(lambda: not self._listens(), timeout=10)  # its children end after it
        (self.lab / "spamd.pid").unlink()

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except OSError:
            return False
        return True

    def _ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as client:
                client.sendall(b"PING SPAMC/1.5\r\n\r\n")
                return b"PONG" in client.recv(100)
        except OSError:
            return False

    def _make_directories(self) -> None:
        for name in ("rules", "site"):
            (self.directory / name).mkdir(parents=True)
        for name in ("users", "home", "log"):
            self._make_writable(name)
        for file in Path("/etc/spamassassin").glob("*.pre"):
            shutil.copy(file, self.directory / "site")
        (self.directory / "rules" / "lab.cf").write_text(rules(), encoding="utf-8")

    def _make_writable(self, name: str) -> None:
        """Make a directory that spamd can write to."""
        (self.directory / name).mkdir()
        shutil.chown(self.directory / name, ACCOUNT)


def rules() -> str:
    """Return the lab's rules: SpamAssassin's usual header fields, a rule for each of SCORES, and GTUBE."""
    lines = [USUAL_FIELDS + score_rules()]
    lines += [f"body GTUBE {GTUBE_RULE}", "describe GTUBE Generic test for unsolicited bulk e-mail"]
    lines += ["tflags GTUBE userconf noautolearn", "score GTUBE 1000", ""]
    return "\n".join(lines)


def score_rules() -> str:
    """Return a rule for each of SCORES, which X-Test-Score asks for."""
    lines = []
    for score in SCORES:
        name = f"T_{score}".replace("-", "MINUS_")
        lines += [f"header {name} X-Test-Score =~ /^\\s*{score}\\s*$/", f"score {name} {score}"]
        lines += [f"describe {name} The message asks for {score} points"]
    return "\n".join([*lines, ""])
