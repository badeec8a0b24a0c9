"""What the filter has to reach: its settings, programs, tables, stores and log. To be run as its account: steps.py.

Each function yields findings about one thing; nothing is changed, and nothing is kept or sent.
"""

import os
import posix
import socket
import stat
import time
from collections.abc import Callable, Iterable, Iterator

from pf_spamfilt import patterns, policy_keys, process, report, settings, spool, stores
from pf_spamfilt.admin.checks.findings import Finding, error, ok, warning
from pf_spamfilt.describe import Notes
from pf_spamfilt.exits import Deferred, Ended, SettingsError
from pf_spamfilt.tables import Tables

# Yields what is found of quarantines, as the `source` names them.
About = Callable[..., Iterable[Finding]]
# How long a program may take, in seconds.
PATIENCE = 60.0
# So many bytes of a table's entries are looked at.
_ENTRIES_MAX = 64 << 20
_SYSLOG_SOCKET = "/dev/log"
_SOMEBODY = b"pf-spamfilt-check@example.com"


def about_settings(source: str, me: str) -> Iterator[Finding]:
    """Yield whether the settings can be read, and whether a compiled file is taken instead."""
    compiled = source + settings.COMPILED_SUFFIX
    try:
        chosen = settings.load(source)
    except SettingsError as failure:
        remedy = f"Let {me} read it, and enter the folders above it: chmod a+r {source}"
        yield error("settings-access", f"{failure.text} (as {me})", remedy)
        return
    readable = f"{me} can read it" if os.path.exists(source) else f"does not exist, as {me} sees it: the defaults hold"
    yield ok("settings-access", f"{source}: {readable}")
    remedy = f"Run: pf-spamfilt-admin --config {source} compile"  # which may be that of one of several transports
    if chosen.note:
        text = f"{compiled} is not used: stale, broken, unreadable, not its source's owner's, or others may write it"
        yield warning("compiled", text, remedy)
    elif not os.path.exists(source):
        yield ok("compiled", "nothing needs to be compiled")
    elif not os.path.exists(compiled):
        text = (
            f"{compiled} does not exist: each message parses the settings, which takes longer than the filter's start"
        )
        yield warning("compiled", text, remedy)
    else:
        yield ok("compiled", f"{compiled} is fresh")


def about_program(command: list[str], key: str, source: str, me: str) -> Iterator[Finding]:
    """Yield whether the program in a setting can be run."""
    path = command[0]
    if posix.access(path, posix.X_OK) and os.path.isfile(path):
        yield ok("program", f"{path}: {me} can run it")
        return
    what = f"{me} cannot run it" if os.path.exists(path) else "there is no such program"
    remedy = f"Install it, or name another in {source}"
    yield error("program", f"{source}: {key}: {path}: {what}", remedy)


def about_filter(path: str, version: str, me: str) -> Iterator[Finding]:
    """Yield whether the filter itself starts, and is of our `version`."""
    try:
        with open(os.devnull, "rb") as nothing:
            ended = process.run(process.encode([path, "--version"]), nothing.fileno(), time.monotonic() + PATIENCE)
    except Deferred as failure:
        yield error("filter", f"{failure.text} (as {me})", "Let every account enter its folders, and install it again")
        return
    said = report.printable(ended.said)
    if ended.status or not said.startswith("pf-spamfilt "):
        text = f"{path} --version {report.ending(ended.status)} as {me}{report.quote(ended.said)}"
        yield error("filter", text, "Install it again, with an interpreter that every account can start")
    elif said.split()[-1] != version:
        text = f"{path} is version {said.split()[-1]}, pf-spamfilt-admin is {version}"
        yield warning("filter", text, "Install both together, and run pf-spamfilt-admin compile")
    else:
        yield ok("filter", f"{path}: {said}, started by {me}")


def about_sendmail(path: str, own: str) -> Iterator[Finding]:
    """Yield whether mail is given to Postfix's `own` sendmail(1)."""
    if os.path.realpath(path) == os.path.realpath(own):
        yield ok("sendmail", f"{path} is Postfix's (sendmail_path)")
    else:
        text = f"[sendmail] command: {path} is not the sendmail of this Postfix ({own})"
        yield warning("sendmail", text, f'Write command = ["{own}", "-G", "-i"], unless it passes mail on to that')


def about_table(name: str, chosen: settings.Settings, me: str, about_quarantines: About | None) -> Iterator[Finding]:
    """Yield whether a Postfix table can be read; and of one with settings, what its entries say.

    Such a one has `about_quarantines`, for the addresses among them.
    """
    notes, until = Notes(), time.monotonic() + PATIENCE
    somebody = patterns.Address(_SOMEBODY, chosen.recipient_delimiter)
    asked = Tables([somebody], chosen.tables.command, until, notes)
    try:
        if about_quarantines:
            list(asked.sources([name], somebody))
        else:
            asked.has(name, somebody)
    except SettingsError as failure:
        yield error("table-entry", failure.text, "Mend the entry")
    except Deferred as failure:
        remedy = f"Try: runuser -u {me} -- postmap -q @example.com {name}"
        yield error("table", f"{failure.text} (as {me})", remedy)
        return
    for line in notes.lines:
        yield warning("table-warning", line, "Run postmap(1) again, or see to what it says")
    yield ok("table", f"{name}: {me} can read it")
    if about_quarantines:
        yield from _about_entries(name, chosen.tables.command, me, about_quarantines)


