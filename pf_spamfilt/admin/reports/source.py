"""Where log lines come from: files, plain or gzip, standard input, the journal; read in blocks, never whole.

Failures are ClickExceptions that name the file: a report of half a log is worse than none.
"""

import functools
import gzip
import math
import os
import stat
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple, cast

import click

from pf_spamfilt.admin.reports.lines import MARK

STDIN = "-"
# Debian's, and Red Hat's.
MAIL_LOGS = ("/var/log/mail.log", "/var/log/maillog")
JOURNALCTL = "journalctl"
_BLOCK = 1 << 20
# What is longer is no log line; its beginning is kept.
_LONGEST = 1 << 16
_GZIP = b"\x1f\x8b"


class Block(NamedTuple):
    """A piece of a log: its number of lines, those that may be the filter's, and how many bytes of a file it took."""

    number: int
    lines: list[bytes]
    size: int


class Source(NamedTuple):
    """A log: its name, when it was last written, its size in bytes if that is known, and how it is read."""

    name: str
    latest: float
    size: int | None
    blocks: Callable[[], Iterator[Block]]


def of_file(path: str) -> Source:
    """Return a file as a source; `-` is standard input. Raises ClickException if it cannot be read."""
    if path == STDIN:
        return Source("standard input", time.time(), None, _read_stdin)
    try:
        state = os.stat(path)
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    if not os.access(path, os.R_OK):
        raise click.ClickException(f"{path}: not readable for this account: be root, or of the group that owns it")
    size = state.st_size if stat.S_ISREG(state.st_mode) else None
    return Source(path, state.st_mtime, size, functools.partial(_read_file, path, size is not None))


def of_journal(since: float | None, until: float | None) -> Source:
    """Return the systemd journal's lines of the filter, of this time only, as a source."""
    command = [JOURNALCTL, "-t", "pf-spamfilt", "-o", "short-iso-precise", "--no-pager", "-q"]
    command += [f"--since=@{math.floor(since)}"] if since is not None else []
    command += [f"--until=@{math.ceil(until)}"] if until is not None else []
    return Source("the journal", time.time(), None, functools.partial(_read_journal, command))


def default(own_file: str, since: float | None, until: float | None) -> Source:
    """Return the filter's own log file if it has one, else the mail log, else the journal."""
    for path in (own_file, *MAIL_LOGS):
        if path and os.path.exists(path):
            return of_file(path)
    return of_journal(since, until)


def _read_stdin() -> Iterator[Block]:
    yield from _read("standard input", sys.stdin.buffer, None)


def _read_file(path: str, regular: bool) -> Iterator[Block]:
    try:
        file = open(path, "rb")  # noqa: SIM115
    except OSError as error:
        raise click.ClickException(f"{path}: {error.strerror}") from None
    with file:
        yield from _read(path, file, file.tell if regular else None)


def _read(name: str, stream: IO[bytes], place: Callable[[], int] | None) -> Iterator[Block]:
    try:
        yield from blocks(_unpacked(stream), place)
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise click.ClickException(f"{name}: the gzip file is cut or broken") from None
    except OSError as error:
        raise click.ClickException(f"{name}: {error.strerror}") from None


def _unpacked(stream: IO[bytes]) -> IO[bytes]:
    packed = stream.peek(2)[:2] == _GZIP  # type: ignore[attr-defined]
    return cast(IO[bytes], gzip.GzipFile(fileobj=stream)) if packed else stream


def _read_journal(command: list[str]) -> Iterator[Block]:
    with _started(command) as process:
        assert process.stdout
        yield from blocks(process.stdout, None)
    if process.returncode:
        raise click.ClickException(f"{' '.join(command)}: exited with status {process.returncode}")


@contextmanager
def _started(command: list[str]) -> Iterator["subprocess.Popen[bytes]"]:
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    except OSError as error:
        raise click.ClickException(f"{command[0]}: {error.strerror}: name the log file instead") from None
    with process:
        yield process


def blocks(stream: IO[bytes], place: Callable[[], int] | None, size: int = _BLOCK) -> Iterator[Block]:
    """Yield the lines of a stream; `place` tells how many bytes of its file have been read, if it is one."""
    rest, before = b"", 0
    while block := stream.read(size):
        lines = (rest + block).split(b"\n")
        rest = lines.pop()[:_LONGEST]
        here = place() if place else before + len(block)
        yield Block(len(lines), [line for line in lines if MARK in line], here - before)
        before = here
    if rest:
        yield Block(1, [rest] if MARK in rest else [], 0)
