"""What the parts of the lab share: its error, what is entered and left, running commands, waiting, free ports.

Commands but `make install` get a small fixed environment, never the caller's: a MAIL_CONFIG or LANG set there must not
reach them. Failures are raised as LabError, with the command's own words.
"""

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

PROJECT = Path(__file__).resolve().parent.parent
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C"}


class LabError(Exception):
    """The lab cannot do what was asked; the text says why and, where there is one, the remedy."""


class Entered:
    """What begins when it is entered; when it is left, or cannot begin, what was given to `_clean_up` is called."""

    def __init__(self) -> None:
        self._clean_up = contextlib.ExitStack()

    def _begin(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        try:
            self._begin()
        except BaseException:
            self._clean_up.close()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._clean_up.close()


def run(command: Sequence[str | Path], cwd: Path | str = "/", timeout: float = 120) -> str:
    """Run a command to its end and return what it printed; raise LabError unless its status is 0."""
    shown = " ".join(map(str, command))
    try:
        done = subprocess.run(
            command, cwd=cwd, env=ENVIRONMENT, timeout=timeout, check=False, text=True, errors="replace",
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LabError(f"{shown}: {error}") from error
    if done.returncode != 0:
        raise LabError(f"{shown}: status {done.returncode}\n{done.stdout.strip()}")
    return done.stdout


def install(prefix: Path) -> Path:
    """Install the project below prefix, as anybody does, and return the command's path.

    With the caller's environment, unlike all else: that may say where pip finds what it needs.
    """
    done = subprocess.run(
        ["make", "-s", "-C", PROJECT, "install", f"PREFIX={prefix}"],
        timeout=300, check=False, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    command = prefix / "bin" / "pf-spamfilt"
    if done.returncode != 0 or not os.access(command, os.X_OK):
        raise LabError(f"make install PREFIX={prefix}: status {done.returncode}\n{done.stdout.strip()}")
    return command


def wait_until(condition: Callable[[], bool], timeout: float, pause: float = 0.02) -> bool:
    """Ask again and again until the condition holds; false if it still does not after timeout seconds."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(pause)
    return True


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def tail(file: Path, lines: int = 30) -> str:
    """Return the last lines of a text file, or an empty string when there is none."""
    if not file.exists():
        return ""
    return "\n".join(file.read_text(errors="replace").splitlines()[-lines:])
