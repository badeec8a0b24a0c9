"""The quarantine's stores as an administrator finds them: what is in them, read, and removed. stores.py writes them.

They belong to the filter's account, which may have been broken into: root becomes that account for as long as it
touches one (so nothing may be imported then), no symbolic link is followed, and what is no regular file, or no kept
message, is left alone. An mbox is locked while it is read or changed; a message is removed from it by a new file that
takes its place.
"""

import calendar
import contextlib
import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Collection, Iterable, Iterator
from typing import BinaryIO, NamedTuple

import click._termui_impl  # noqa: F401  # a progress bar imports it: too late for an account that cannot read it

from pf_spamfilt import settings, stores
from pf_spamfilt.admin import output
from pf_spamfilt.admin.keeping import kept
from pf_spamfilt.admin.keeping.kept import Kept
from pf_spamfilt.exits import Deferred

# What a crash has left is removed after so many seconds, as Maildir's own rule is.
ABANDONED = 36 * 3600
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_NEW_FILE = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
# How stores.py names a file in a folder until it is whole.
_TEMPORARY = re.compile(r"\.[A-Za-z0-9]+-[0-9a-f]{8}")
_CHUNK = 1 << 20
# A file that begins with an mbox line holds one message only if pipe(8) has put it there, by flags=F: two blanks.
_LINE_OF_PIPE = re.compile(rb"From .*  [A-Z][a-z][a-z] ")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
# Where an entry of an mbox begins and ends.
Span = tuple[int, int]


class Entry(NamedTuple):
    """A kept message in a store: `folder` and `name` of its file, `time` when it was kept, `size` of the original."""

    store: "Store"
    folder: str
    name: str
    kept: Kept
    time: float
    size: int

    @property
    def path(self) -> str:
        """The file that it is in."""
        return "/".join(filter(None, (self.store.path, self.folder, self.name)))


class Store:
    """A store by its name in the settings; `unread`: how many files in it could not be read."""

    def __init__(self, destination: str) -> None:
        self.destination = destination
        self.unread = 0
        self.path = destination.partition(":")[2].rstrip("/") or "/"

    @property
    def place(self) -> tuple[str, str]:
        """The same for every spelling of its name."""
        folder, name = os.path.split(self.path)
        return self.destination.partition(":")[0], os.path.join(os.path.realpath(folder), name)

    def entries(self, ids: Collection[str] = ()) -> list[Entry]:
        """Return the messages in it, or only those with these ids, which takes less time. Raises OSError or Ended."""
        raise NotImplementedError

    def read(self, entry: Entry) -> bytes:
        """Return the whole kept message of an entry. Raises OSError or Ended if it is gone."""
        raise NotImplementedError

    def remove(self, entries: Collection[Entry]) -> list[Entry]:
        """Remove messages, and return those that are not there any more. Raises OSError or Ended."""
        raise NotImplementedError

    def remove_abandoned(self, dry_run: bool) -> int:
        """Remove temporary files that a crash has left, and return how many there were. Raises OSError."""
        raise NotImplementedError

    def original(self, entry: Entry) -> bytes:
        """Return the original of an entry, byte for byte. Raises OSError or Ended if it is gone."""
        message = self.read(entry)
        found = kept.parse(message)
        if found is None or found.id != entry.kept.id:
            raise _gone(entry)
        return kept.original(message, found)


