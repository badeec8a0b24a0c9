"""Give the message to Postfix: sendmail(1), with the whole message as its stdin and one argument an address.

Once sendmail is started, no signal but SIGKILL ends this process before it is known what became of the message:
otherwise Postfix would queue it again.
"""

import posix

from pf_spamfilt import process, report, trace
from pf_spamfilt.envelope import for_sendmail
from pf_spamfilt.exits import DATAERR, Deferred, Ended, Rejected, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pf_spamfilt.dispose import Disposal
    from pf_spamfilt.filter import Filter
    from pf_spamfilt.log import Log
    from pf_spamfilt.spool import Message


# The names of the other forms, see hooks.py.
HOOKS = "--stdout", "--pipe-to"


class Reinjection:
    """The form of the command that pipe(8) and people use: sender and recipients are arguments, sendmail gets copies.

    `action` is what becomes of a copy; `out` the file in which words about it are written, with `tells_success` also
    if all is well; `is_hook`: there is one copy, which does not come back here; `obeys_destiny`: spam may also go
    nowhere; `untold`: the failures of a notice after which the message is not tried again; `user`: spamc's, if it is
    not as the settings say.
    """

    action = report.REINJECTED
    out = 1
    tells_success = True
    is_hook = False
    obeys_destiny = True
    untold: tuple[type[Ended], ...] = (Rejected,)
    user = b""

    def __init__(self, arguments: list[str]) -> None:
        self.arguments = arguments

    def words(self) -> list[bytes]:
        """Return what is on the command line, without a `--` before it. Raises UsageError for an option."""
        if self.arguments[:1] == ["--"]:
            return process.encode(self.arguments[1:])
        self.refuse_options()
        return process.encode(self.arguments)

    def refuse_options(self) -> None:
        """Raise UsageError if the name of another form stands where it is none."""
        if any(name in self.arguments for name in HOOKS):
            self.out = 2  # who reads stdout expects the message there
            raise UsageError(f"usage: {' and '.join(HOOKS)} stand before all addresses (see pf-spamfilt --help)")

    def envelope(self) -> list[bytes]:
        """Return sender and recipients. Raises UsageError."""
        words = self.words()
        if len(words) < 2:
            raise UsageError("usage: pf-spamfilt SENDER RECIPIENT... (see pf-spamfilt --help)")
        return words

    def check(self, running: "Filter") -> None:
        """Raise Deferred for an address that sendmail would not take."""
        for address in (running.envelope.sender, *running.envelope.recipients):
            for_sendmail(address)

    def may_bounce(self, running: "Filter") -> bool:
        """Tell whether a message may be bounced."""
        return trace.may_answer(running.envelope.sender, running.fields)

    def deliver(self, disposal: "Disposal", message: "Message", recipients: list[bytes]) -> None:
        """Give a copy to sendmail. Raises Rejected or Deferred."""
        disposal.submit(message, disposal.envelope.sender, recipients)


def command(sender: bytes, recipients: list[bytes], sendmail: list[str]) -> list[bytes]:
    """Return sendmail's argv; -i whatever the settings say, as without it a line with a dot ends the message."""
    argv = process.encode(sendmail)
    if b"-i" not in argv:
        argv.append(b"-i")
    argv += [b"-f", for_sendmail(sender), b"--"]
    return argv + [for_sendmail(recipient) for recipient in recipients]


def submit(message: "Message", argv: list[bytes], deadline: float, log: "Log") -> None:
    """Run sendmail and return when it has taken the message.

    Raises Rejected if it says 65 (EX_DATAERR), Deferred for every other end: those are faults of this host.
    """
    process.hold_signals()
    ended = process.run(argv, message.fd, deadline)
    log.child(argv, ended)
    what = f"sendmail {report.ending(ended.status)}{report.quote(ended.said)}"
    if ended.status == DATAERR:
        raise Rejected(what)
    if ended.status != 0:
        raise Deferred(what)
    if posix.lseek(message.fd, 0, 1) < message.size:
        raise Deferred("sendmail did not read the whole message, though it exited with status 0")
