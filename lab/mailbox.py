"""The one maildir in which the private Postfix puts every copy of every message.

It only reads and, when told so, deletes. Mail that does not come in time is a LabError, which shows the mail
log's end.
"""

import email
import email.message
from collections.abc import Callable
from pathlib import Path

from lab.tools import LabError, wait_until


class Copy:
    """One delivered copy: the bytes that virtual(8) wrote, with Return-Path and Delivered-To at the top."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.raw = file.read_bytes()

    @property
    def recipient(self) -> str:
        """The envelope recipient of this copy, with Postfix's quoting, from the topmost Delivered-To."""
        return self._top_field(b"Delivered-To: ")

    @property
    def sender(self) -> str:
        """The envelope sender, from the topmost Return-Path; empty for the null sender."""
        return self._top_field(b"Return-Path: ").removeprefix("<").removesuffix(">")

    @property
    def head(self) -> bytes:
        """The header, up to and without the empty line that ends it."""
        head, separator, _ = self.raw.partition(b"\n\n")
        return head + separator[:1]

    @property
    def body(self) -> bytes:
        """All that comes after the first empty line."""
        return self.raw.partition(b"\n\n")[2]

    @property
    def message(self) -> email.message.Message:
        """The copy as the standard library parses it, for looking at header fields by name."""
        return email.message_from_bytes(self.raw)

    def header(self, name: str) -> str | None:
        """Return the first field of this name, unfolded, or None."""
        value = self.message[name]
        return None if value is None else " ".join(str(value).split())

    def _top_field(self, start: bytes) -> str:
        for line in self.raw.split(b"\n"):
            if line.startswith(start):
                return line.removeprefix(start).decode(errors="surrogateescape")
        raise LabError(f"no {start.decode().strip()} field in {self.file}")


class Mailbox:
    """The maildir of one lab."""

    def __init__(self, directory: Path, log_tail: Callable[[], str]) -> None:
        self._new = directory / "new"
        self._log_tail = log_tail

    def copies(self) -> list[Copy]:
        """Return all copies, the oldest first."""
        return [Copy(file) for file in self._files()]

    def wait_for(self, count: int, timeout: float = 30) -> list[Copy]:
        """Wait until there are at least so many copies and return all; LabError after timeout seconds."""
        if not wait_until(lambda: len(self._files()) >= count, timeout):
            found = f"{self.count()} of {count} copies arrived in {timeout:.0f} s"
            raise LabError(f"{found}; the end of the mail log:\n{self._log_tail()}")
        return self.copies()

    def count(self) -> int:
        """Return how many copies there are, without reading any."""
        return len(self._files())

    def clear(self) -> None:
        """Delete all copies."""
        for file in self._files():
            file.unlink()

    def _files(self) -> list[Path]:
        if not self._new.is_dir():
            return []
        return sorted(self._new.iterdir(), key=lambda file: (file.stat().st_mtime_ns, file.name))