class Folder(Store):
    """`dir:`, a file a message."""

    parts: tuple[str, ...] = ("",)
    other = "maildir"

    def entries(self, ids: Collection[str] = ()) -> list[Entry]:
        """Return the messages in it; with ids, files that have one in their name are looked at first."""
        missing, found = set(ids), []
        with self._opened(self.parts) as folders:
            if self._is_other_kind(folders):
                raise Deferred(f'{self.destination}: is of another kind: did you mean "{self.other}:{self.path}"?')
            names = [(part, fd, name) for part, fd in folders.items() for name in os.listdir(fd) if name[0] != "."]
            if ids:
                names.sort(key=lambda each: not any(name in each[2] for name in ids))
            for part, fd, name in output.progress(self.destination, names):
                try:
                    seen = _look(fd, name)
                except PermissionError:
                    self.unread += 1
                    continue
                if seen is None or (ids and seen[0].id not in missing):
                    continue
                found.append(Entry(self, part, name, *seen))
                missing.discard(seen[0].id)
                if ids and not missing:
                    break
        return found

    def _is_other_kind(self, folders: dict[str, int]) -> bool:
        """Tell whether there are the folders of a Maildir, and nothing else."""
        return {"new", "cur"} <= set(os.listdir(folders[""])) <= {"new", "cur", "tmp"}

    def read(self, entry: Entry) -> bytes:
        """Return the whole kept message of an entry, whatever its file is called now."""
        try:
            return self._read(entry)
        except FileNotFoundError:
            for found in self.entries([entry.kept.id]):
                return self._read(found)
            raise _gone(entry) from None

    def _read(self, entry: Entry) -> bytes:
        with self._opened([entry.folder]) as folders:
            if entry.folder not in folders:
                raise _gone(entry)
            fd = os.open(entry.name, _FILE, dir_fd=folders[entry.folder])
            with open(fd, "rb") as file:
                return file.read() if stat.S_ISREG(os.fstat(fd).st_mode) else b""

    def remove(self, entries: Collection[Entry]) -> list[Entry]:
        """Remove messages, and return those that are not there any more.

        A mail program that reads a Maildir gives its files other names.
        """
        gone = self._remove(entries)
        if gone:
            renamed = self.entries([entry.kept.id for entry in gone])
            removed = {entry.kept.id for entry in renamed} - {entry.kept.id for entry in self._remove(renamed)}
            gone = [entry for entry in gone if entry.kept.id not in removed]
        return gone

    def _remove(self, entries: Collection[Entry]) -> list[Entry]:
        gone = []
        with self._opened(self.parts) as folders:
            for entry in output.progress("Removing", list(entries)):
                fd = folders.get(entry.folder)
                seen = None if fd is None else _look(fd, entry.name)
                if seen is not None and seen[0].id == entry.kept.id:
                    os.unlink(entry.name, dir_fd=fd)
                else:
                    gone.append(entry)
        return gone

    def remove_abandoned(self, dry_run: bool) -> int:
        """Remove temporary files that a crash has left."""
        return self._remove_old("", _TEMPORARY, dry_run)

    def _remove_old(self, part: str, pattern: re.Pattern[str], dry_run: bool) -> int:
        count, limit = 0, time.time() - ABANDONED
        with self._opened([part]) as folders:
            for fd in folders.values():
                for name in filter(pattern.fullmatch, os.listdir(fd)):
                    file = os.stat(name, dir_fd=fd, follow_symlinks=False)
                    if stat.S_ISREG(file.st_mode) and file.st_mtime < limit:
                        count += 1
                        if not dry_run:
                            os.unlink(name, dir_fd=fd)
        return count

    @contextlib.contextmanager
    def _opened(self, parts: Iterable[str]) -> Iterator[dict[str, int]]:
        """Open the folder's parts, as its owner inside the with block; those that are not there are left out."""
        with contextlib.ExitStack() as clean_up:
            folder = os.open(self.path, _FOLDER)
            clean_up.callback(os.close, folder)
            clean_up.enter_context(_as_owner(folder, self.path))
            found = {}
            for part in parts:
                with contextlib.suppress(FileNotFoundError):
                    found[part] = os.open(part or ".", _FOLDER, dir_fd=folder)
                    clean_up.callback(os.close, found[part])
            yield found


class Maildir(Folder):
    """`maildir:`; a mail program may have moved messages from `new` to `cur`."""

    parts = ("new", "cur")
    other = "dir"

    def _is_other_kind(self, folders: dict[str, int]) -> bool:
        """Tell whether there are none of its folders, but files."""
        return not folders and any(os.path.isfile(f"{self.path}/{name}") for name in os.listdir(self.path))

    def remove_abandoned(self, dry_run: bool) -> int:
        """Remove temporary files that a crash has left."""
        return self._remove_old("tmp", re.compile(".*", re.DOTALL), dry_run)


