"""The quarantine's stores in the file system: a message is in one of them whole and safe on disk, or not at all.

A folder's file is written under a temporary name, and gets its own when all of it is on disk. An mbox is locked, and
what a writer left half done in it is taken out by the next one. What others could write to, or a symbolic link, is
refused. Whatever fails raises Ended, and Postfix tries again. Imported only where something is kept.
"""

import errno
import fcntl
import posix
import stat
import time

from pf_spamfilt import spool
from pf_spamfilt.exits import Deferred, SettingsError, system_error
from pf_spamfilt.settings import STORES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pf_spamfilt.spool import Message

    # Takes a message out again that was kept.
    Undo = Callable[[], None]

MAILDIR, MBOX, DIR = STORES
# How long to wait for an mbox that another process has locked, and when a lock is nobody's any more, in seconds; the
# second is Postfix's stale_lock_time.
PATIENCE = 20.0
STALE = 500
# How long an mbox is waited for to take a message out of it again, in seconds.
_PATIENCE_TO_UNDO = 1.0
_LOCK_MARK = b"pf-spamfilt"
# How much of an mbox's new message is written down, to know it by: more than the id on its top.
_START = 200
_FOLDER = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
_NEW_FILE = posix.O_RDWR | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
_CHUNK = 1 << 20


def check(destination: str) -> None:
    """Raise Ended, and say what is wrong, if a message could not be kept in `destination`; change nothing."""
    _store(destination).check()


def keep(destination: str, message: "Message", name: str, template: str, deadline: float) -> "Undo":
    """Store a message in `destination` under its id `name`; return what takes it out again. Raises Ended.

    `template` makes the file's name in a folder: see file_name. Past `deadline`, a time.monotonic(), nothing is waited
    for. What is returned may raise Ended or OSError: then the message is still there.
    """
    return _store(destination).keep(message, name, template, deadline)


def file_name(template: str, name: str, digest: str, seconds: float) -> str:
    """Return a file's name: %b is the digest of the body, %i the time (ISO 8601, UTC), %n the id `name`."""
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))
    return template.replace("%n", name).replace("%i", moment).replace("%b", digest)


def _store(destination: str) -> "Store":
    kind, _, path = destination.partition(":")
    return {MAILDIR: Maildir, DIR: Folder, MBOX: Mbox}[kind + ":"](destination, path)


class Store:
    """A store by its name in the settings, and its path (bytes) without slashes at the end."""

    def __init__(self, destination: str, path: str) -> None:
        self.destination = destination
        self.path = path.encode("utf-8", "surrogateescape").rstrip(b"/") or b"/"

    def refuse(self, what: str, path: bytes) -> SettingsError:
        """Return the error for something that a person has to mend."""
        where = "" if path == self.path else f"{path.decode('utf-8', 'replace')} "
        return SettingsError(f'quarantine "{self.destination}": {where}{what}')

    def failed(self, error: OSError, path: bytes = b"") -> Deferred:
        """Return the error for what the system refuses."""
        where = "" if path in (b"", self.path) else f": {path.decode('utf-8', 'replace')}"
        return system_error(f'quarantine "{self.destination}"{where}', error)

    def open_folder(self, path: bytes, make: bool = False) -> int:
        """Open a folder that nobody but us and root can write to; `make` it if it is not there. Raises Ended."""
        try:
            if make and not _exists(path):
                _make_folder(path)
            fd = posix.open(path, _FOLDER)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR) and _exists(path):
                raise self.refuse("is a symbolic link or no folder: name the folder itself", path) from None
            raise self.failed(error, path) from None
        try:
            self.check_owner(posix.fstat(fd), path)
        except SettingsError:
            posix.close(fd)
            raise
        return fd

    def check_owner(self, file: posix.stat_result, path: bytes) -> None:
        """Raise SettingsError if another account than ours and root's could change what is kept here."""
        if file.st_uid not in (0, posix.geteuid()):
            raise self.refuse(f"belongs to user id {file.st_uid}: chown it to user id {posix.geteuid()}", path)
        if file.st_mode & 0o022:
            mode = stat.S_IMODE(file.st_mode)
            raise self.refuse(f"can be written to by others (mode {mode:04o}): chmod go-w", path)

    def check_folder(self, path: bytes, make: bool = False) -> None:
        """Raise Ended if nothing could be stored in a folder; with `make` it may be still to make."""
        try:
            place = path if not make or _exists(path) else _parent(path)
            if place == path:
                _close(self.open_folder(path))
            if reason := _why_not(place, posix.W_OK | posix.X_OK):
                raise self.refuse(reason if place == path else f"cannot be made: {reason}", path)
        except OSError as error:
            raise self.failed(error, path) from None

    def check(self) -> None:
        """Raise Ended if a message could not be kept."""
        raise NotImplementedError

    def keep(self, message: "Message", name: str, template: str, deadline: float) -> "Undo":
        """Store a message; return what takes it out again. Raises Ended."""
        raise NotImplementedError


