"""--explain: scan for real, deliver nothing, and tell a person what would be done, and why."""

import os
import shlex
import textwrap
import time
from collections import Counter
from collections.abc import Iterator

import click

from pf_spamfilt import headers, reinject, report, settings
from pf_spamfilt.exits import OK, Ended, UsageError
from pf_spamfilt.filter import Filter
from pf_spamfilt.log import Log
from pf_spamfilt.process import Finished
from pf_spamfilt.spool import Message


class Notes(Log):
    """A log that only remembers: which programs were run, and the lines that would have been written."""

    __slots__ = ("lines", "programs")

    def __init__(self) -> None:
        self.programs: list[tuple[list[bytes], Finished]] = []
        self.lines: list[str] = []

    def child(self, argv: list[bytes], ended: Finished) -> None:
        """Remember a program."""
        self.programs.append((argv, ended))

    def _write(self, level: int, priority: int, line: str) -> None:  # noqa: ARG002
        self.lines.append(line)


def run(arguments: list[str], config: str) -> int:
    """Explain the message on stdin to stdout; return the status that the filter would have."""
    if os.isatty(0):
        click.echo("Type or paste the message, then ^D on a line of its own.", err=True)
    record, notes = report.Record(), Notes()
    source = config or settings.path()
    try:
        record.sender, *record.recipients = [os.fsencode(argument) for argument in arguments or [""]]
        if len(arguments) == 1:
            raise UsageError("a sender needs recipients")
        chosen = settings.load(source, required=bool(config))
        _section("Settings", _describe_settings(source, chosen))
        return _explain(Filter(chosen, notes, record, time.monotonic()), notes)
    except Ended as error:
        _section("Notes", _numbered(notes.lines))
        _section("Outcome", [("status", _status(error)), ("log", report.printable(f"{error.code} {error.text}", 300))])
        return error.status


def _explain(running: Filter, notes: Notes) -> int:
    record, envelope = running.record, running.envelope
    argv = reinject.command(envelope, running.settings.sendmail.command)
    message = running.read()
    _section("Envelope", _describe_envelope(running))
    try:
        result = running.examine(message)
    finally:
        _section("Scan", _describe_scan(record, notes))
    _section("Header fields", _changes(message, result))
    record.action = "reinjected"
    _section("Notes", _numbered(notes.lines))
    if not envelope.recipients:
        _section("Outcome", [("none", "there is no recipient to deliver to")])
        return OK
    _section("Outcome", [("run", shlex.join(map(os.fsdecode, argv))), ("status", "0"), ("log", report.summary(record))])
    return OK


def _section(title: str, rows: "list[tuple[str, str]] | Iterator[tuple[str, str]]") -> None:
    """Print a title and rows of a name and a text, if there are any."""
    rows = list(rows)
    if rows:
        click.echo(title)
    wrapper = textwrap.TextWrapper(100, break_long_words=False, break_on_hyphens=False)
    indent = max([len(name) for name, _ in rows], default=0) + 4
    for name, text in rows:
        wrapper.initial_indent, wrapper.subsequent_indent = f"  {name}".ljust(indent), " " * indent
        click.echo(wrapper.fill(text))


def _describe_settings(source: str, chosen: settings.Settings) -> Iterator[tuple[str, str]]:
    yield "file", source if os.path.exists(source) else f"{source} does not exist: the defaults"
    if chosen.note:
        yield "note", chosen.note
    for section, keys in settings.DEFAULTS.items():
        values = vars(getattr(chosen, section) if section else chosen)
        for key, default in keys.items():
            if values[key] != default:
                yield f"[{section}] {key}" if section else key, f"{values[key]!r} instead of {default!r}"


def _describe_envelope(running: Filter) -> Iterator[tuple[str, str]]:
    yield "sender", report.printable(running.envelope.sender) or "<> (the null sender)"
    for recipient in running.envelope.recipients or [b"none given"]:
        yield "recipient", report.printable(recipient)
    yield "queue id", running.record.queue_id
    yield "size", f"{running.record.size} bytes"


def _describe_scan(record: report.Record, notes: Notes) -> Iterator[tuple[str, str]]:
    for argv, ended in notes.programs:
        yield "asked", shlex.join(map(os.fsdecode, argv))
        yield "answer", f"{report.ending(ended.status)}{report.quote(ended.said)}"
    if record.unscanned:
        yield "not scanned", record.unscanned
    if record.verdict:
        yield "seconds", f"{record.scan_seconds:.2f}"
        yield "user", report.printable(record.user) or "none: spamd's own preferences"
        yield "verdict", "spam" if record.verdict.spam else "not spam"
        yield "score", record.verdict.score or "not told: X-Spam-Status is missing"
        yield "required", record.verdict.required or "not told"
        yield "tests", record.verdict.tests.replace(",", ", ") or "none"


def _changes(before: Message, after: Message) -> Iterator[tuple[str, str]]:
    """Yield the header fields that are taken away and those that are added."""
    old, new = _fields(before), _fields(after)
    for sign, fields in (("-", Counter(old) - Counter(new)), ("+", Counter(new) - Counter(old))):
        for field in fields.elements():
            yield sign, report.printable(field, 1000)
    if old == new:
        yield "none", "the header is delivered as it came"


def _fields(message: Message) -> list[bytes]:
    """Return the header fields that can change: all of a message that was scanned, otherwise only X-Spam-*."""
    if message.in_memory:
        return [field.replace(b"\r\n", b"\n") for field in headers.split(message.head)[0]]
    with open(message.fd, "rb", closefd=False) as stream:
        stream.seek(0)
        return [piece for piece, forged in headers.sift(stream) if forged]


def _numbered(lines: list[str]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines, 1):
        yield str(number), line


def _status(error: Ended) -> str:
    return f"{error.status}: Postfix {'tries again later' if error.code.startswith('4') else 'bounces the message'}"
