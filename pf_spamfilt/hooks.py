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
from pf_spamfilt.exits import SYSEXITS, Deferred, Rejected, SettingsError, UsageError, enhanced_code, system_error
from pf_spamfilt.reinject import Reinjection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pf_spamfilt.dispose import Disposal
    from pf_spamfilt.filter import Filter
    from pf_spamfilt.spool import Message

# So much of a message is given to a file at once: several filters that write to one do not mix smaller messages.
_FILE_CHUNK = 1 << 20
_WITHOUT_CONTROLS = bytes(ord("_") if byte < 32 or byte == 127 else byte for byte in range(256))


def run(name: str, arguments: list[str], config: str = "") -> int:
    """Filter the message on stdin in the form of this name, and return the exit status."""
    return filter.run((ToStdout if name == ToStdout.name else ToCommand)(arguments), config)


class Hook(Reinjection):
    """What both forms have in common."""

    name = ""
    takes = ""
    is_hook = True
    untold = (Rejected, Deferred)  # a user may be forbidden to send any
    _is_from_environment = False
    _is_sender_known = True

    def __init__(self, arguments: list[str]) -> None:
        super().__init__(arguments)
        self.user = _user()

    def refuse_options(self) -> None:
        """Raise UsageError if the first word is an option."""
        first = self.arguments[0] if self.arguments else ""
        if first.startswith("-") and "@" not in first:
            raise self.usage()

    def usage(self) -> UsageError:
        """Return the error for a command line that is wrong."""
        return UsageError(f"usage: pf-spamfilt [--config FILE] {self.name} {self.takes} (see pf-spamfilt --help)")

    def from_environment(self) -> list[bytes]:
        """Return the sender and, if he is told, the recipient, as delivery agents put them into the environment.

        As far as can be known without message and settings, of which check() makes more.
        """
        self._is_from_environment = True
        return [_told(b"SENDER"), *_recipient(b"+")]

    def check(self, running: "Filter") -> None:
        """Take any recipient: he is only looked up. A sender to whom nothing can be sent is the null sender."""
        envelope, record = running.envelope, running.record
        if self._is_from_environment:
            self._look_for_sender(running)
            told = _recipient(running.settings.recipient_delimiter.encode())
            envelope.recipients = [without_brackets(recipient) for recipient in told]
        # As local(8) shows them: no line break may come into the header of what is kept.
        envelope.recipients = record.recipients = [each.translate(_WITHOUT_CONTROLS) for each in envelope.recipients]
        try:
            for_sendmail(envelope.sender)
        except Deferred:
            envelope.sender, self._is_sender_known = NULL_SENDER, False

    def _look_for_sender(self, running: "Filter") -> None:
        """Take the sender on top of the message, if the environment tells none, or the same with `_` for some bytes."""
        found, told = trace.sender(running.fields), posix.environ.get(b"SENDER")
        self._is_sender_known = found is not None or told is not None
        if found is not None and (told is None or _is_shown_as(found, told)):
            running.record.sender = running.envelope.sender = found

    def may_bounce(self, running: "Filter") -> bool:
        """Tell whether a message may be bounced: the caller does that, and may know the sender if we do not."""
        is_null = self._is_sender_known and running.envelope.sender == NULL_SENDER
        return not is_null and trace.is_personal(running.fields)


