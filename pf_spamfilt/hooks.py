"""The forms for local delivery: the result goes to stdout, or into a command, instead of to sendmail.

One message for one user, of whom the environment tells: local(8)'s, procmail's, or a shell's. What happens before and
beside that, policies, scan, quarantine, notices, log, is as in filter.py. Imported only for these forms.

A message that cannot be handed over whole is Deferred: a delivery agent, or Postfix, still has it.
"""

import posix
import select
import stat
import time

from pf_spamfilt import filter, process, report, trace
from pf_spamfilt.envelope import NULL_SENDER, for_sendmail, without_brackets
from pf_spamfilt.exits import SYSEXITS, TEMPFAIL, Deferred, Ended, Rejected, UsageError, system_error
from pf_spamfilt.reinject import Reinjection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pf_spamfilt.dispose import Disposal
    from pf_spamfilt.filter import Filter
    from pf_spamfilt.spool import Message


def run(name: str, arguments: list[str], config: str = "") -> int:
    """Filter the message on stdin in the form of this name, and return the exit status."""
    return filter.run((ToStdout if name == ToStdout.name else ToCommand)(arguments), config)


class Hook(Reinjection):
    """What both forms have in common."""

    name = ""
    takes = ""
    is_hook = True
    _knows_sender = True

    def __init__(self, arguments: list[str]) -> None:
        super().__init__(arguments)
        self.user = _user()

    def words(self) -> list[bytes]:
        """Return what is on the command line, without a `--` before it. Raises UsageError for an option."""
        first = self.arguments[0] if self.arguments else ""
        if first == "--":
            return process.encode(self.arguments[1:])
        if first.startswith("-") and "@" not in first:
            raise self.usage()
        return process.encode(self.arguments)

    def usage(self) -> UsageError:
        """Return the error for a command line that is wrong."""
        return UsageError(f"usage: pf-spamfilt [--config FILE] {self.name} {self.takes} (see pf-spamfilt --help)")

    def from_environment(self) -> list[bytes]:
        """Return the sender and, if he is told, the recipient, as delivery agents put them into the environment."""
        self._knows_sender = b"SENDER" in posix.environ
        recipient = _told(b"RECIPIENT") or _address()
        return [_told(b"SENDER"), *([recipient] if recipient else [])]

    def check(self, running: "Filter") -> None:
        """Take any recipient: he is only looked up. A sender to whom nothing can be sent is the null sender."""
        envelope = running.envelope
        if not self._knows_sender:
            running.record.sender = envelope.sender = without_brackets(trace.sender(running.fields))
        try:
            for_sendmail(envelope.sender)
        except Deferred:
            envelope.sender = NULL_SENDER


class ToStdout(Hook):
    """`--stdout`: what is to be done with spam is the caller's matter, who must get the message in any case."""

    name = "--stdout"
    takes = "[SENDER RECIPIENT...]"
    action = report.WRITTEN
    out = 2
    tells_success = False
    obeys_destiny = False

    def envelope(self) -> list[bytes]:
        """Return sender and recipients, if there are any, from the command line or else the environment."""
        words = self.words()
        if len(words) == 1:
            raise self.usage()
        return words or self.from_environment()

    def deliver(self, disposal: "Disposal", message: "Message", recipients: list[bytes]) -> None:  # noqa: ARG002
        """Write the message to stdout. Raises Deferred; then nothing of it is left in a file."""
        before = posix.fstat(1)
        try:
            _write(message, disposal.deadline)
        except Ended:
            if stat.S_ISREG(before.st_mode):
                posix.ftruncate(1, before.st_size)
                posix.lseek(1, before.st_size, 0)
            raise


class ToCommand(Hook):
    """`--pipe-to`: a command of the user's, or the local delivery agent, gets the message as a file."""

    name = "--pipe-to"
    takes = "COMMAND [ARG...]"
    action = report.PIPED

    def envelope(self) -> list[bytes]:
        """Return sender and recipient from the environment."""
        if not self.words():
            raise self.usage()
        return self.from_environment()

    def deliver(self, disposal: "Disposal", message: "Message", recipients: list[bytes]) -> None:  # noqa: ARG002
        """Run the command, and return if it ends with 0.

        Another status of sysexits(3) is ours, too, and Rejected if Postfix bounces what ends so; all else is Deferred.
        """
        argv = self.words()
        process.hold_signals()
        ended = process.run(argv, message.fd, disposal.deadline)
        disposal.log.child(argv, ended)
        if ended.status == 0:
            return
        text = f"{report.printable(argv[0])} {report.ending(ended.status)}{report.quote(ended.said)}"
        code = SYSEXITS.get(ended.status, Deferred.code)
        failure = (Deferred if code.startswith("4") else Rejected)(text, code)
        failure.status = ended.status if ended.status in SYSEXITS else TEMPFAIL
        raise failure


def _write(message: "Message", deadline: float) -> None:
    """Write a message to stdout, never more at a time than a pipe takes at once: its reader may stand still."""
    poll = select.poll()
    poll.register(1, select.POLLOUT)
    place = 0
    while chunk := posix.pread(message.fd, select.PIPE_BUF, place):
        if not poll.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
            raise Deferred("nobody reads what is written to stdout")
        try:
            place += posix.write(1, chunk)
        except BlockingIOError:
            continue
        except OSError as error:
            raise system_error("cannot write to stdout", error) from None


def _told(name: bytes) -> bytes:
    return posix.environ.get(name, b"")


def _user() -> bytes:
    return _told(b"USER") or _told(b"LOGNAME")


def _address() -> bytes:
    """Return the user's address, as far as the environment tells it."""
    local, extension, domain = _user(), _told(b"EXTENSION"), _told(b"DOMAIN")
    if local and extension:
        local += b"+" + extension
    return local + b"@" + domain if local and domain else local
