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
_LOCK_MARK = b"pf-spamfilt"
_FOLDER = posix.O_RDONLY | posix.O_DIRECTORY | posix.O_NOFOLLOW | posix.O_CLOEXEC
_NEW_FILE = posix.O_RDWR | posix.O_CREAT | posix.O_EXCL | posix.O_NOFOLLOW | posix.O_CLOEXEC
_CHUNK = 1 << 20


def check(destination: str) -> None:
    """Raise Ended, and say what is wrong, if a message could not be kept in `destination`; change nothing."""
    _store(destination).check()


def keep(destination: str, message: "Message", name: str, template: str) -> "Undo":
    """Store a message in `destination` under its id `name`; return what takes it out again. Raises Ended.

    `template` makes the file's name in a folder: see file_name.
    """
    return _store(destination).keep(message, name, template)


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

    def failed(self, error: OSError) -> Deferred:
        """Return the error for what the system refuses."""
        return system_error(f'quarantine "{self.destination}"', error)

    def open_folder(self, path: bytes, make: bool = False) -> int:
        """Open a folder that nobody but us and root can write to; `make` it if it is not there. Raises Ended."""
        try:
            if make and not _exists(path):
                _make_folder(path)
            fd = posix.open(path, _FOLDER)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.ENOTDIR) and _exists(path):
                raise self.refuse("is a symbolic link or no folder: name the folder itself", path) from None
            raise self.failed(error) from None
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
            place = path if not make or _exists(path) else path.rpartition(b"/")[0] or b"/"
            if place == path:
                posix.close(self.open_folder(path))
            if not posix.access(place, posix.W_OK | posix.X_OK):
                reason = posix.strerror(errno.EACCES if _exists(place) else errno.ENOENT)
                raise self.refuse(reason if place == path else f"cannot be made: {reason}", path)
        except OSError as error:
            raise self.failed(error) from None

    def check(self) -> None:
        """Raise Ended if a message could not be kept."""
        raise NotImplementedError

    def keep(self, message: "Message", name: str, template: str) -> "Undo":
        """Store a message; return what takes it out again. Raises Ended."""
        raise NotImplementedError


class Folder(Store):
    """`dir:`: a file a message. Names that begin with a dot are temporary."""

    def check(self) -> None:
        """Raise Ended if a message could not be kept."""
        self.check_folder(self.path, make=True)

    def keep(self, message: "Message", name: str, template: str) -> "Undo":
        """Store a message under the name that `template` makes, with the id after it where that is taken."""
        folder = self.open_folder(self.path, make=True)
        digest = _body_digest(message) if "%b" in template else ""
        target = file_name(template, name, digest, time.time()).encode("utf-8", "surrogateescape")
        return self.place(message, (folder, b"." + name.encode()), (folder, target), name)

    def place(self, message: "Message", temporary: tuple[int, bytes], final: tuple[int, bytes], name: str) -> "Undo":
        """Write a file under a temporary name, then give it its final one; each is an open folder and a name."""
        try:
            fd = posix.open(temporary[1], _NEW_FILE, 0o600, dir_fd=temporary[0])
            try:
                _copy(message.fd, fd)
                posix.fsync(fd)
                posix.close(fd)
                final = _link(temporary, final, name.encode())
            finally:
                _remove(*temporary)
            try:
                posix.fsync(final[0])
            except OSError:
                _remove(*final)
                raise
        except OSError as error:
            raise self.failed(error) from None
        return lambda: _remove(*final)


class Maildir(Folder):
    """`maildir:`: as any mail program and server reads it."""

    def check(self) -> None:
        """Raise Ended if a message could not be kept."""
        self.check_folder(self.path, make=True)
        if _exists(self.path):
            for part in (b"tmp", b"new"):
                self.check_folder(self.path + b"/" + part, make=True)

    def keep(self, message: "Message", name: str, template: str) -> "Undo":  # noqa: ARG002
        """Store a message in `new`, by way of `tmp`."""
        posix.close(self.open_folder(self.path, make=True))
        tmp, new, _ = [self.open_folder(self.path + b"/" + part, make=True) for part in (b"tmp", b"new", b"cur")]
        host = posix.uname().nodename.replace("/", "\\057").replace(":", "\\072")
        target = f"{int(time.time())}.{name}.{host}".encode()
        return self.place(message, (tmp, target), (new, target), name)


class Mbox(Store):
    """`mbox:`: in the mboxrd form: a line that begins with "From ", or with ">" before it, has one more ">"."""

    def check(self) -> None:
        """Raise Ended if a message could not be kept."""
        self.check_folder(self.folder)
        try:
            file = posix.stat(self.path, follow_symlinks=False)
        except OSError:
            return
        self.check_file(file)

    def check_file(self, file: posix.stat_result) -> None:
        """Raise SettingsError if this is not a file of ours alone."""
        if not stat.S_ISREG(file.st_mode) or file.st_nlink != 1:
            raise self.refuse("is not a plain file with one name", self.path)
        self.check_owner(file, self.path)

    def keep(self, message: "Message", name: str, template: str) -> "Undo":  # noqa: ARG002
        """Append a message; what was written of it is taken back if that fails."""
        entry = _entry(message)
        try:
            with locked(self.destination) as lock:
                before = posix.fstat(lock.fd).st_size
                gap = _gap(lock.fd, before)
                length = len(gap) + posix.fstat(entry).st_size
                lock.announce(before, length)
                _append(lock.fd, before, gap, entry)
        except OSError as error:
            raise self.failed(error) from None
        finally:
            posix.close(entry)
        return lambda: self._take_back(before, length)

    def _take_back(self, before: int, length: int) -> None:
        """Take out the last message, if nothing has come after it."""
        with locked(self.destination) as lock:
            if posix.fstat(lock.fd).st_size == before + length:
                posix.ftruncate(lock.fd, before)

    @property
    def folder(self) -> bytes:
        """The folder that the file is in."""
        return self.path.rpartition(b"/")[0] or b"/"


