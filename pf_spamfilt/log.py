"""Syslog and the log file. That a line cannot be written, or nobody reads, is never an error: mail goes first."""

import _signal  # type: ignore[import-not-found]  # see process.py
import posix
import syslog
import time

from pf_spamfilt import report

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pf_spamfilt.process import Finished
    from pf_spamfilt.settings import LogSettings

ERRORS, MESSAGES, STEPS, CHILDREN = range(4)
# How long syslogd may take for one line, in seconds.
PATIENCE = 1.0
FACILITIES = {
    name: getattr(syslog, "LOG_" + name.upper())
    for name in ("mail", "daemon", "user", *(f"local{number}" for number in range(8)))
}


def _interrupt(_number: int, _frame: object) -> None:
    """Do nothing: that a system call was interrupted is enough."""


class Log:
    """Where lines go, and how many: `level` is one of ERRORS, MESSAGES, STEPS, CHILDREN."""

    __slots__ = ("_settings", "_to_syslog")

    def __init__(self, settings: "LogSettings") -> None:
        self._settings = settings
        self._to_syslog = settings.syslog
        if settings.syslog:
            syslog.openlog("pf-spamfilt", syslog.LOG_PID, FACILITIES[settings.facility])

    def message(self, line: str, notable: bool = False) -> None:
        """Log the line of a message that was disposed of; `notable`: for good."""
        self._write(MESSAGES, syslog.LOG_NOTICE if notable else syslog.LOG_INFO, line)

    def warning(self, line: str) -> None:
        """Log what an administrator should know of, at any level."""
        self._write(ERRORS, syslog.LOG_WARNING, line)

    def step(self, line: str) -> None:
        """Log one step of a message's way."""
        self._write(STEPS, syslog.LOG_INFO, line)

    def child(self, argv: list[bytes], ended: "Finished") -> None:
        """Log a program that was run, and what it said."""
        if self._settings.level >= STEPS:
            command = report.printable(b" ".join(argv))
            said = report.quote(ended.said) if self._settings.level >= CHILDREN else ""
            self._write(STEPS, syslog.LOG_INFO, f"{command} {report.ending(ended.status)}{said}")

    def _write(self, level: int, priority: int, line: str) -> None:
        if level > self._settings.level:
            return
        if self._to_syslog:
            self._send(priority, line)
        if self._settings.file:
            self._append(line)

    def _send(self, priority: int, line: str) -> None:
        """Give one line to syslog(3); interrupt it, and give it no other, where a stopped daemon does not take it."""
        started = time.monotonic()
        _signal.signal(_signal.SIGALRM, _interrupt)
        _signal.setitimer(_signal.ITIMER_REAL, PATIENCE, PATIENCE)
        syslog.syslog(priority, line)
        _signal.setitimer(_signal.ITIMER_REAL, 0)
        self._to_syslog = time.monotonic() - started < PATIENCE

    def _append(self, line: str) -> None:
        """Append one line as Postfix writes maillog_file; one write, so that lines of several filters do not mix."""
        now = time.strftime("%b %e %H:%M:%S")
        text = f"{now} {posix.uname().nodename} pf-spamfilt[{posix.getpid()}]: {line}\n"
        flags = posix.O_WRONLY | posix.O_APPEND | posix.O_CREAT | posix.O_CLOEXEC | posix.O_NONBLOCK
        try:
            fd = posix.open(self._settings.file, flags, 0o640)
            posix.write(fd, text.encode("utf-8", "replace"))
            posix.close(fd)
        except OSError as error:
            if self._to_syslog:
                self._send(syslog.LOG_WARNING, f"{self._settings.file}: {error.strerror}")
