"""The filter in files of local delivery, see procmail(1), maildrop(1), aliases(5), local(8): read, never run.

Those of users need root. What is no regular file is not opened.
"""

import os
import re
import stat
from collections.abc import Iterator, Sequence

from pf_spamfilt.admin.checks import homes
from pf_spamfilt.admin.checks.delivery import PIPE_TO, Hook
from pf_spamfilt.admin.checks.findings import Finding, ok, warning
from pf_spamfilt.admin.checks.instance import Instance, files_of
from pf_spamfilt.admin.output import counted

# For all users; the last is a link to the filter, as examples/sieve has it.
SHARED = ("/etc/procmailrc", "/etc/maildroprc", "/etc/dovecot/sieve-filter/pf-spamfilt")
RUNS_FOR_ALL = frozenset(SHARED[:2])
OWN = (".procmailrc", ".mailfilter", ".forward")
_FILE_MAX = 1 << 20  # bytes of a file that are searched
# What the programs are called that read a file, by its name without the dot.
_READERS = {
    "procmailrc": ("procmail",),
    "mailfilter": ("maildrop",),
    "maildroprc": ("maildrop",),
    "pf-spamfilt": ("dovecot", "lmtp", "deliver"),
}
# In these tables is whatever it may be that delivers.
_TABLES = ("mailbox_command_maps", "mailbox_transport_maps", "fallback_transport_maps", "transport_maps")
# What is known to read no file but those that have it above: a command or a transport of another name may do so.
_KNOWN = ("procmail", "maildrop", "dovecot-lda", "lmtp", "smtp", "relay", "error", "discard", "virtual", "local", "")
_NAMED = re.compile(rb"""^(?![ \t]*#).*(?<![\w.-])pf-spamfilt(?=[\s"']|$)""", re.MULTILINE)


def naming(alias_maps: str) -> list[str]:
    """Return the files that name the filter; `alias_maps` are Postfix's tables of aliases."""
    return [*filter(_names_it, (*SHARED, *files_of(alias_maps))), *homes.find(OWN, _names_it)]


def _names_it(file: str) -> bool:
    """Tell whether a line that is no comment has the filter's name; or whether it is the filter, by a link."""
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            return False
        if os.path.basename(file) == "pf-spamfilt":
            return True
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY), "rb") as stream:
            return bool(_NAMED.search(stream.read(_FILE_MAX) or b""))
    except OSError:  # mostly: it is not there
        return False


def runner(found: Sequence[str], instance: Instance, command: str) -> Hook | None:
    """Return the filter, which is `command`, as local(8) has it run by these files, as each recipient, if it does."""
    run = [file for file in found if _is_run_by_local(file, instance)]
    return Hook(_shown(run), [command, PIPE_TO]) if run else None


def look(found: Sequence[str], instance: Instance, hook: Hook | None) -> Iterator[Finding]:
    """Yield whether these files are all that runs the filter, or have mail scanned a second time."""
    read = [file for file in found if _is_read(file, instance)]
    transport = next(iter(instance.transports), None)
    if transport:
        yield from _twice(read, f"the transport {transport.service}", "run: pf-spamfilt-admin setup --remove --apply")
    elif hook:
        commands = set(map(os.path.basename, hook.form))
        after = [file for file in found if any(reader in each for reader in _readers(file) for each in commands)]
        yield from _twice(after, hook.where, "out of mailbox_command")
    elif read:
        yield ok("delivery", f"{_shown(read)}: the filter is named there: where that is read, no transport is needed")
    elif found:
        yield _unread(found, instance)


def _readers(file: str) -> tuple[str, ...]:
    """Return the programs that read a file; none: local(8) itself does."""
    return _READERS.get(os.path.basename(file).lstrip("."), ())


def _is_run_by_local(file: str, instance: Instance) -> bool:
    """Tell whether local(8) has a file read as the recipient: Dovecot and transports have accounts of their own."""
    by_command = not instance.main.get("mailbox_transport") and set(_readers(file)) <= {"procmail", "maildrop"}
    return instance.is_local and (not _readers(file) or by_command) and _is_read(file, instance)


def _is_read(file: str, instance: Instance) -> bool:
    """Tell whether main.cf may have a file read, or a ~/.forward beside it."""
    readers = _readers(file)
    if not readers:
        return instance.is_local
    by_local = instance.is_local and os.path.lexists(f"{os.path.dirname(file)}/.forward")
    return (
        by_local
        or any(map(instance.main.get, _TABLES))
        or any(_may_read(readers, each) for each in _deliverers(instance))
    )


def _may_read(readers: Sequence[str], deliverer: str) -> bool:
    """Tell whether a command, or a transport, may be one of these programs, or run it."""
    name = os.path.basename(deliverer.partition(":")[0].partition(" ")[0])
    return name not in _KNOWN or any(reader in deliverer for reader in readers)


def _deliverers(instance: Instance) -> list[str]:
    """Return what delivers to mailboxes; mailbox_transport goes before mailbox_command."""
    main = instance.main
    commands: list[str] = []
    names = ["local_transport", "virtual_transport"]
    if instance.is_local:
        names += ["mailbox_transport", "fallback_transport"]
        if not main.get("mailbox_transport"):
            overrides = [each.overrides.get("mailbox_command", "") for each in instance.running("local")]
            commands = [main.get("mailbox_command", ""), *overrides]
    return [*(main.get(name, "") for name in names), *commands]


def _unread(found: Sequence[str], instance: Instance) -> Finding:
    reader, main = next(iter(_readers(found[0])), ""), instance.main
    other = main.get("mailbox_transport") if instance.is_local else main["local_transport"]
    remedy = "Filter by a transport: pf-spamfilt-admin setup --apply"
    if other:
        why = f"has {other} deliver"
    else:
        why = f"runs no {reader}"
        arguments = {"procmail": '-t -a "$EXTENSION"', "maildrop": '-d "$USER"'}
        if reader in arguments:
            command = f"{reader} {arguments[reader]}"
            remedy = f"Write mailbox_command = {command} into main.cf, then run: postfix reload"
    text = f"{_shown(found)}: the filter is named there, but {instance.main_cf} {why}: no mail is filtered"
    return warning("delivery-unread", text, remedy)


def _twice(found: Sequence[str], other: str, remedy: str) -> Iterator[Finding]:
    if found:
        text = f"{_shown(found)}: the filter is named there, and {other} runs it, too: that mail is scanned twice"
        yield warning("delivery-twice", text, f"Take it out there, or {remedy}")


def about_modes(found: Sequence[str]) -> Iterator[Finding]:
    """Yield each file that its program does not believe, as anybody may have written it."""
    for file in found:
        if os.path.basename(file) in OWN and _mode(file) & stat.S_IWOTH:
            text = f"{file}: everybody may write it: so mail is not filtered, or waits"
            yield warning("delivery-mode", text, f"Run: chmod go-w {file}")


def _mode(file: str) -> int:
    try:
        return os.stat(file).st_mode
    except OSError:  # its owner could read it
        return 0


def _shown(found: Sequence[str]) -> str:
    others = f" and {counted(len(found) - 1, 'other file')}" if found[1:] else ""
    return f"{found[0]}{others}"
