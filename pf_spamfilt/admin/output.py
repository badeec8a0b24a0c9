"""How all commands of pf-spamfilt-admin speak: tables for people, JSON for programs, progress on a terminal."""

import functools
import json
import re
import sys
import time
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import Any, TypeVar

import click

Item = TypeVar("Item")
_WIDE = ("W", "F")
# Those before are one column wide.
_UNUSUAL = re.compile("[^\0-\u02ff]")
# A bar is worth its line only where somebody waits, in seconds.
_PATIENCE = 1.0


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], right: Iterable[int] = ()) -> None:
    """Print rows in columns as wide as their content; the columns numbered in `right` are set right."""
    columns = zip(headings, *rows, strict=True)
    ends = set(right)
    padded = [_padded(column, place in ends) for place, column in enumerate(columns)]
    out = ["  ".join(cells).rstrip() for cells in zip(*padded, strict=True)]
    out[0] = click.style(out[0], bold=True)
    click.echo("\n".join(out))


def _padded(column: Sequence[str], is_right: bool) -> list[str]:
    widths = list(map(width, column))
    most = max(widths)
    blanks = [" " * (most - taken) for taken in widths]
    return list(map(str.__add__, blanks, column) if is_right else map(str.__add__, column, blanks))


def width(text: str) -> int:
    """Return how many columns of a terminal `text` takes."""
    if text.isascii():
        return len(text)
    return len(text) + sum(map(_surplus, _UNUSUAL.findall(text)))


@functools.cache
def _surplus(char: str) -> int:
    """Return how many columns more than one a character takes."""
    return -1 if unicodedata.combining(char) else unicodedata.east_asian_width(char) in _WIDE


def as_json(value: object) -> None:
    """Print `value` for a program, in UTF-8; of text that was not, what cannot be told is "?".

    A list has a line for each element: 100,000 with indentation would take seconds.
    """
    if isinstance(value, list):
        text = "[" + ",\n ".join(json.dumps(each, ensure_ascii=False) for each in value) + "]"
    else:
        text = json.dumps(value, indent=2, ensure_ascii=False)
    click.echo(text.encode("utf-8", "replace"))


def counted(count: int, noun: str) -> str:
    """Return `1 message`, `2 messages`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


class Progress:
    """A progress bar on stderr that appears after a second, if that is a terminal: `length` steps, or bytes.

    If `length` is None, as of what comes through a pipe, it only moves.
    """

    def __init__(self, label: str, length: int | None) -> None:
        self._label = label
        self._length = length
        self._done = 0
        self._shown_at = time.monotonic() + _PATIENCE if sys.stderr.isatty() else float("inf")
        self._bar: Any = None

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._bar:
            self._bar.__exit__(kind, error, at)

    def advance(self, steps: int = 1) -> None:
        """Tell that so many more are done."""
        self._done += steps
        if self._bar:
            self._bar.update(steps)
        elif time.monotonic() > self._shown_at:
            endless = iter(int, 1) if self._length is None else None
            self._bar = click.progressbar(endless, length=self._length, label=self._label, file=sys.stderr)
            self._bar.__enter__()
            self._bar.update(self._done)


def progress(label: str, items: Sequence[Item]) -> Iterator[Item]:
    """Yield the items, with a progress bar where that takes long."""
    with Progress(label, len(items)) as bar:
        for item in items:
            yield item
            bar.advance()