class Folder(Store):
    """`dir:`: a file a message. Names that begin with a dot are temporary."""

    def check(self) -> None:
        """Raise Ended if a message could not be kept."""
        self.check_folder(self.path, make=True)

    def keep(self, message: "Message", name: str, template: str, deadline: float) -> "Undo":  # noqa: ARG002
        """Store a message under the name that `template` makes, with the id after it where that is taken."""
        folder = self.open_folder(self.path, make=True)
        try:
            digest = _body_digest(message) if "%b" in template else ""
            target = file_name(template, name, digest, time.time()).encode("utf-8", "surrogateescape")
            self.sync_parent(self.path)
            return self.place(message, (folder, b"." + name.encode()), (folder, target), self.path)
        finally:
            _close(folder)

    def place(self, message: "Message", temporary: tuple[int, bytes], final: tuple[int, bytes], path: bytes) -> "Undo":
        """Write a file under a temporary name, then give it its final one; each is an open folder and a name.

        `path` is that of the final one's folder.
        """
        try:
            fd = posix.open(temporary[1], _NEW_FILE, 0o600, dir_fd=temporary[0])
            try:
                _fill(fd, message.fd)
                written = _identity(temporary[1], temporary[0])
                name = self.link(temporary, final)
            finally:
                _remove(*temporary)
            try:
                posix.fsync(final[0])
            except OSError:
                _remove(final[0], name)
                raise
        except OSError as error:
            raise self.failed(error) from None
        return lambda: _take_out(path + b"/" + name, written)

    def link(self, temporary: tuple[int, bytes], final: tuple[int, bytes]) -> bytes:
        """Give a file its final name, which no file loses by it; return that. Raises OSError."""
        for name in (final[1], final[1] + b"-" + temporary[1].lstrip(b".")):
            try:
                posix.link(temporary[1], name, src_dir_fd=temporary[0], dst_dir_fd=final[0])
            except FileExistsError:
                continue
            except PermissionError:  # we could write there: it is not the permissions
                raise self.refuse("is on a file system without hard links: choose another", self.path) from None
            return name
        raise FileExistsError(errno.EEXIST, posix.strerror(errno.EEXIST))

    def sync_parent(self, path: bytes) -> None:
        """See to it that the name of a folder is on disk: who made it may have been killed before that. Raises Ended.

        A parent that we may not read is not ours to make folders in: a person did that.
        """
        try:
            _sync_folder(_parent(path))
        except PermissionError:
            pass
        except OSError as error:
            raise self.failed(error) from None