def locked(destination: str) -> "Lock":
    """Return the lock of an mbox, for a `with` block: nobody else changes the file inside it. Raises Ended.

    What a writer that was killed left half written is taken out first.
    """
    store = _store(destination)
    assert isinstance(store, Mbox)
    return Lock(store)


class Lock:
    """An mbox under both locks that mail programs use, fcntl(2) and PATH.lock; `fd` is the file, open to append.

    The first one ends with its process. So whoever has it knows that a PATH.lock of ours is a dead process's, and
    finds in it how long the file was, and how much was to be added.
    """

    def __init__(self, store: Mbox) -> None:
        self.fd = -1
        self._store = store
        self._path = store.path
        self._name = store.path + b".lock"
        self._new_name = self._name + b".new"
        self._until = time.monotonic() + PATIENCE

    def __enter__(self) -> "Lock":
        posix.close(self._store.open_folder(self._store.folder))
        try:
            self._lock()
            while not self._lock_name():
                self._wait("is locked by another program: see who holds it, or remove its .lock")
        except OSError as error:
            self._close()
            raise self._store.failed(error) from None
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        _remove(None, self._name)
        self._close()

    def announce(self, size: int, length: int) -> None:
        """Say, safe on disk, that `length` bytes are added to a file of `size` bytes."""
        self._write_name(b"%d %d" % (size, length))
        posix.rename(self._new_name, self._name)
        _sync_folder(self._store.folder)

    def _lock(self) -> None:
        """Open the file and take its fcntl lock; again, if it was replaced meanwhile."""
        while True:
            flags = (
                posix.O_RDWR | posix.O_APPEND | posix.O_CREAT | posix.O_NOFOLLOW | posix.O_CLOEXEC | posix.O_NONBLOCK
            )
            self.fd = posix.open(self._path, flags, 0o600)
            self._store.check_file(posix.fstat(self.fd))
            while not self._try_lock():
                self._wait("is locked by another program")
            if _exists(self._path) and posix.stat(self._path).st_ino == posix.fstat(self.fd).st_ino:
                return
            self._close()

    def _try_lock(self) -> bool:
        try:
            fcntl.lockf(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            raise
        return True

    def _lock_name(self) -> bool:
        """Make PATH.lock; one that a dead process has left is taken away, with what that has left in the file."""
        self._write_name(b"")
        try:
            posix.link(self._new_name, self._name)
        except FileExistsError:
            self._repair()
            return False
        finally:
            _remove(None, self._new_name)
        return True

    def _write_name(self, text: bytes) -> None:
        """Write what becomes PATH.lock: it is never seen half written."""
        _remove(None, self._new_name)
        fd = posix.open(self._new_name, _NEW_FILE, 0o600)
        try:
            _write(fd, b"%b %d %b\n" % (_LOCK_MARK, posix.getpid(), text))
            posix.fsync(fd)
        finally:
            posix.close(fd)

    def _repair(self) -> None:
        try:
            with open(self._name, "rb") as file:
                words = file.read(200).split()
            age = time.time() - posix.stat(self._name).st_mtime
        except FileNotFoundError:
            return
        if words[:1] != [_LOCK_MARK] and age < STALE:
            return
        if len(words) == 4:
            _cut_off(self.fd, int(words[2]), int(words[3]))
        posix.unlink(self._name)

    def _wait(self, what: str) -> None:
        if time.monotonic() > self._until:
            raise Deferred(f'quarantine "{self._store.destination}": {what}')
        time.sleep(0.05)

    def _close(self) -> None:
        if self.fd >= 0:
            posix.close(self.fd)
        self.fd = -1


def _cut_off(fd: int, size: int, length: int) -> None:
    """Take out what a writer left of `length` bytes after the first `size`, unless more messages follow it."""
    now = posix.fstat(fd).st_size
    if size < now < size + length and b"\nFrom " not in posix.pread(fd, now - size, size)[1:]:
        posix.ftruncate(fd, size)
        posix.fsync(fd)


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


def _append(fd: int, before: int, gap: bytes, entry: int) -> None:
    """Append an entry to a file of `before` bytes, to the disk; or raise OSError, and it is as it was."""
    try:
        _write(fd, gap)
        _copy(entry, fd)
        posix.fsync(fd)
    except BaseException:
        posix.ftruncate(fd, before)
        raise


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


def _link(temporary: tuple[int, bytes], final: tuple[int, bytes], name: bytes) -> tuple[int, bytes]:
    """Give a file its final name, which no file loses by it; return what it is."""
    for target in (final[1], final[1] + b"-" + name):
        try:
            posix.link(temporary[1], target, src_dir_fd=temporary[0], dst_dir_fd=final[0])
        except FileExistsError:
            continue
        return final[0], target
    raise FileExistsError(errno.EEXIST, posix.strerror(errno.EEXIST))


def _remove(folder: int | None, name: bytes) -> None:
    try:
        posix.unlink(name, dir_fd=folder)
    except OSError:
        pass


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
        return
    _sync_folder(path.rpartition(b"/")[0] or b"/")


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
