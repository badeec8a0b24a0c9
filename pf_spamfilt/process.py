"""The only place that starts programs: files for stdin and stdout, a deadline, and nothing left behind.

A program runs in a process group of its own, so that it can be ended with all that it started. Its signals are as a
fresh shell would set them, whatever our caller ignored or blocked. What it says goes through a pipe: in a file a
shell's `>/dev/stderr` would cut off what was there.
"""

import _signal  # type: ignore[import-not-found]  # `signal` without its enums, which cost more than our modules
import posix
import select
import time

from pf_spamfilt import report
from pf_spamfilt.exits import Deferred, Stopped, system_error

# How long a program may take to die of SIGTERM before SIGKILL ends it, in seconds.
GRACE = 2.0
# How much a program may write that is not a message, in bytes.
OUTPUT_LIMIT = 1 << 20
_PIPE = 1 << 16
_WAKE = 0.05
_STOPPING = (_signal.SIGHUP, _signal.SIGINT, _signal.SIGTERM)
_RESET = (
    _signal.SIGCHLD,
    _signal.SIGHUP,
    _signal.SIGINT,
    _signal.SIGPIPE,
    _signal.SIGQUIT,
    _signal.SIGTERM,
    _signal.SIGXFSZ,
)


def encode(words: list[str]) -> list[bytes]:
    """Return arguments as the bytes that they are: those that are not UTF-8 stand in a str as surrogates."""
    return [word.encode("utf-8", "surrogateescape") for word in words]


class Finished:
    """A program that ended by itself: exit status, or minus a signal, and what it said."""

    __slots__ = ("said", "status")

    def __init__(self, status: int, said: bytes) -> None:
        self.status = status
        self.said = said


class TimedOut(Deferred):
    """The program had to be ended: it took longer than it was given, or wrote without end."""


def prepare() -> None:
    """Let a signal that asks us to stop raise Stopped, and undo what a caller may have ignored.

    With SIGCHLD ignored a program's status would be lost; a shell ignores SIGINT and SIGQUIT for what it runs in the
    background, as the launcher does. SIGHUP stays ignored: that is nohup(1).
    """
    _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
    _signal.signal(_signal.SIGQUIT, _signal.SIG_DFL)
    for signal in _STOPPING:
        if signal != _signal.SIGHUP or _signal.getsignal(signal) != _signal.SIG_IGN:
            _signal.signal(signal, _stop)


def _stop(number: int, _frame: object) -> None:
    raise Stopped(f"stopped by signal {number}")


def hold_signals() -> None:
    """Let no signal but SIGKILL end this process from now on: what it says next must be true."""
    _signal.pthread_sigmask(_signal.SIG_BLOCK, (*_STOPPING, _signal.SIGQUIT))


def run(
    argv: list[bytes],
    stdin: int,
    deadline: float,
    stdout: int = -1,
    limit: int = OUTPUT_LIMIT,
    to_end: bool = False,
) -> Finished:
    """Run `argv` to its end and return its exit status, or minus the signal that killed it, and what it said.

    `stdin` is a file, read from its start, and `stdout` another. Without `stdout` both outputs are captured, otherwise
    only stderr is. `deadline` is a time.monotonic(): past it, or when there are more than `limit` bytes in stdout or
    OUTPUT_LIMIT in what is captured, the program is ended and TimedOut raised. Raises Deferred if it cannot be started.
    With `to_end` what it has left in the background may go on to write: that is waited for, but for no status.
    """
    words = _Words()
    try:
        posix.lseek(stdin, 0, 0)
        # A signal between start and try would leave the program behind.
        before = _signal.pthread_sigmask(_signal.SIG_BLOCK, _STOPPING)
        try:
            pid = _start(argv, stdin, words.end if stdout < 0 else stdout, words.end)
        except BaseException:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
            raise
        try:
            _signal.pthread_sigmask(_signal.SIG_SETMASK, before)
            status = _wait(pid, report.printable(argv[0]), deadline, words, stdout, limit)
        except BaseException:
            _end(pid)
            raise
        words.read()
        if to_end:
            words.read_to_end(deadline)
        return Finished(posix.waitstatus_to_exitcode(status), bytes(words.said))
    finally:
        words.close()


