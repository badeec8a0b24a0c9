"""Ask SpamAssassin: run spamc(1) on the message and judge what it returns.

Every failure is a ScanFailed that says what happened; spamc is never let to pass a message through on an error (-x).
Several servers are asked one after another, which spamc itself would only do by failing open.
"""

import posix
import time

from pf_spamfilt import process, report, spool, verdict
from pf_spamfilt.exits import UNREACHED, Deferred, ScanFailed
from pf_spamfilt.settings import MAX_SIZE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pf_spamfilt.log import Log
    from pf_spamfilt.settings import Spamc

# What spamc's exit statuses mean (spamc.c, libspamc.c: sysexits, with -x; 70 is what connect(2) on a missing socket
# becomes), and those with which spamd was not reached.
FAULTS = {
    64: "did not understand its command line",
    65: "got an answer that it did not understand",
    68: "cannot find the host of spamd",
    69: "cannot connect to spamd",
    70: "cannot connect to spamd",
    71: "met a system error",
    74: "lost the connection to spamd",
    75: "was told to try again",
    76: "got an answer that it did not understand",
    77: "is not allowed to connect to spamd",
    78: "found its configuration wrong",
}
UNREACHED_STATUSES = (68, 69, 70, 74, 75, 77)
# SpamAssassin adds a report and, with report_safe, a second header; more than this is no answer.
_ROOM = 1 << 20
# With several servers a dead one must not cost what spamc's three attempts, and connect(2), would wait.
_FAILOVER = [b"--connect-retries=1", b"-n", b"10"]


def scan(message: spool.Message, user: bytes, spamc: "Spamc", deadline: float, log: "Log") -> verdict.Scan:
    """Return SpamAssassin's copy of `message` and its verdict, from the first server that answers.

    `user` is the name for spamd, empty for none; `deadline` a time.monotonic(). Raises ScanFailed.
    """
    failure = ScanFailed("there was no time to ask spamd", UNREACHED)
    for server in _in_order(spamc) or [""]:
        if time.monotonic() >= deadline:
            break
        output = spool.memory_file()
        try:
            return _ask(server, message, output, user, spamc, deadline, log)
        except ScanFailed as error:
            failure = error
            log.step(f"no scan{' by ' + server if server else ''}: {error.text}")
        finally:
            posix.close(output)
    raise failure


def _in_order(spamc: "Spamc") -> list[str]:
    if spamc.order == "random":
        return sorted(spamc.servers, key=lambda _: posix.urandom(8))
    return spamc.servers


def _command(spamc: "Spamc", server: str, user: bytes, patience: int) -> list[bytes]:
    """Return spamc's argv; the user in the one form in which a name may begin with "-"."""
    argv = process.encode(spamc.command)
    argv += [b"-x", b"-E", b"-s", b"%d" % min(spamc.max_size + _ROOM, MAX_SIZE), b"-t", b"%d" % patience]
    if len(spamc.servers) > 1:
        argv += _FAILOVER
    argv += address_options(server)
    return [*argv, b"--username=" + user] if user else argv


def address_options(server: str) -> list[bytes]:
    """Return spamc's options for "/socket", "host", "host:port", "[address]:port"; none for its own default."""
    if not server or server.startswith("/"):
        return [b"-U", server.encode()] if server else []
    host, bracket, port = server.removeprefix("[").partition("]") if server[0] == "[" else (server, "", "")
    if not bracket and server.count(":") == 1:
        host, _, port = server.partition(":")
    port = port.removeprefix(":")
    return [b"-d", host.encode(), *([b"-p", port.encode()] if port else [])]


def _ask(
    server: str,
    message: spool.Message,
    output: int,
    user: bytes,
    spamc: "Spamc",
    deadline: float,
    log: "Log",
) -> verdict.Scan:
    """Run spamc once, against one server, its answer in the file `output`."""
    patience = max(1, min(spamc.timeout, int(deadline - time.monotonic())))
    until = min(deadline, time.monotonic() + patience + 1)
    argv = _command(spamc, server, user, patience)
    try:
        ended = process.run(argv, message.fd, until, output, 2 * message.size + _ROOM)
    except process.TimedOut as error:
        raise ScanFailed(error.text, UNREACHED) from None
    except Deferred as error:
        raise ScanFailed(error.text, error.code) from None
    log.child(argv, ended)
    if ended.status not in (verdict.HAM, verdict.SPAM):
        raise _fault(ended)
    answer = spool.from_file(output, in_memory=True).head
    found = verdict.Scan(user)
    found.verdict = verdict.judge(ended.status, answer, message.head)
    # What was judged is what goes on: a process that spamc left behind could still write into its own file.
    found.answer = spool.from_bytes(answer)
    return found


def _fault(ended: process.Finished) -> ScanFailed:
    what = FAULTS.get(ended.status) or report.ending(ended.status)
    code = UNREACHED if ended.status in UNREACHED_STATUSES else "4.3.0"
    return ScanFailed(f"spamc {what}{report.quote(ended.said)}", code)


def ping(spamc: "Spamc", server: str, deadline: float) -> str:
    """Return why a server, "" for spamc's own default, does not answer; empty if it does. Raises Deferred."""
    nothing = spool.memory_file()
    try:
        ended = process.run([*process.encode(spamc.command), *address_options(server), b"-K"], nothing, deadline)
    finally:
        posix.close(nothing)
    return "" if ended.status == 0 else _fault(ended).text