class ToStdout(Hook):
    """`--stdout`: what is to be done with spam is the caller's matter, who must get the message in any case."""

    name = "--stdout"
    takes = "[SENDER RECIPIENT...]"
    action = report.WRITTEN
    out = 2
    tells_success = False
    obeys_destiny = False
    _written = 0

    def envelope(self) -> list[bytes]:
        """Return sender and recipients, if there are any, from the command line or else the environment."""
        words = self.words()
        if len(words) == 1:
            raise self.usage()
        return words or self.from_environment()

    def check(self, running: "Filter") -> None:
        """Refuse the one pipe for both outputs that Postfix gives a command: it logs what it reads there.

        A person may have one, too, as in `2>&1 | less`, and has a terminal.
        """
        out, words = posix.fstat(1), posix.fstat(2)
        is_one_pipe = stat.S_ISFIFO(out.st_mode) and (out.st_dev, out.st_ino) == (words.st_dev, words.st_ino)
        if is_one_pipe and not _has_terminal():
            raise SettingsError(f"{self.name} delivers nothing if Postfix itself reads it: use {ToCommand.name}")
        super().check(running)

    def deliver(self, disposal: "Disposal", message: "Message", recipients: list[bytes]) -> None:  # noqa: ARG002
        """Write the message to stdout. Raises Deferred; then nothing of it is left in a file."""
        before = posix.fstat(1)
        is_file = stat.S_ISREG(before.st_mode)
        if is_file:
            process.hold_signals()  # what is in it when we end must be as the status says
        try:
            self._write(message, _FILE_CHUNK if is_file else select.PIPE_BUF, disposal.deadline)
            if is_file:
                posix.fsync(1)  # NFS says only now that there was no room
        except Exception as error:
            if is_file and self._written:
                self._take_back(before.st_size)
            raise system_error("cannot write to stdout", error) if isinstance(error, OSError) else error from None

    def _take_back(self, size: int) -> None:
        """Cut off what was written at the end of a file of this size, unless somebody else has written to it, too."""
        if posix.fstat(1).st_size == size + self._written:
            posix.ftruncate(1, size)
            posix.lseek(1, size, 0)

    def _write(self, message: "Message", at_once: int, deadline: float) -> None:
        """Write a message, never more at a time than stdout takes without waiting: a pipe's reader may stand still."""
        poll = select.poll()
        poll.register(1, select.POLLOUT)
        while chunk := posix.pread(message.fd, at_once, self._written):
            if not poll.poll(max(0.0, 1000 * (deadline - time.monotonic()))):
                raise Deferred("nobody reads what is written to stdout")
            try:
                self._written += posix.write(1, chunk)
            except BlockingIOError:
                continue


class ToCommand(Hook):
    """`--pipe-to`: a command of the user's, or the local delivery agent, gets the message as a file."""

    name = "--pipe-to"
    takes = "COMMAND [ARG...]"
    action = report.PIPED

    def envelope(self) -> list[bytes]:
        """Return sender and recipient from the environment."""
        if not any(self.words()[:1]):
            raise self.usage()
        return self.from_environment()

    def deliver(self, disposal: "Disposal", message: "Message", recipients: list[bytes]) -> None:  # noqa: ARG002
        """Run the command, and return if it ends with 0.

        Another status of sysexits(3) is ours, too, and Rejected if Postfix bounces what ends so; all else is Deferred.
        As in local(8), an enhanced code in front of its words counts, but it never turns a deferral into a bounce.
        """
        argv = self.words()
        process.hold_signals()
        ended = process.run(argv, message.fd, disposal.deadline, to_end=True)  # as local(8) reads
        disposal.log.child(argv, ended)
        if ended.status == 0:
            return
        text = f"{report.printable(argv[0])} {report.ending(ended.status)}{report.quote(ended.said)}"
        known, said = SYSEXITS.get(ended.status, Deferred.code), enhanced_code(ended.said)
        code = said if said[:1] in ("4", known[:1]) else known
        failure = (Deferred if code.startswith("4") else Rejected)(text, code)
        if ended.status in SYSEXITS and code[:1] == known[:1]:
            failure.status = ended.status
        raise failure


def _has_terminal() -> bool:
    try:
        posix.close(posix.open("/dev/tty", posix.O_RDONLY | posix.O_NOCTTY))
    except OSError:
        return False
    return True


def _is_shown_as(address: bytes, shown: bytes) -> bool:
    """Tell whether local(8) shows an address so to programs, with `_` for what a shell could read."""
    pairs = zip(address, shown, strict=False)
    return len(address) == len(shown) and all(there in (here, ord("_")) for here, there in pairs)


def _told(name: bytes) -> bytes:
    return posix.environ.get(name, b"")


def _user() -> bytes:
    return _told(b"USER") or _told(b"LOGNAME")


def _recipient(delimiters: bytes) -> list[bytes]:
    """Return the recipient, as far as the environment tells him: nobody, or one address."""
    local, extension, domain = _user(), _told(b"EXTENSION"), _told(b"DOMAIN")
    if local and extension and delimiters:
        local += delimiters[:1] + extension
    told = _told(b"RECIPIENT") or (local + b"@" + domain if local and domain else local)
    return [told] if told else []