class _Words:
    """What a program says: it comes from `begin` to `end` of a pipe, and is `said`, of which OUTPUT_LIMIT is enough."""

    __slots__ = ("begin", "end", "said")

    def __init__(self) -> None:
        try:
            self.begin, self.end = posix.pipe()
        except OSError as error:
            raise system_error("cannot make a pipe", error) from None
        posix.set_blocking(self.begin, False)
        posix.fchmod(self.end, 0o622)  # a program that has become another account may open /dev/stderr anew
        self.said = bytearray()

    def read(self) -> None:
        """Read what is there."""
        try:
            while len(self.said) <= OUTPUT_LIMIT:
                self.said += posix.read(self.begin, _PIPE)
        except BlockingIOError:
            pass

    def read_to_end(self, deadline: float) -> None:
        """Read until nobody writes any more: who did, without a reader, would die of it."""
        posix.close(self.end)
        self.end = -1
        poll = select.poll()
        poll.register(self.begin, select.POLLIN)
        while poll.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
            if not (more := posix.read(self.begin, _PIPE)):
                return
            self.said += more[: max(0, OUTPUT_LIMIT - len(self.said))]

    def close(self) -> None:
        """Close the pipe."""
        posix.close(self.begin)
        if self.end >= 0:
            posix.close(self.end)


def _start(argv: list[bytes], *files: int) -> int:
    try:
        return posix.posix_spawnp(
            argv[0],
            argv,
            posix.environ,
            file_actions=[(posix.POSIX_SPAWN_DUP2, fd, to) for to, fd in enumerate(files)],
            setpgroup=0,
            setsigmask=(),
            setsigdef=_RESET,
        )
    except OSError as error:
        raise system_error(f"cannot run {report.printable(argv[0])}", error) from None


def _wait(pid: int, name: str, deadline: float, words: _Words, stdout: int, limit: int) -> int:
    """Return the wait status; raise TimedOut when the program must be ended."""
    poll = select.poll()
    poll.register(words.begin, select.POLLIN)
    pause = _WAKE
    try:
        watch = posix.pidfd_open(pid)
        poll.register(watch, select.POLLIN)
    except (AttributeError, OSError):  # not Linux, or an old one: look again and again
        watch, pause = -1, 0.01
    try:
        while True:
            done, status = posix.waitpid(pid, posix.WNOHANG)
            if done:
                return status
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimedOut(f"{name} took too long")
            words.read()
            if len(words.said) > OUTPUT_LIMIT or (stdout >= 0 and posix.fstat(stdout).st_size > limit):
                raise TimedOut(f"{name} wrote without end")
            poll.poll(1000 * min(left, pause))
    finally:
        if watch >= 0:
            posix.close(watch)


def _end(pid: int) -> None:
    """End process group `pid`: by SIGTERM, so that postdrop(1) takes its file away, and what is left by SIGKILL.

    It is not waited for longer than that takes: a child's child can stay as a zombie, and any can hang in the kernel.
    What has become another account, as sudo(8) does, is not ours to end.
    """
    try:
        for signal, patience in ((_signal.SIGTERM, GRACE), (_signal.SIGKILL, GRACE / 4)):
            until = time.monotonic() + patience
            posix.killpg(pid, signal)
            while time.monotonic() < until:
                _reap(pid)
                posix.killpg(pid, 0)
                time.sleep(0.01)
    except (ProcessLookupError, PermissionError):
        pass


def _reap(pid: int) -> None:
    try:
        posix.waitpid(pid, posix.WNOHANG)
    except ChildProcessError:
        pass
