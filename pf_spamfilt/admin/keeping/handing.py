"""Hand an original from quarantine on: to sendmail, which delivers it, or to spamd, which learns from it.

The message stays where it is. Whatever fails raises Deferred, with the program's own words.
"""

import os
import subprocess
import time

from pf_spamfilt import headers, process, reinject, report, scan, settings, spool, trace
from pf_spamfilt.admin.site import Site
from pf_spamfilt.exits import Deferred
from pf_spamfilt.spool import Message

# What spamc says, with status 0, when something was learned.
_LEARNED = b"successfully"
_LOST_CONNECTION = 74
# How long spamd may take to say that it is there, in seconds.
_PATIENCE = 10


def release(site: Site, chosen: settings.Settings, original: bytes, name: str, sender: bytes, to: list[bytes]) -> str:
    """Give an original to sendmail, marked so that this host's filter lets it through; return what sendmail said.

    It warns where it has taken a message that is not delivered yet: if Postfix is down.
    """
    message = spool.from_bytes(original)
    fields, _ = headers.split(original)
    mark = trace.RELEASED + b": <" + name.encode() + b">" + headers.line_end_of(fields)
    marked = spool.with_header(message, fields, [mark, *trace.without_delivery(fields)])
    argv = reinject.command(sender, to, chosen.sendmail.command)
    ended = _run(site, argv, marked, chosen.limits.deadline)
    whole = os.lseek(marked.fd, 0, os.SEEK_CUR) == marked.size
    message.close()
    marked.close()
    if ended.returncode:
        raise _failure("sendmail", ended)
    if not whole:
        raise Deferred("sendmail did not read the whole message, though it exited with status 0")
    return report.printable(ended.stdout)


def learn(site: Site, chosen: settings.Settings, original: bytes, kind: str, user: bytes) -> bool:
    """Have spamd learn an original as `kind`, "spam" or "ham", for a user; return whether that was new to it.

    The first server that answers is asked. Without a user, it is for the account that the filter runs as.
    """
    account = site.transport.user.encode() if site.transport else b""
    name = [b"--username=" + (user or account)] if user or account else []
    message = spool.from_bytes(original)
    try:
        for server in chosen.spamc.servers or [""]:
            argv = process.encode(chosen.spamc.command) + scan.address_options(server)
            size = b"%d" % min(settings.MAX_SIZE, message.size + 1)
            ended = _run(site, [*argv, b"-L", kind.encode(), b"-s", size, *name], message, chosen.spamc.timeout)
            if ended.returncode not in scan.UNREACHED_STATUSES:
                break
            if ended.returncode == _LOST_CONNECTION and not scan.ping(
                chosen.spamc, server, time.monotonic() + _PATIENCE
            ):
                raise Deferred("spamd answers, but not to this: start it with --allow-tell, so that it may learn")
    finally:
        message.close()
    if ended.returncode:
        raise _failure("spamc", ended)
    return _LEARNED in ended.stdout


def _run(site: Site, argv: list[bytes], message: Message, patience: float) -> "subprocess.CompletedProcess[bytes]":
    """Run a program for this Postfix instance, with a message as its stdin."""
    os.lseek(message.fd, 0, os.SEEK_SET)
    name = report.printable(argv[0])
    try:
        return subprocess.run(
            argv,
            stdin=message.fd,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=os.environ | {"MAIL_CONFIG": site.directory},
            timeout=patience,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Deferred(f"{name} took longer than {patience:.0f} s") from None
    except OSError as error:
        raise Deferred(f"cannot run {name}: {error.strerror}") from None


def _failure(program: str, ended: "subprocess.CompletedProcess[bytes]") -> Deferred:
    meaning = scan.FAULTS.get(ended.returncode) if program == "spamc" else None
    return Deferred(f"{program} {meaning or report.ending(ended.returncode)}{report.quote(ended.stdout)}")
