"""master.cf as setup changes it: what its entries say, which postconf(1) edits are due, and how it then reads.

It never writes to Postfix's configuration: edits are words for postconf(1), tried on a copy to see what comes of them.
What postconf refuses is a ClickException with its words.
"""

import contextlib
import difflib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from pf_spamfilt.admin.site import Site

# The arguments of one postconf(1).
Edit = Sequence[str]
_FILES = ("main.cf", "master.cf")
_OPTION = re.compile(r" -o (?:content_filter=(\S*)|\{content_filter=(.*?)\})(?=\s|$)")
# Says nothing where main.cf has none, and goes when there is a filter instead.
_EMPTY = re.compile(r" -o (?:content_filter=|\{content_filter=\s*\})(?=\s|$)")
# What stands before the command of an entry, and the ports of the SMTP server.
_COLUMNS = 7
_SMTP = ("smtp", "25")


class Entry(NamedTuple):
    """An entry as `postconf -M` prints it, in one line with single blanks between the columns."""

    line: str

    @property
    def service(self) -> str:
        """Its name as postconf(1) wants it: NAME/TYPE."""
        return "/".join(self.line.split(" ", 2)[:2])

    @property
    def program(self) -> str:
        """The name of its program, such as smtpd."""
        return self.line.split(" ")[_COLUMNS]

    @property
    def content_filter(self) -> str:
        """What -o content_filter says, the last one; empty: nothing."""
        return "".join([("", ""), *_OPTION.findall(self.line)][-1])

    @property
    def is_smtp(self) -> bool:
        """Tell whether foreign mail comes in here: the SMTP port, on all addresses or on one."""
        name, kind = self.service.rsplit("/", 1)
        return kind == "inet" and name.rpartition(":")[2] in _SMTP

    def filtered_by(self, transport: str) -> bool:
        """Tell whether its content_filter is this transport."""
        return self.content_filter.partition(":")[0] == transport

    def with_filter(self, transport: str) -> Edit:
        """Return the edit that gives it this filter.

        -M and not -P: that moves an entry below the comments which follow it.
        """
        return ["-M", f"{self.service}={_OPTION.sub('', self.line)} -o content_filter={transport}:"]

    def without_filter(self) -> Edit:
        """Return the edit that takes its filter away."""
        return ["-M", f"{self.service}={_OPTION.sub('', self.line)}"]


def entries(printed: str) -> list[Entry]:
    """Read what `postconf -M` prints."""
    return [Entry(re.sub(r"\s+", " ", line, count=_COLUMNS).rstrip()) for line in printed.splitlines() if line.strip()]


def smtp_servers(all_entries: Sequence[Entry]) -> list[Entry]:
    """Return the smtpd entries by which foreign mail comes in; behind postscreen(8) that is one of type pass."""
    doors = [entry for entry in all_entries if entry.is_smtp]
    found = [entry for entry in doors if entry.program == "smtpd"]
    if any(entry.program == "postscreen" for entry in doors):
        found += [entry for entry in all_entries if entry.program == "smtpd" and entry.service.endswith("/pass")]
    return found


def filtered(all_entries: Sequence[Entry], transport: str) -> list[Entry]:
    """Return the entries whose content_filter is this transport."""
    return [entry for entry in all_entries if entry.filtered_by(transport)]


def text(file: Path) -> str:
    """Return the text of a file of Postfix; bytes that are no UTF-8 survive. Raises ClickException."""
    try:
        return file.read_text("utf-8", "surrogateescape")
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror}{remedy(error)}") from None


def refuse_open_end(site: Site) -> None:
    """Raise ClickException if master.cf's last line has no end: postconf(1) appends a new entry to that line."""
    file = Path(site.directory, "master.cf")
    if not text(file).endswith("\n"):
        raise click.ClickException(
            f"{file}: its last line has no end, and postconf(1) would write the transport into it: nothing was changed."
            f" First: echo >>{file}"
        )


def edited(site: Site, edits: Sequence[Edit]) -> str:
    """Return what master.cf would be after these edits: they are made in a copy."""
    with _copy(site) as copy:
        for edit in edits:
            site.run("postconf", "-c", str(copy), *edit)
        return text(copy / "master.cf")


def same_but_layout(site: Site, one: str, other: str) -> bool:
    """Tell whether two master.cf have the same entries, as Postfix reads them, and the same comments."""
    return _comments(one) == _comments(other) and _entries(site, one) == _entries(site, other)


def difference(site: Site, after: str) -> str:
    """Return a unified diff from master.cf to `after`, coloured; empty if there is none."""
    name = f"{site.directory}/master.cf"
    before = text(Path(name)).splitlines()
    lines = difflib.unified_diff(before, after.splitlines(), name, f"{name} (new)", lineterm="")
    colours = {"+": "green", "-": "red", "@": "cyan"}
    shown = [click.style(_printable(line), fg=colours.get(line[0])) for line in lines]
    return "".join(f"{line}\n" for line in shown)


def _printable(line: str) -> str:
    return line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _comments(content: str) -> list[str]:
    return sorted(line.strip() for line in content.splitlines() if line.lstrip().startswith("#"))


def _entries(site: Site, content: str) -> str:
    with _copy(site) as copy:
        _write(copy / "master.cf", content)
        return _EMPTY.sub("", site.run("postconf", "-c", str(copy), "-M"))


def remedy(error: OSError) -> str:
    """Return what helps against an error, if that is to be root."""
    return ": be root" if isinstance(error, PermissionError) and os.geteuid() else ""


def _write(file: Path, content: str) -> None:
    """Write a file and date it back: postconf(1) waits until a file is some seconds old."""
    file.write_text(content, "utf-8", "surrogateescape")
    os.utime(file, (0, 0))


@contextlib.contextmanager
def _copy(site: Site) -> Iterator[Path]:
    """Give a private folder with main.cf and master.cf."""
    with tempfile.TemporaryDirectory(prefix="pf-spamfilt-setup-") as name:
        try:
            for file in _FILES:
                _write(Path(name, file), text(Path(site.directory, file)))
        except OSError as error:
            raise click.ClickException(f"{error.filename}: {error.strerror}") from None
        yield Path(name)