def _about_entries(name: str, command: list[str], me: str, about_quarantines: About) -> Iterator[Finding]:
    """Yield what is wrong with the entries of a table that postmap(1) can list, and with the stores that they name."""
    count, named = 0, set()
    for key, result in _entries(name, command):
        count += 1
        if "@" not in key:
            text = f"table {name}, key {key}: is never asked"
            yield warning("table-key", text, f"Write user@domain, @domain, @.domain or @. : @{key} is that domain")
        try:
            named.add(str(policy_keys.from_result(result).get("quarantine", "")))
        except ValueError as failure:
            yield error("table-entry", f"table {name}, key {key}: {failure}", "Mend the entry")
    yield ok("table-entry", f"{name}: {count} entries were read" if count else f"{name}: its entries were not read")
    yield from about_quarantines(sorted(named), source=f"table {name}")
    for destination in sorted(named - {""}):
        yield from about_store(destination, me)


def _entries(name: str, command: list[str]) -> Iterator[tuple[str, str]]:
    """Yield keys and results; none of a table that is asked, not listed, such as a database."""
    output = spool.memory_file()
    try:
        argv = process.encode([*command, "-s", name])
        with open(os.devnull, "rb") as nothing:
            ended = process.run(argv, nothing.fileno(), time.monotonic() + PATIENCE, output, _ENTRIES_MAX)
        text = spool.from_file(output, in_memory=True).head.decode("utf-8", "surrogateescape")
    except Deferred:
        return
    finally:
        posix.close(output)
    if ended.status == 0:
        for line in text.splitlines():
            key, _, result = line.partition("\t")
            yield key, result


def about_store(destination: str, me: str) -> Iterator[Finding]:
    """Yield whether mail can be kept there."""
    if not destination.startswith(settings.STORES):
        yield ok(
            "quarantine", f"{destination}: is an address; that mail arrives there was not tried: send it a message"
        )
        return
    kind, _, path = destination.partition(":")
    folder = os.path.dirname(path) if kind == "mbox" else path
    try:
        stores.check(destination)
    except Ended as failure:
        remedy = f"Mend that; a new folder is made by: install -d -o {me} -m 700 {folder}"
        yield error("quarantine", f"{failure.text} (as {me})", remedy)
    else:
        if _is_full(folder):
            text = f'quarantine "{destination}": no space left there: spam that is to be kept waits'
            yield error("quarantine", text, "Make room: pf-spamfilt-admin quarantine expire --days 30")
        else:
            yield ok("quarantine", f"{destination}: {me} can keep mail there")


def _is_full(folder: str) -> bool:
    """Tell whether the disk of a folder, or of that in which it will be made, has no room."""
    while not os.path.isdir(folder):
        folder = os.path.dirname(folder)
    disk = os.statvfs(folder)
    return not disk.f_bavail or (disk.f_files > 0 and not disk.f_favail)


def about_log(file: str, me: str) -> Iterator[Finding]:
    """Yield whether the log file can be written."""
    if _can_log(file):
        yield ok("log", f"{file}: {me} can write it")
    else:
        text = f"[log] file: {file}: {me} cannot write it: nothing is logged there"
        yield warning("log", text, f"Run: install -o {me} -m 640 /dev/null {file}")


def _can_log(file: str) -> bool:
    if not os.path.lexists(file):
        return posix.access(os.path.dirname(file), posix.W_OK | posix.X_OK)
    try:
        posix.close(posix.open(file, posix.O_WRONLY | posix.O_APPEND | posix.O_NONBLOCK))
    except OSError:
        return False
    return True


def about_syslog() -> Iterator[Finding]:
    """Yield whether there is a syslog to take the filter's lines."""
    if any(map(_listens, (socket.SOCK_DGRAM, socket.SOCK_STREAM))):
        yield ok("syslog", "a syslog daemon listens")
    else:
        text = f"no syslog daemon listens ({_SYSLOG_SOCKET}): the filter's lines are lost"
        yield warning("syslog", text, "Start one, or set [log] file, and syslog = false")


def _listens(kind: socket.SocketKind) -> bool:
    with socket.socket(socket.AF_UNIX, kind) as caller:
        return caller.connect_ex(_SYSLOG_SOCKET) == 0


def about_postdrop(path: str, group: int) -> Iterator[Finding]:
    """Yield whether postdrop(1) gets the rights with which it queues mail of any account; `group` is setgid_group."""
    try:
        file = os.stat(path)
    except OSError as failure:
        yield error("postdrop", f"{path}: {failure.strerror}", "Install Postfix completely")
        return
    if file.st_mode & stat.S_ISGID and file.st_gid == group:
        yield ok("postdrop", f"{path} has its group's rights")
    else:
        text = f"{path} has not the rights of setgid_group: nothing that the filter gives back is taken"
        yield error("postdrop", text, "Run: postfix set-permissions")


def about_temporary() -> Iterator[Finding]:
    """Yield whether messages larger than memory should hold can be stored."""
    try:
        posix.close(spool.disk_file())
    except Deferred as failure:
        yield error("temporary", f"{failure.text}: messages larger than max_size wait", "See to /var/tmp and /tmp")
    else:
        yield ok("temporary", "a temporary file can be made in /var/tmp or /tmp")