class Maildir(Folder):
    """`maildir:`: as any mail program and server reads it."""

    parts = (b"/tmp", b"/new", b"/cur")

    def check(self) -> None:
        """Raise Ended if a message could not be kept."""
        self.check_folder(self.path, make=True)
        if _exists(self.path):
            for part in self.parts:
                self.check_folder(self.path + part, make=True)

    def keep(self, message: "Message", name: str, template: str, deadline: float) -> "Undo":  # noqa: ARG002
        """Store a message in `new`, by way of `tmp`."""
        host = posix.uname().nodename.replace("/", "\\057").replace(":", "\\072")
        target = f"{int(time.time())}.{name}.{host}".encode()
        folders: list[int] = []
        try:
            for part in (b"", *self.parts):
                folders.append(self.open_folder(self.path + part, make=True))
            _, tmp, new, _ = folders
            for folder in (self.path, self.path + b"/new"):
                self.sync_parent(folder)
            return self.place(message, (tmp, target), (new, target), self.path + b"/new")
        finally:
            for fd in folders:
                _close(fd)


class Mbox(Store):
    """`mbox:`: in the mboxrd form: a line that begins with "From ", or with ">" before it, has one more ">"."""

    def check(self) -> None:
        """Raise Ended if a message could not be kept."""
        self.check_folder(self.folder)
        try:
            self.check_file(posix.stat(self.path, follow_symlinks=False))
            if reason := _why_not(self.path, posix.R_OK | posix.W_OK):
                raise self.refuse(reason, self.path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise self.failed(error) from None

    def check_file(self, file: posix.stat_result) -> None:
        """Raise SettingsError if this is not a file of ours alone."""
        if not stat.S_ISREG(file.st_mode) or file.st_nlink != 1:
            raise self.refuse("is not a plain file with one name", self.path)
        self.check_owner(file, self.path)

    def keep(self, message: "Message", name: str, template: str, deadline: float) -> "Undo":  # noqa: ARG002
        """Append a message; what was written of it is taken back if that fails."""
        entry = _entry(message)
        try:
            with locked(self.destination, deadline) as lock:
                added = lock.append(entry)
        except OSError as error:
            raise self.failed(error) from None
        finally:
            _close(entry)
        return lambda: self._take_back(added)

    def _take_back(self, added: "Added") -> None:
        """Take out the last message, if nothing has come after it."""
        with locked(self.destination, time.monotonic() + _PATIENCE_TO_UNDO) as lock:
            if posix.fstat(lock.fd).st_size == added.size + added.length and added.begins(lock.fd):
                posix.ftruncate(lock.fd, added.size)

    @property
    def folder(self) -> bytes:
        """The folder that the file is in."""
        return _parent(self.path)


class Added:
    """What is added to an mbox of `size` bytes: so many bytes, of which `start` holds the first."""

    def __init__(self, size: int, length: int, start: bytes) -> None:
        self.size = size
        self.length = length
        self.start = start

    def begins(self, fd: int) -> bool:
        """Tell whether this is what comes after the first `size` bytes of a file, as far as there is any."""
        return self.start.startswith(posix.pread(fd, len(self.start), self.size))

    def cut_off(self, fd: int) -> None:
        """Take out what there is of it, if that is not all: but not if other messages follow, or the file was changed.

        Raises OSError.
        """
        now = posix.fstat(fd).st_size
        is_part = self.size < now < self.size + self.length and self.begins(fd)
        if is_part and b"\nFrom " not in posix.pread(fd, now - self.size, self.size + len(self.start) - 1):
            posix.ftruncate(fd, self.size)
            posix.fsync(fd)


def locked(destination: str, deadline: float = float("inf")) -> "Lock":
    """Return the lock of an mbox, for a `with` block: nobody else changes the file inside it. Raises Ended.

    What a writer that was killed left half written is taken out first. The file must be opened and closed nowhere else
    inside the block: that would end the lock. It is waited for until `deadline`, a time.monotonic(), at the latest.
    """
    store = _store(destination)
    assert isinstance(store, Mbox)
    return Lock(store, deadline)


class Lock:
    """An mbox under both locks that mail programs use, fcntl(2) and PATH.lock; `fd` is the file, open to append.

    The first one ends with its process. So whoever has it knows that a PATH.lock of this host's filters is a dead
    process's, and finds in it what was to be added. Neither is held while the other is waited for: most programs take
    them the other way round.
    """

    def __init__(self, store: Mbox, deadline: float) -> None:
        self.fd = -1
        self._store = store
        self._name = store.path + b".lock"
        self._new_name = self._name + b".new"
        self._until = min(time.monotonic() + PATIENCE, deadline)
        self._mark = b"%b %b" % (_LOCK_MARK, posix.uname().nodename.encode("utf-8", "surrogateescape"))
        self._is_half_done = False

    def __enter__(self) -> "Lock":
        try:
            _close(self._store.open_folder(self._store.folder))
            while not (self._lock() and self._lock_name()):
                self._close()
                self._wait()
        except OSError as error:
            self._close()
            raise self._store.failed(error) from None
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        _remove(None, self._new_name)
        if not self._is_half_done:
            _remove(None, self._name)
        self._close()

    def append(self, entry: int) -> Added:
        """Append the message in the file `entry`, to the disk, and return what was added.

        If it raises OSError, the mbox is as it was; or at least PATH.lock stays, and the next who takes the lock mends
        it.
        """
        before = posix.fstat(self.fd).st_size
        gap = _gap(self.fd, before)
        added = Added(before, len(gap) + posix.fstat(entry).st_size, gap + posix.pread(entry, _START, 0))
        self._announce(added)
        self._is_half_done = True
        try:
            _write(self.fd, gap)
            _copy(entry, self.fd)
            posix.fsync(self.fd)
        except BaseException:
            posix.ftruncate(self.fd, before)
            posix.fsync(self.fd)
            self._is_half_done = False
            raise
        self._is_half_done = False
        return added

    def _announce(self, added: Added) -> None:
        """Write down, safe on disk, what is to be added."""
        self._write_name(b"%d %d\n%b" % (added.size, added.length, added.start))
        posix.rename(self._new_name, self._name)
        _sync_folder(self._store.folder)

    def _lock(self) -> bool:
        """Open the file and take its fcntl lock; tell whether that worked, and this is still the file."""
        flags = posix.O_RDWR | posix.O_APPEND | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_CLOEXEC | posix.O_NONBLOCK
        self.fd = posix.open(self._store.path, flags, 0o600)
        file = posix.fstat(self.fd)
        self._store.check_file(file)
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return posix.stat(self._store.path).st_ino == file.st_ino
        except FileNotFoundError:
            return False
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise

    def _lock_name(self) -> bool:
        """Make PATH.lock, and tell whether that worked; one that nobody needs any more is taken away."""
        try:
            self._write_name(b"")
            return self._link_name()
        finally:
            _remove(None, self._new_name)

    def _link_name(self) -> bool:
        try:
            posix.link(self._new_name, self._name)
        except FileExistsError:
            self._repair()
            return False
        return True

    def _write_name(self, text: bytes) -> None:
        """Write what becomes PATH.lock: it is never seen half written."""
        _remove(None, self._new_name)
        fd = posix.open(self._new_name, _NEW_FILE, 0o600)
        try:
            _write(fd, b"%b %d %b" % (self._mark, posix.getpid(), text))
            posix.fsync(fd)
        finally:
            posix.close(fd)

    def _repair(self) -> None:
        """Take away a PATH.lock of a dead process, with what that has left in the file, or one that is forgotten."""
        try:
            text = self._read_name()
            age = time.time() - posix.stat(self._name, follow_symlinks=False).st_mtime
        except FileNotFoundError:
            return
        line, _, start = text.partition(b"\n")
        words = line.split()
        if words[:2] != self._mark.split() and age < STALE:
            return
        if words[:1] == [_LOCK_MARK] and len(words) == 5:
            Added(int(words[3]), int(words[4]), start).cut_off(self.fd)
        posix.unlink(self._name)

    def _read_name(self) -> bytes:
        """Return what is in PATH.lock; nothing if it cannot be read, as Postfix's own. Raises FileNotFoundError."""
        fd = -1
        try:
            fd = posix.open(self._name, posix.O_RDONLY | posix.O_NOFOLLOW | posix.O_NONBLOCK | posix.O_CLOEXEC)
            return posix.read(fd, 4096)
        except FileNotFoundError:
            raise
        except OSError:
            return b""
        finally:
            if fd >= 0:
                _close(fd)

    def _wait(self) -> None:
        if time.monotonic() > self._until:
            what = "is locked by another program: see who holds it, or remove its .lock if nobody does"
            raise Deferred(f'quarantine "{self._store.destination}": {what}')
        time.sleep(0.05)

    def _close(self) -> None:
        if self.fd >= 0:
            _close(self.fd)
        self.fd = -1


def _entry(message: "Message") -> int:
    """Return a file with the message as it stands in an mbox."""
    fd = spool.memory_file() if message.in_memory else spool.disk_file()
    spool.write(fd, b"From MAILER-DAEMON " + time.asctime(time.gmtime()).encode() + b"\n")
    line = b""
    with open(message.fd, "rb", closefd=False) as source:
        source.seek(0)
        for line in source:
            spool.write(fd, b">" + line if line.lstrip(b">").startswith(b"From ") else line)
    spool.write(fd, b"\n" if line.endswith(b"\n") else b"\n\n")
    return fd


def _gap(fd: int, size: int) -> bytes:
    """Return what is missing between the end of an mbox and its next message: an empty line."""
    end = posix.pread(fd, 2, max(0, size - 2))
    return b"" if end in (b"", b"\n\n") else b"\n" if end.endswith(b"\n") else b"\n\n"


def _copy(source: int, target: int) -> None:
    """Write all of the file `source`, from its start, to `target`. Raises OSError."""
    place = 0
    while chunk := posix.pread(source, _CHUNK, place):
        _write(target, chunk)
        place += len(chunk)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[posix.write(fd, view) :]


def _fill(fd: int, source: int) -> None:
    """Write all of the file `source` to a new file, to the disk, and close that. Raises OSError."""
    try:
        _copy(source, fd)
        posix.fsync(fd)
    except BaseException:
        _close(fd)
        raise
    posix.close(fd)


def _identity(path: bytes, folder: int | None = None) -> tuple[int, ...]:
    """Return what only one file has that was ever here: an inode's number comes again. Raises OSError."""
    file = posix.stat(path, dir_fd=folder, follow_symlinks=False)
    return file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns


def _take_out(path: bytes, identity: tuple[int, ...]) -> None:
    """Remove a file, unless another one has its name by now. Raises OSError."""
    try:
        if _identity(path) == identity:
            posix.unlink(path)
    except FileNotFoundError:
        pass


def _remove(folder: int | None, name: bytes) -> None:
    try:
        posix.unlink(name, dir_fd=folder)
    except OSError:
        pass


def _close(fd: int) -> None:
    """Close a file in which nothing waits to be written."""
    try:
        posix.close(fd)
    except OSError:
        pass


def _parent(path: bytes) -> bytes:
    return path.rpartition(b"/")[0] or b"/"


def _why_not(path: bytes, mode: int) -> str:
    """Return why we have no access to what should be there; empty if we have."""
    if posix.access(path, mode):
        return ""
    if not _exists(path):
        return posix.strerror(errno.ENOENT)
    return posix.strerror(errno.EROFS if posix.statvfs(path).f_flag & posix.ST_RDONLY else errno.EACCES)


def _exists(path: bytes) -> bool:
    """Tell whether there is anything of this name, a dangling link too. Raises OSError if that cannot be seen."""
    try:
        posix.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _make_folder(path: bytes) -> None:
    try:
        posix.mkdir(path, 0o700)
    except FileExistsError:  # another filter was faster
        pass


def _sync_folder(path: bytes) -> None:
    fd = posix.open(path, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
    try:
        posix.fsync(fd)
    finally:
        posix.close(fd)


def _body_digest(message: "Message") -> str:
    """Return the SHA-256 of the message's body, 32 hexadecimal digits of it: the same for the same body."""
    import hashlib

    digest = hashlib.sha256()
    with open(message.fd, "rb", closefd=False) as source:
        source.seek(0)
        for line in source:
            if not line.rstrip(b"\r\n"):
                break
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()[:32]
