"""Give the message to Postfix: sendmail(1), with the whole message as its stdin and one argument an address.

Once sendmail is started, no signal but SIGKILL ends this process before it is known what became of the message:
otherwise Postfix would queue it again.
"""

import posix

from pf_spamfilt import process, report
from pf_spamfilt.envelope import for_sendmail
from pf_spamfilt.exits import DATAERR, Deferred, Rejected

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pf_spamfilt.log import Log
    from pf_spamfilt.spool import Message


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
