"""The forms for local delivery: the result goes to stdout, or into a command, instead of to sendmail.

One message for one user, of whom the environment tells: local(8)'s, procmail's, or a shell's. What happens before and
beside that, policies, scan, quarantine, notices, log, is as in filter.py. Imported only for these forms.
"""

import posix
import select
import time

from pf_spamfilt import filter, process, report
from pf_spamfilt.exits import OSERR, SYSEXITS, TEMPFAIL, Deferred, Rejected, UsageError, system_error
from pf_spamfilt.reinject import Reinjection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pf_spamfilt.dispose import Disposal
    from pf_spamfilt.envelope import Envelope
    from pf_spamfilt.spool import Message

_CHUNK = 1 << 16


def run(name: str, arguments: list[str], config: str = "") -> int:
    """Filter the message on stdin in the form of this name, and return the exit status."""
    return filter.run((ToStdout if name == ToStdout.name else ToCommand)(arguments), config)


class Hook(Reinjection):
    """What both forms have in common."""

    is_hook = True

    def __init__(self, arguments: list[str]) -> None:
        super().__init__(arguments)
        self.user = _user()

    def check(self, envelope: "Envelope") -> None:
        """Take any address: it is only looked up."""


class ToStdout(Hook):
    """`--stdout`: what is to be done with spam is the caller's matter, who must get the message in any case."""

    name = "--stdout"
    action = report.WRITTEN
    out = 2
    tells_success = False
    obeys_destiny = False

    def envelope(self) -> list[bytes]:
        """Return sender and recipients, if there are any, from the command line or else the environment."""
        if len(self.arguments) == 1:
            raise UsageError("usage: pf-spamfilt --stdout [SENDER RECIPIENT...] (see pf-spamfilt --help)")
        return process.encode(self.arguments) or _from_environment()

    def deliver(self, disposal: "Disposal", message: "Message", recipients: list[bytes]) -> None:  # noqa: ARG002
        """Write the message to stdout. Raises Deferred."""
        poll = select.poll()
        poll.register(1, select.POLLOUT)
        place = 0
        while chunk := posix.pread(message.fd, _CHUNK, place):
            if not poll.poll(max(0.0, 1000 * (disposal.deadline - time.monotonic()))):
                raise Deferred("nobody reads what is written to stdout")
            try:
                place += posix.write(1, chunk)
            except BlockingIOError:
                continue
            except OSError as error:
                raise system_error("cannot write to stdout", error) from None


class ToCommand(Hook):
    """`--pipe-to`: a command of the user's, or the local delivery agent, gets the message as a file."""

    name = "--pipe-to"
    action = report.PIPED

    def envelope(self) -> list[bytes]:
        """Return sender and recipient from the environment."""
        if not self.arguments:
            raise UsageError("usage: pf-spamfilt --pipe-to COMMAND [ARG...] (see pf-spamfilt --help)")
        return _from_environment()

    def deliver(self, disposal: "Disposal", message: "Message", recipients: list[bytes]) -> None:  # noqa: ARG002
        """Run the command, and return if it ends with 0.

        Another status of sysexits(3) is ours, too, and Rejected if it bounces; whatever else it does is Deferred.
        """
        argv = process.encode(self.arguments)
        process.hold_signals()
        ended = process.run(argv, message.fd, disposal.deadline)
        disposal.log.child(argv, ended)
        if ended.status == 0:
            return
        text = f"{report.printable(argv[0])} {report.ending(ended.status)}{report.quote(ended.said)}"
        known = ended.status in SYSEXITS
        failure = Deferred(text) if not known or ended.status in (OSERR, TEMPFAIL) else Rejected(text, "5.3.0")
        failure.status = ended.status if known else TEMPFAIL
        raise failure


def _from_environment() -> list[bytes]:
    """Return the sender and, if it is told, the recipient, as local(8) and procmail put them into the environment."""
    recipient = _told(b"RECIPIENT") or _address()
    return [_told(b"SENDER"), *([recipient] if recipient else [])]


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