class Mbox(Store):
    """`mbox:`, in the mboxrd form: each line that begins with "From " begins a message."""

    def entries(self, ids: Collection[str] = ()) -> list[Entry]:
        """Return the messages in it."""
        with self._locked() as lock:
            if lock is None:
                return []
            spans = output.progress(self.destination, list(_spans(lock.fd)))
            found = [self._entry(lock.fd, span) for span in spans]
        return [entry for entry in found if entry and (not ids or entry.kept.id in ids)]

    def read(self, entry: Entry) -> bytes:
        """Return the whole kept message of an entry, wherever in the file it is now."""
        with self._locked() as lock:
            if lock is not None:
                for start, end in list(_spans(lock.fd)):
                    found = _parse(lock.fd, (start, end))
                    if found and found.id == entry.kept.id:
                        return kept.from_mbox(os.pread(lock.fd, end - start, start))
        raise _gone(entry)

    def remove(self, entries: Collection[Entry]) -> list[Entry]:
        """Remove messages: all others go into a new file, which takes the place of this one when it is on disk."""
        ids = {entry.kept.id for entry in entries}
        removed: set[str] = set()
        with self._locked() as lock:
            if lock is not None:
                found = [(span, _parse(lock.fd, span)) for span in _spans(lock.fd)]
                spans = {span: each.id for span, each in found if each and each.id in ids}
                if spans:
                    self._rewrite(lock, list(spans))
                removed = set(spans.values())
        return [entry for entry in entries if entry.kept.id not in removed]

    def remove_abandoned(self, dry_run: bool) -> int:  # noqa: ARG002
        """Remove nothing: whoever locks an mbox next takes out what a crash has left."""
        return 0

    def _rewrite(self, lock: stores.Lock, removed: list[Span]) -> None:
        name, old = self.path + ".new", os.fstat(lock.fd)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)  # of one who was killed here: we have the lock
        fd = os.open(name, _NEW_FILE, 0o600)
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX)  # under its new name nobody else must have it before we are done
            os.fchmod(fd, stat.S_IMODE(old.st_mode))
            place = 0
            for start, end in [*removed, (old.st_size, old.st_size)]:
                _copy(lock.fd, fd, place, start)
                place = end
            os.fsync(fd)
            os.rename(name, self.path)
        except BaseException:
            os.close(fd)
            os.unlink(name)
            raise
        os.close(lock.fd)
        lock.fd = fd
        folder = os.open(os.path.dirname(self.path), _FOLDER)
        os.fsync(folder)
        os.close(folder)

    def _entry(self, fd: int, span: Span) -> Entry | None:
        found = _parse(fd, span)
        if found is None:
            return None
        entry = os.pread(fd, span[1] - span[0], span[0])
        moment = _time(entry, os.fstat(fd).st_mtime)
        return Entry(self, "", "", found, moment, len(kept.from_mbox(entry)) - found.overhead)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[stores.Lock | None]:
        """Lock the file, as the owner of its folder; None if there is no such file."""
        folder = os.open(os.path.dirname(self.path), _FOLDER)
        try:
            if os.geteuid() not in (0, os.fstat(folder).st_uid):  # stores.py would have it changed
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
            with _as_owner(folder, os.path.dirname(self.path)):
                if not os.path.lexists(self.path):
                    yield None
                    return
                with stores.locked(self.destination) as lock:
                    yield lock
        finally:
            os.close(folder)


_KINDS: dict[str, type[Store]] = {stores.MAILDIR: Maildir, stores.MBOX: Mbox, stores.DIR: Folder}


def store(destination: str) -> Store:
    """Return the store of this name: `maildir:/PATH`, `mbox:/PATH` or `dir:/PATH`. Raises ValueError for another."""
    kind, colon, path = destination.partition(":")
    if kind + colon not in _KINDS or not path.startswith("/"):
        raise ValueError(f'"{destination}" is none of maildir:/PATH, mbox:/PATH, dir:/PATH')
    return _KINDS[kind + colon](destination)


