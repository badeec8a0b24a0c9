"""A model of what Postfix's pipe(8) does with a command: how it starts it, and what it makes of its end.

Written after postfix 3.7 to 3.10, src/global/pipe_command.c, sys_exits.c and dsn_util.c, and src/util/printable.c.
`judge` is the decision alone, `run` starts a real process as pipe(8) would and judges it. What is modelled and not
obvious:

- Status 0 is a delivery, whatever the command read or wrote; EPIPE while writing the message is no error.
- stdout and stderr are one non-blocking pipe, read up to its end or 4096 bytes, after the whole message is written.
  Any process that keeps it open keeps pipe(8) waiting; the time limit holds for each read, write and wait by itself.
- The output is a C string: a NUL ends it. A status code counts only at its very beginning and before white space, and
  a carriage return has become `_` by then.
- The command inherits an ignored SIGPIPE and the umask of master(8), and leads a session of its own.

Nothing here is ever delivered. A process that outlives `run` is the caller's to find.
"""

import errno
import itertools
import os
import re
import resource
import select
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn

VSTREAM_BUFSIZE = 4096
EX_TEMPFAIL = 75
NO_STATUS = -1

# sys_exits.c: enhanced status code (RFC 3463) and text of each status in sysexits(3).
SYS_EXITS = {
    64: ("5.3.0", "command line usage error"),
    65: ("5.6.0", "data format error"),
    66: ("5.3.0", "cannot open input"),
    67: ("5.1.1", "user unknown"),
    68: ("5.1.2", "host name unknown"),
    69: ("5.3.0", "service unavailable"),
    70: ("5.3.0", "internal software error"),
    71: ("4.3.0", "system resource problem"),
    72: ("5.3.0", "critical OS file missing"),
    73: ("5.2.0", "can't create user output file"),
    74: ("5.3.0", "input/output error"),
    75: ("4.3.0", "temporary failure"),
    76: ("5.5.0", "remote error in protocol"),
    77: ("5.7.0", "permission denied"),
    78: ("5.3.5", "local configuration error"),
}
_DSN = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?= |\Z)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What Postfix does with the message: action is `delivered`, `deferred` or `bounced`."""

    action: str
    dsn: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """How a command is started where that differs from pipe(8)'s ordinary ways.

    `limits` are soft and hard limits by resource number, `closed` descriptors closed before the start, `output` a file
    in place of the output pipe (`|` is a pipe that nobody reads). `setup` is called in the child, with our own
    privileges, before they are dropped. `environ` replaces the whole environment.
    """

    uid: int | None = None
    cwd: str = "/"
    limits: Mapping[int, int] = field(default_factory=dict)
    closed: tuple[int, ...] = ()
    output: str = ""
    ignored: tuple[int, ...] = ()
    default: tuple[int, ...] = ()
    blocked: tuple[int, ...] = ()
    environ: Mapping[str, str] | None = None
    setup: Callable[[], None] | None = None


@dataclass(frozen=True, slots=True)
class Run:
    """One command that has ended: Postfix's decision, the wait status, the output (bytes) and the session's number."""

    outcome: Outcome
    status: int
    output: bytes
    timed_out: bool
    session: int
    seconds: float


def printable(output: bytes) -> str:
    """Return command output as pipe_command.c makes it: a line of printable text, up to the first NUL."""
    text = output[:VSTREAM_BUFSIZE].split(b"\0", 1)[0].decode("utf-8", "surrogateescape")
    return "".join(map(_printable_character, text))


def _printable_character(character: str) -> str:
    if character in "\t\n":
        return " "
    return "_" if character < " " or character == "\x7f" or "\udc80" <= character <= "\udcff" else character


def judge(status: int, output: bytes, *, timed_out: bool = False, command: str = "command") -> Outcome:
    """Decide as pipe_command() does. `status` is a wait status, as os.waitpid returns it."""
    text = printable(output)
    said = f". Command output: {text}" if output else ""
    if timed_out:
        return Outcome("bounced", "5.3.0", f'Command time limit exceeded: "{command}"{said}')
    if status == 0:
        return Outcome("delivered", "2.0.0", text.rstrip()[:100])
    if os.WIFSIGNALED(status):
        return Outcome("deferred", "4.3.0", f'Command died with signal {os.WTERMSIG(status)}: "{command}"{said}')
    code = _DSN.match(text)
    if code:
        return _by_code(code[0], text[code.end() :].lstrip())
    return _by_exit_status(os.WEXITSTATUS(status), command, said)


def _by_exit_status(status: int, command: str, said: str) -> Outcome:
    if status in SYS_EXITS:
        code, text = SYS_EXITS[status]
        return _by_code(code, text + said)
    return Outcome("bounced", "5.3.0", f'Command died with status {status}: "{command}"{said}')


def _by_code(code: str, text: str) -> Outcome:
    """Class 4 defers; every other class bounces, class 2 too: a failure is never a delivery."""
    return Outcome("deferred" if code[0] == "4" else "bounced", code, text)


def run(
    argv: Sequence[str | bytes],
    message: bytes,
    *,
    mail_config: str,
    host: Host | None = None,
    time_limit: float = 1000,
    started: Callable[[int], None] | None = None,
    midway: Callable[[int], None] | None = None,
) -> Run:
    """Run a command on a message as pipe(8) does and judge its end.

    `started` is called with the process number at once, `midway` after half of the message is written.
    """
    begin = time.monotonic()
    host = host or Host()
    pid, to_command, from_command = _start(argv, mail_config, host)
    if started:
        started(pid)
    in_time = _write(to_command, message, time_limit, lambda: midway(pid) if midway else None)
    output, read_in_time = _read(from_command, time_limit if in_time else 0)
    in_time = in_time and read_in_time
    status, ended_in_time = _wait(pid, time_limit, kill=not in_time)
    timed_out = not (in_time and ended_in_time)
    outcome = judge(status, output, timed_out=timed_out, command=os.fsdecode(argv[0]))
    return Run(outcome, status, output, timed_out, pid, time.monotonic() - begin)


def run_cut(
    argv: Sequence[str | bytes],
    part: bytes,
    *,
    mail_config: str,
    host: Host | None = None,
    time_limit: float = 1000,
) -> Run:
    """Run a command as if Postfix were killed after it wrote this part of the message.

    Nobody judges the command then: the message stays in Postfix's queue, which is a deferral.
    """
    begin = time.monotonic()
    read_end, write_end = os.pipe()
    feeder = os.fork()
    if feeder == 0:
        _feed_and_die(argv, part, mail_config, host or Host(), write_end)
    os.close(write_end)
    session = int(os.read(read_end, 20) or b"0")
    os.close(read_end)
    os.waitpid(feeder, 0)
    timed_out = not _session_ends(session, begin + time_limit)
    outcome = Outcome("deferred", "4.3.0", "Postfix was killed while it wrote the message")
    return Run(outcome, NO_STATUS, b"", timed_out, session, time.monotonic() - begin)


def _feed_and_die(argv: Sequence[str | bytes], part: bytes, mail_config: str, host: Host, report: int) -> NoReturn:
    """Start the command, write the part, and die as Postfix does of SIGKILL: its descriptors are just closed."""
    try:
        pid, to_command, _ = _start(argv, mail_config, host)
        os.write(report, str(pid).encode())
        _write(to_command, part, 10, lambda: None, close=False)
        time.sleep(0.3)
    finally:
        os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def _session_ends(session: int, deadline: float) -> bool:
    while _has_live_member(session):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _has_live_member(session: int) -> bool:
    """Tell whether a process of this session runs; a zombie that nobody reaps does not."""
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat", "rb") as stat:
                fields = stat.read().rpartition(b")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] not in b"ZX":
            return True
    return False


def _start(argv: Sequence[str | bytes], mail_config: str, host: Host) -> tuple[int, int, int]:
    """Start the command; return its number, where to write the message, and where to read its output."""
    stdin, to_command = os.pipe()
    from_command, output = os.pipe()
    os.set_blocking(output, False)
    pid = os.fork()
    if pid == 0:
        _become(argv, mail_config, host, stdin, output)
    os.close(stdin)
    os.close(output)
    return pid, to_command, from_command


def _become(argv: Sequence[str | bytes], mail_config: str, host: Host, stdin: int, output: int) -> NoReturn:
    """Turn this child into the command; end with EX_TEMPFAIL where that fails, as pipe_child_cleanup() does."""
    try:
        if host.setup:
            host.setup()
        os.setsid()
        for descriptor, source in enumerate((stdin, output, output)):
            os.dup2(source, descriptor)
        if host.uid is not None:
            os.setgroups([])
            os.setgid(host.uid)
            os.setuid(host.uid)
        _change_directory(host.cwd)
        os.umask(0o077)
        _exec(argv, _environment(mail_config, host), host)
    except BaseException as error:  # nothing of this copy of the caller may run on
        os.write(2, f"pipe: fatal: pipe_command: execvp {os.fsdecode(argv[0])}: {error}\n".encode())
    os._exit(EX_TEMPFAIL)


def _change_directory(path: str) -> None:
    """Enter the directory; an empty path leaves the one that `setup` chose."""
    if path:
        os.chdir(path)


def _environment(mail_config: str, host: Host) -> dict[str, str]:
    if host.environ is not None:
        return dict(host.environ)
    return {"PATH": "/usr/bin:/bin", "LANG": "C", "MAIL_CONFIG": mail_config}


def _exec(argv: Sequence[str | bytes], environment: dict[str, str], host: Host) -> None:
    """Replace this process, as execvp(3) does: a file that the kernel does not know is a shell script."""
    shell_argv = ["/bin/sh", *argv]
    _apply(host)
    try:
        os.execve(argv[0], list(argv), environment)
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
        os.execve("/bin/sh", shell_argv, environment)


def _apply(host: Host) -> None:
    """Set signals, descriptors and limits, the limits last: they bind this process too."""
    os.closerange(3, 1024)
    for number in (signal.SIGXFSZ, *host.default):
        signal.signal(number, signal.SIG_DFL)
    for number in (signal.SIGPIPE, *host.ignored):
        if number not in host.default:
            signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, host.blocked)
    _redirect(host.output)
    for descriptor in host.closed:
        os.close(descriptor)
    for number, value in host.limits.items():
        resource.setrlimit(number, (value, value))


def _redirect(output: str) -> None:
    if not output:
        return
    if output == "|":
        read_end, descriptor = os.pipe()
        os.close(read_end)
    else:
        descriptor = os.open(output, os.O_WRONLY)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def _write(to_command: int, message: bytes, limit: float, midway: Callable[[], None], close: bool = True) -> bool:
    """Write the message; false when a write had to wait longer than the limit."""
    half = len(message) // 2
    try:
        for position, piece in _pieces(message, half):
            if position == half:
                midway()
            if not _ready(to_command, select.POLLOUT, limit):
                return False
            os.write(to_command, piece)
    except BrokenPipeError:
        pass
    finally:
        if close:
            os.close(to_command)
    return True


def _pieces(message: bytes, half: int) -> list[tuple[int, bytes]]:
    """Cut the message into pieces that a writable pipe takes without blocking; one of them begins in the middle."""
    ends = sorted({*range(0, len(message), VSTREAM_BUFSIZE), half, len(message)})
    pieces = [(start, message[start:end]) for start, end in itertools.pairwise(ends)]
    return pieces or [(0, b"")]


def _read(from_command: int, limit: float) -> tuple[bytes, bool]:
    """Read the output up to its end or the size of Postfix's buffer; false when a read had to wait too long."""
    output = b""
    try:
        while len(output) < VSTREAM_BUFSIZE:
            if not _ready(from_command, select.POLLIN, limit):
                return output, False
            piece = os.read(from_command, VSTREAM_BUFSIZE - len(output))
            if not piece:
                break
            output += piece
        return output, True
    finally:
        os.close(from_command)


def _ready(descriptor: int, event: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(descriptor, event)
    return bool(poll.poll(seconds * 1000))


def _wait(pid: int, limit: float, kill: bool) -> tuple[int, bool]:
    """Wait for the command, or kill its process group; return its wait status and whether it ended in time."""
    if kill:
        _kill_group(pid)
        limit = 1
    end = time.monotonic() + limit
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status, not kill
        time.sleep(0.002)
    _kill_group(pid)
    return os.waitpid(pid, 0)[1], False


def _kill_group(pid: int) -> None:
    for kill in (os.killpg, os.kill):
        try:
            kill(pid, signal.SIGKILL)
            return
        except ProcessLookupError:
            continue
