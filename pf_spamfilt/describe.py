"""How a person is told what recipients want, and who says so: for --explain and `pf-spamfilt-admin policy`.

Never imported for a message.
"""

import os
import textwrap
from collections.abc import Iterable, Iterator

import click

from pf_spamfilt import patterns, policy, settings
from pf_spamfilt.log import Log
from pf_spamfilt.policy import Wishes
from pf_spamfilt.process import Finished

_SHOWN_PATTERNS = 5
_WIDTH = 100


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


def section(title: str, rows: Iterable[tuple[str, str]]) -> None:
    """Print a title and rows of a name and a text, if there are any."""
    rows = list(rows)
    if rows:
        click.echo(title)
    wrapper = textwrap.TextWrapper(_WIDTH, break_long_words=False, break_on_hyphens=False)
    indent = max([len(name) for name, _ in rows], default=0) + 4
    for name, text in rows:
        wrapper.initial_indent, wrapper.subsequent_indent = f"  {name}".ljust(indent), " " * indent
        click.echo(wrapper.fill(text))


def settings_file(source: str) -> str:
    """Return how the file `source` is named, whether it exists or not."""
    return source if os.path.exists(source) else f"{source} does not exist: the defaults"


def keys(wishes: Wishes) -> Iterator[tuple[str, object, str]]:
    """Yield each key of a recipient, its value and its source; an empty source is the default."""
    for key in settings.DEFAULTS["policy"]:
        yield key, *wishes.find(key)


def sourced(key: str, value: object, source: str, file: str = "") -> str:
    """Return a value as it is written in the settings, and where it stands; of a long list only the beginning."""
    place = f" in {file}" if file and source.startswith("[") else ""
    return f"{_shown(key, value)}, from {source or 'default'}{place}"


def _shown(key: str, value: object) -> str:
    if key not in policy.LISTS:
        return str(value).lower() if isinstance(value, bool) else repr(value)
    words = patterns.words(value)  # type: ignore[arg-type]
    more = f" and {len(words) - _SHOWN_PATTERNS} more" if len(words) > _SHOWN_PATTERNS else ""
    return f"{words[:_SHOWN_PATTERNS]}{more}"


def standing(listed: str, source: str) -> str:
    """Tell on which lists the sender is: `listed` is as in Wishes."""
    if not listed:
        return "is on no list"
    which = {"both": "welcome list and the block list"}.get(listed, f"{listed} list")
    return f"is on the {which} of {source}"