def named(chosen: settings.Settings) -> list[str]:
    """Return the stores with a path that the settings name, in [policy] and all blocks; tables may name others."""
    blocks = [chosen.policy, *chosen.recipients[1], *chosen.senders[1]]
    found = [str(block.get("quarantine", "")) for block in blocks]
    return list(dict.fromkeys(name for name in found if name.startswith(settings.STORES)))


@contextlib.contextmanager
def _as_owner(folder: int, path: str) -> Iterator[None]:
    """Be the account that an open folder belongs to inside the with block, if we are root."""
    owner = os.fstat(folder)
    if os.geteuid() != 0:
        yield
        return
    if owner.st_uid == 0:
        raise Deferred(f"{path}: belongs to root: chown it to the filter's account, or name the right folder")
    groups, group = os.getgroups(), os.getegid()
    os.setgroups([])
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(group)
        os.setgroups(groups)


def _look(folder: int, name: str) -> tuple[Kept, float, int] | None:
    """Return what a file in an open folder says of itself, its time, and the size of its original; None if nothing.

    Raises PermissionError.
    """
    try:
        fd = os.open(name, _FILE, dir_fd=folder)
    except PermissionError:
        raise
    except OSError:  # gone meanwhile, a symbolic link, a socket
        return None
    try:
        file = os.fstat(fd)
        if not stat.S_ISREG(file.st_mode):
            return None
        head = os.read(fd, kept.HEAD)
        found = kept.parse(head)
        while len(head) < min(file.st_size, kept.HEAD_MAX) and kept.is_cut(head, found):
            head = os.pread(fd, 8 * len(head), 0)
            found = kept.parse(head)
        if found is None or _is_mbox(head, found):
            return None
        return found, file.st_mtime, file.st_size - found.overhead
    finally:
        os.close(fd)


def _is_mbox(head: bytes, found: Kept) -> bool:
    """Tell whether a file that begins with a kept message is an mbox, of which that is only the first.

    Taken for one message, all others would go where that goes.
    """
    return head.startswith(b"From ") and (found.delivered or not _LINE_OF_PIPE.match(head))


def _spans(fd: int) -> Iterator[Span]:
    """Yield where each entry of an mbox begins and ends."""
    start, place = -1, 0
    with _reader(fd) as file:
        for line in file:
            if line.startswith(b"From "):
                if start >= 0:
                    yield start, place
                start = place
            place += len(line)
    if start >= 0:
        yield start, place


def _parse(fd: int, span: Span) -> Kept | None:
    """Return what an mbox entry says of itself."""
    start, end = span
    size = kept.HEAD
    while True:
        head = kept.from_mbox(os.pread(fd, min(size, end - start), start))
        found = kept.parse(head)
        if size >= min(end - start, kept.HEAD_MAX) or not kept.is_cut(head, found):
            return found
        size *= 8


@contextlib.contextmanager
def _reader(fd: int) -> Iterator[BinaryIO]:
    """Read a file from its start; it is not closed, nor is a copy of it: that would end its lock."""
    with open(fd, "rb", closefd=False) as file:
        file.seek(0)
        yield file


def _time(entry: bytes, otherwise: float) -> float:
    """Return when an mbox entry was kept: its first line ends with the time in UTC, as asctime(3) writes it.

    `otherwise`: when it was there at the latest, for a line that another program has written.
    """
    words = entry.partition(b"\n")[0].decode("ascii", "replace").split()
    try:
        month, day, clock, year = words[-4:]
        hour, minute, second = map(int, clock.split(":"))
        return calendar.timegm((int(year), _MONTHS.index(month) + 1, int(day), hour, minute, second))
    except (ValueError, OverflowError):
        return otherwise


def _copy(source: int, target: int, place: int, end: int) -> None:
    while place < end:
        chunk = os.pread(source, min(_CHUNK, end - place), place)
        if not chunk:
            raise OSError("the file was cut off meanwhile")
        place += len(chunk)
        while chunk:
            chunk = chunk[os.write(target, chunk) :]


def _gone(entry: Entry) -> Deferred:
    return Deferred(f"{entry.kept.id}: is not in {entry.store.destination} any more")
