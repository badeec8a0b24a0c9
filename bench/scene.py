"""Where the benchmarks play: the lab's mail host, no settings file, and every spamc finds the private spamd.

The host's spamc.conf is covered by one that names the private spamd. So each filter is measured with the command line
that an administrator would use, and pf-spamfilt with its defaults. All covers are taken off again; failures are
LabErrors.
"""

import argparse
import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.meter import Group
from bench.report import Progress
from lab import namespace
from lab.mailhost import MailHost
from lab.tools import PROJECT, LabError

HERE = Path(__file__).resolve().parent
MESSAGE = HERE / "message.eml"
SPAMC, SENDMAIL = "/usr/bin/spamc", "/usr/sbin/sendmail"
SENDER, RECIPIENT = "anna@client.example", "jane@example.com"
SPAMC_FOLDER = Path("/etc/spamassassin")
PACKAGED_RULES = Path("/usr/share/spamassassin")
# `cat FILE | COMMAND`, as an account without a home would type it.
FED = ("/bin/sh", "-c", 'file=$1; shift; cat "$file" | "$@"', "sh")


class Scene:
    """The mail host, where pf-spamfilt is installed, a directory that every account can read, and how long to go on."""

    def __init__(
        self, host: MailHost, group: Group, rounds: int, options: argparse.Namespace, progress: Progress
    ) -> None:
        self.host = host
        self.group = group
        self.rounds = rounds
        self.quick: bool = options.quick
        self.rules = "the lab's few rules" if options.light else "its own rules"
        self.message: Path = options.message
        self.with_amavis: bool = options.amavis
        self.progress = progress
        self.command = Path(host.command).resolve()
        self.interpreter, self.main = installation(self.command)
        self.directory = host.directory / "bench"
        self._clean_up = contextlib.ExitStack()

    def __enter__(self) -> "Scene":
        self.directory.mkdir()
        (self.host.postfix.configuration / "pf-spamfilt.toml").unlink()
        self._clean_up.enter_context(covered(str(SPAMC_FOLDER), self._spamc_folder()))
        return self

    def __exit__(self, *exception: object) -> None:
        self._clean_up.close()
        self.progress.clear()

    def copy(self, name: str) -> Path:
        """Copy a file of this folder to where the filter's account can read it, with bits to run it."""
        target = self.directory / name
        shutil.copy(HERE / name, target)
        target.chmod(0o755)
        return target

    def script(self) -> Path:
        """Return a copy of the shell script that everything is compared with."""
        target = self.directory / "chapter-script.sh"
        shutil.copy(PROJECT / "lab" / "chapter-script.sh", target)
        target.chmod(0o755)
        return target

    def feed(self, message: Path, command: Sequence[str | Path]) -> str:
        """Run `cat message | command` as the filter's account; return what it said, LabError unless it succeeds."""
        done = self.host.as_filter([*FED, str(message), *map(str, command)])
        return checked(done, command)

    def in_interpreter(self, code: str, *arguments: str) -> str:
        """Run Python code with the installed command's interpreter, its package at hand; return what it printed."""
        begin = f"import sys; sys.path.insert(0, {str(self.main.parent.parent)!r})\n"
        command = [str(self.interpreter), "-I", "-S", "-X", "utf8", "-c", begin + code, *arguments]
        return checked(subprocess.run(command, capture_output=True, check=False), command)

    def stub_sendmail(self) -> contextlib.AbstractContextManager[None]:
        """Let sendmail be a program that reads the message, as the filter wants to see, and drops it."""
        return covered(SENDMAIL, self.stub("sendmail", b"exec /bin/cat >/dev/null"))

    def stub(self, name: str, script: bytes) -> Path:
        """Write a shell script that plays this program; it is the same for all that start it."""
        stub = self.directory / name
        stub.write_bytes(b"#!/bin/sh\n" + script + b"\n")
        stub.chmod(0o755)
        return stub

    def _spamc_folder(self) -> Path:
        folder = self.directory / "etc-spamassassin"
        shutil.copytree(SPAMC_FOLDER, folder)
        (folder / "spamc.conf").write_text(f"-d 127.0.0.1\n-p {self.host.spamd.port}\n", encoding="ascii")
        return folder


def stock_rules() -> str:
    """Return lines for local.cf that bring in SpamAssassin's own rules: the updated ones, or those of the package."""
    folders = [*sorted(Path("/var/lib/spamassassin").glob("*/updates_spamassassin_org"), reverse=True), PACKAGED_RULES]
    for folder in folders:
        files = sorted(folder.glob("*.cf"))
        if len(files) > 10:
            return "".join(f"include {file}\n" for file in files)
    raise LabError(f"SpamAssassin's rules are not here: neither updated ones, nor in {PACKAGED_RULES}")


def checked(done: "subprocess.CompletedProcess[bytes]", command: Sequence[str | Path]) -> str:
    """Return what a program printed; LabError with it unless its status is 0."""
    said = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise LabError(f"{command[0]}: status {done.returncode}: {said}{done.stderr.decode(errors='replace')}")
    return said


@contextlib.contextmanager
def covered(target: str, source: Path) -> Iterator[None]:
    """Show source at the place of target, for this process and all of the lab, inside the with block."""
    namespace.bind(source, target)
    try:
        yield
    finally:
        namespace.uncover(target)


def installation(command: Path) -> tuple[Path, Path]:
    """Return interpreter and __main__.py of an installed launcher: those that it finds itself."""
    prefix = command.parent.parent
    for folder in (prefix / "lib" / "pf-spamfilt", prefix):
        found = sorted(folder.glob("lib/python3*/site-packages/pf_spamfilt/__main__.py"))
        if found and os.access(folder / "bin" / "python3", os.X_OK):
            return folder / "bin" / "python3", found[-1]
    raise LabError(f"{command}: found no interpreter and package that belong to it below {prefix}")
