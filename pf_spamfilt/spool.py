"""The message: from stdin into a file that can be rewound, whole, before anything else is started.

Up to a limit it is in memory (and needs no writable directory), past that in a file without a name. It is never
changed: what must differ is a new file. A feeder that vanished may have left us half a message: that defers.
"""

import posix
import select
import stat
import time

from pf_spamfilt import headers
from pf_spamfilt.exits import Deferred, system_error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader

_CHUNK = 65536
# So much of a large message is looked at as its header, in bytes.
_HEADER_MAX = 1 << 18
_EMPTY = "the message is empty"


class Message:
    """A whole message in the file `fd`: `size` bytes, of which `head` holds the first, all of them if `in_memory`.

    In memory is what is not larger than the limit for a scan.
    """

    __slots__ = ("fd", "head", "in_memory", "size")

    def __init__(self, fd: int, head: bytes, size: int, in_memory: bool) -> None:
        self.fd = fd
        self.head = head
        self.size = size
        self.in_memory = in_memory

    def close(self) -> None:
        """Close the file: its bytes are gone, but for those at hand."""
        posix.close(self.fd)


class Feeder:
    """Whoever writes the message into our stdin: pipe(8), local(8), a shell.

    When Postfix stops in the middle of a message, the filter sees an ordinary end of file. Its feeder is gone then:
    stdout has no reader any more, or who was its child has a new parent: the launcher, and the leader of our session,
    whom it has started. What is between the two, such as shells and procmail's clones, may end when it likes.
    """

    def __init__(self, chain: str) -> None:
        """`chain` is `LAUNCHER:FEEDER`, the process ids that the launcher saw, or empty without launcher."""
        launcher, _, parent = chain.partition(":")
        self._launcher = int(launcher or posix.getppid())
        self._may_cut = not stat.S_ISREG(posix.fstat(0).st_mode)
        self._parents = {self._launcher: int(parent)} if parent else {}
        leader = posix.getsid(0)
        if parent and leader != self._launcher:  # under pipe(8) they are one
            self._parents[leader] = _parent(leader)

    def check(self) -> None:
        """Raise Deferred if the feeder is gone. A regular file on stdin has no feeder."""
        if self._may_cut and (self._is_orphaned() or self._is_unread()):
            raise Deferred("the process that feeds this filter, or reads its output, is gone: the message may be cut")

    def _is_orphaned(self) -> bool:
        if posix.getppid() != self._launcher:
            return True
        return any(_parent(process) not in (parent, 0) for process, parent in self._parents.items())

    def _is_unread(self) -> bool:
        poll = select.poll()
        poll.register(1, 0)
        return poll.poll(0) != []


def _parent(process: int) -> int:
    """Return the parent of a process; 0 if that cannot be known."""
    try:
        with open(f"/proc/{process}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:  # no /proc
        return 0


def memory_file() -> int:
    """Open a file in memory; without them, one on disk."""
    try:
        return posix.memfd_create("message")
    except (AttributeError, OSError):
        return disk_file()


def disk_file() -> int:
    """Open a file without a name in TMPDIR, /var/tmp or /tmp."""
    flags = posix.O_RDWR | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC
    failure = OSError()
    for folder in filter(None, (posix.environ.get(b"TMPDIR"), b"/var/tmp", b"/tmp")):
        name = b"%b/pf-spamfilt.%d.%b" % (folder, posix.getpid(), posix.urandom(8).hex().encode())
        try:
            fd = posix.open(name, flags, 0o600)
            posix.unlink(name)
            return fd
        except OSError as error:
            failure = error
    raise system_error("cannot create a temporary file", failure)


def write(fd: int, data: bytes) -> None:
    """Write all of `data`."""
    view = memoryview(data)
    try:
        while view:
            view = view[posix.write(fd, view) :]
    except OSError as error:
        raise system_error("cannot store the message", error) from None


def read(source: int, limit: int, deadline: float) -> Message:
    """Read `source` to its end; what exceeds `limit` bytes is on disk only. Raises Deferred if nothing comes."""
    chunks = _chunks(source, deadline)
    start = bytearray()
    for chunk in chunks:
        start += chunk
        if len(start) > limit:
            break
    if not start:
        raise Deferred(_EMPTY)
    head, in_memory = bytes(start), len(start) <= limit
    fd = memory_file() if in_memory else disk_file()
    write(fd, head)
    for chunk in chunks:
        write(fd, chunk)
    return Message(fd, head, posix.fstat(fd).st_size, in_memory)


def _chunks(source: int, deadline: float) -> "Iterator[bytes]":
    poll = select.poll()
    poll.register(source, select.POLLIN)
    while poll.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
        try:
            chunk = posix.read(source, _CHUNK)
        except OSError as error:
            raise system_error("cannot read the message", error) from None
        if not chunk:
            return
        yield chunk
    raise Deferred("the message did not end in time")


def without_forgery(message: Message, limit: int) -> Message:
    """Return the message without the sender's X-Spam-* fields: the same object if it has none.

    It is in memory if it is not larger than `limit` bytes then. Raises Deferred if nothing is left.
    """
    with open(message.fd, "rb", closefd=False) as source:
        source.seek(0)
        if not any(forged for _, forged in headers.sift(source)):
            return message
        source.seek(0)
        fd = memory_file() if message.in_memory else disk_file()
        for piece, forged in headers.sift(source):
            if not forged:
                write(fd, piece)
        _copy(source, fd)
    size = posix.fstat(fd).st_size
    if not size:
        raise Deferred(_EMPTY)
    return from_file(fd, size <= limit)


def _copy(source: "BufferedReader", fd: int) -> None:
    """Copy what is left of `source`."""
    while chunk := source.read(_CHUNK):
        write(fd, chunk)


def head(message: Message) -> bytes:
    """Return all of a message in memory, of any other the first bytes."""
    return message.head if message.in_memory else posix.pread(message.fd, _HEADER_MAX, 0)


def cut(message: Message, size: int) -> Message:
    """Return the first `size` bytes, at the most, of a message that is larger, to the end of a line."""
    start = posix.pread(message.fd, size, 0)
    return from_bytes(start[: start.rfind(b"\n") + 1] or start)


def with_header(message: Message, old: list[bytes], new: list[bytes]) -> Message:
    """Return the message with `new` header fields instead of the `old` ones, with which it begins."""
    if old == new:
        return message
    skipped = sum(map(len, old))
    if not old and head(message)[:1] in (b" ", b"\t"):  # it would become a continuation of the last field
        new = [*new, b"\n"]
    if message.in_memory:
        return from_bytes(b"".join(new) + message.head[skipped:])
    fd = disk_file()
    write(fd, b"".join(new))
    with open(message.fd, "rb", closefd=False) as source:
        source.seek(skipped)
        _copy(source, fd)
    return from_file(fd, in_memory=False)


def from_file(fd: int, in_memory: bool) -> Message:
    """Return what is in the file `fd` as a message, its bytes at hand if `in_memory`."""
    size = posix.fstat(fd).st_size
    return Message(fd, posix.pread(fd, size, 0) if in_memory else b"", size, in_memory)


def from_bytes(data: bytes) -> Message:
    """Return `data` as a message in memory."""
    fd = memory_file()
    write(fd, data)
    return Message(fd, data, len(data), in_memory=True)
