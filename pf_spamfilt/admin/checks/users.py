"""The filter in files of local delivery, see procmail(1), maildrop(1), aliases(5), local(8): read, never run.

Those of users need root. What is no regular file is not opened, and homes on other hosts, which may be down, are not
looked at.
"""

import os
import pwd
import re
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pf_spamfilt.admin.checks.delivery import Hook
from pf_spamfilt.admin.checks.findings import Finding, ok, warning
from pf_spamfilt.admin.checks.instance import Instance, files_of
from pf_spamfilt.admin.output import counted

# For all users; the last is a link to the filter, as examples/sieve has it.
SHARED = ("/etc/procmailrc", "/etc/maildroprc", "/etc/dovecot/sieve-filter/pf-spamfilt")
OWN = (".procmailrc", ".mailfilter", ".forward")
MOUNTS = "/proc/self/mounts"
# How long homes are looked at, in seconds; and so many bytes of a file.
PATIENCE = 10
_FILE_MAX = 1 << 20
# Which program reads a file, by its name without the dot.
_READERS = {"procmailrc": "procmail", "mailfilter": "maildrop", "maildroprc": "maildrop"}
# Whatever is in these tables may run it.
_MAY_RUN = ("mailbox_command_maps", "mailbox_transport_maps")
_REMOTE = ("nfs", "cifs", "smb", "autofs", "afs", "ceph", "lustre", "fuse.sshfs", "fuse.glusterfs")
_NAMED = re.compile(rb"""^(?![ \t]*#).*(?<![\w.-])pf-spamfilt(?=[\s"']|$)""", re.MULTILINE)


def naming(alias_maps: str) -> list[str]:
    """Return the files that name the filter; `alias_maps` are Postfix's tables of aliases."""
    return [file for file in _files(alias_maps) if _names_it(file)]


def _files(alias_maps: str) -> Iterator[str]:
    yield from SHARED
    yield from files_of(alias_maps)
    until = time.monotonic() + PATIENCE
    for home in _homes():
        if time.monotonic() > until:
            return
        yield from (f"{home}/{name}" for name in OWN)


def _homes() -> list[str]:
    """Return all homes of this host, each once."""
    homes = dict.fromkeys(account.pw_dir.rstrip("/") for account in pwd.getpwall())
    remote = tuple(_remote_folders())
    return [home for home in homes if home and not f"{home}/".startswith(remote)]


def _remote_folders() -> Iterator[str]:
    """Yield each folder that is on another host, with a slash at its end; but not the root of a diskless host."""
    try:
        lines = Path(MOUNTS).read_text("utf-8", "replace").splitlines()
    except OSError:  # not on Linux
        return
    for _, folder, kind, *_ in map(str.split, lines):
        if kind.startswith(_REMOTE) and folder != "/":
            yield f"{folder}/"


def _names_it(file: str) -> bool:
    """Tell whether a line that is no comment has the filter's name; or whether it is the filter, by a link."""
    try:
        if not stat.S_ISREG(os.stat(file).st_mode):
            return False
        if os.path.basename(file) == "pf-spamfilt":
            return True
        with open(os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY), "rb") as stream:
            return bool(_NAMED.search(stream.read(_FILE_MAX)))
    except OSError:  # mostly: it is not there
        return False


def look(found: Sequence[str], instance: Instance, hook: Hook | None) -> Iterator[Finding]:
    """Yield whether these files are all that runs the filter, or have mail scanned a second time."""
    read = [file for file in found if _is_read(file, instance)]
    transport = next(iter(instance.transports), None)
    if transport:
        yield from _twice(read, f"the transport {transport.service}", "run: pf-spamfilt-admin setup --remove --apply")
    elif hook:
        commands = set(map(os.path.basename, hook.form)) - {""}
        after = [file for file in found if _reader(file) in commands]
        yield from _twice(after, hook.where, "out of mailbox_command")
    elif read:
        yield ok("delivery", f"{_shown(read)}: the filter is named there: no transport is needed")
    elif found:
        yield _unread(found, instance)


def _reader(file: str) -> str:
    """Return the program that reads a file; empty: Postfix itself does, or Dovecot."""
    return _READERS.get(os.path.basename(file).lstrip("."), "")


def _is_read(file: str, instance: Instance) -> bool:
    """Tell whether main.cf may have a file read, or a ~/.forward beside it."""
    reader, main = _reader(file), instance.main
    if not reader:
        return file in SHARED or _is_local(main)
    by_local = _is_local(main) and (
        any(map(main.get, _MAY_RUN))
        or os.path.exists(f"{os.path.dirname(file)}/.forward")
        or any(reader in command for command in _mailbox_commands(instance))
    )
    return by_local or any(reader in main.get(name, "") for name in ("local_transport", "virtual_transport"))


def _is_local(main: Mapping[str, str]) -> bool:
    """Tell whether local(8) delivers, who follows aliases and ~/.forward."""
    return (main.get("local_transport") or "local").startswith("local")


def _mailbox_commands(instance: Instance) -> list[str]:
    """Return what local(8) runs in the end; mailbox_transport goes before mailbox_command."""
    if transport := instance.main.get("mailbox_transport"):
        return [transport]
    overrides = [each.overrides.get("mailbox_command", "") for each in instance.running("local")]
    return [instance.main.get("mailbox_command", ""), *overrides]


def _unread(found: Sequence[str], instance: Instance) -> Finding:
    reader, main = _reader(found[0]), instance.main
    other = main.get("mailbox_transport") if _is_local(main) else main["local_transport"]
    if other:
        why, remedy = f"has {other} deliver", "Filter by a transport: pf-spamfilt-admin setup --apply"
    else:
        arguments = '-t -a "$EXTENSION"' if reader == "procmail" else '-d "$USER"'
        why = f"runs no {reader}"
        remedy = f"Write mailbox_command = {reader} {arguments} into main.cf, then run: postfix reload"
    text = f"{_shown(found)}: the filter is named there, but {instance.main_cf} {why}: no mail is filtered"
    return warning("delivery-unread", text, remedy)


def _twice(found: Sequence[str], other: str, remedy: str) -> Iterator[Finding]:
    if found:
        text = f"{_shown(found)}: the filter is named there, and {other} runs it, too: that mail is scanned twice"
        yield warning("delivery-twice", text, f"Take it out there, or {remedy}")


def _shown(found: Sequence[str]) -> str:
    others = f" and {counted(len(found) - 1, 'other file')}" if found[1:] else ""
    return f"{found[0]}{others}"
