"""Local delivery, see local(8): a filter that mailbox_command runs, as each recipient. Nearly pure."""

import os
import shlex
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from pf_spamfilt import settings
from pf_spamfilt.admin.checks.findings import Finding, error, ok, warning
from pf_spamfilt.admin.checks.instance import Instance, Service, words
from pf_spamfilt.admin.site import NAME
from pf_spamfilt.door import take_config

PIPE_TO = "--pipe-to"
# Where local(8) looks for commands.
_PATH = "/usr/bin:/bin"
_PARAMETER = "mailbox_command"
# What local(8) follows instead of mailbox_command; the last one names what delivers instead of local(8).
_BEFORE = ("mailbox_transport_maps", "mailbox_transport", "mailbox_command_maps", "local_transport")
_ALIASES = "/etc/aliases"
# Commands that are programs, not words of the shell.
_AGENTS = ("procmail", "maildrop", "dovecot-lda")
# Tables that newaliases(1) makes of a file.
_DATABASES = ("hash", "btree", "lmdb", "cdb", "dbm")


class Hook(NamedTuple):
    """The filter in mailbox_command: `where` that is, and its command line from its name on.

    It runs as each recipient: what everybody can reach, this `user` can.
    """

    where: str
    argv: list[str]
    user: str = "nobody"
    group: str = ""

    @property
    def settings_file(self) -> str:
        """What `--config` names; empty: the instance's own."""
        return take_config(self.argv[1:])[0]

    @property
    def form(self) -> list[str]:
        """The command line without its name and `--config FILE`."""
        return take_config(self.argv[1:])[1]


def hook(instance: Instance) -> Hook | None:
    """Return the filter in mailbox_command, main.cf's or that of a service, if it is there."""
    hooks = (Hook(where, argv) for where, value in _commands(instance).items() if (argv := _argv(value)))
    return next(hooks, None)


def _commands(instance: Instance) -> dict[str, str]:
    """Return each mailbox_command, by where it is."""
    values = {f"{instance.main_cf}: {_PARAMETER}": instance.main.get(_PARAMETER, "")}
    for service in instance.running("local"):
        values[f"{instance.master_cf}: {service.key}: {_PARAMETER}"] = service.overrides.get(_PARAMETER, "")
    return values


def _argv(value: str) -> list[str]:
    """Return the command line of the filter in a command, from its name on; empty if there is none."""
    found = _split(value)
    start = next((place for place, word in enumerate(found) if Path(word).name == NAME), len(found))
    return found[start:]


def _split(value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError:  # a quote that nothing ends
        return value.split()


def look(found: Hook, instance: Instance) -> Iterator[Finding]:
    """Yield what is wrong with it, and whether a transport runs the filter, too."""
    wrong = [*about_form(found), *about_programs(found), *about_precedence(instance)]
    yield from wrong or [ok("delivery", f"{found.where}: runs the filter as it should")]
    for transport in instance.transports[:1]:
        text = f"{found.where} runs the filter, and the transport {transport.service} does: local mail is scanned twice"
        remedy = "Take mailbox_command out and run postfix reload, or run: pf-spamfilt-admin setup --remove --apply"
        yield warning("delivery-twice", text, remedy)


def about_form(found: Hook) -> Iterator[Finding]:
    """Yield whether this form of the filter delivers what local(8) gives it."""
    first = found.form[:1]
    if first == [PIPE_TO]:
        return
    remedy = f"Write mailbox_command = {found.argv[0]} --pipe-to COMMAND there, then run: postfix reload"
    yield error("delivery-form", f"{found.where}: without --pipe-to nothing is delivered: all local mail waits", remedy)


def about_programs(found: Hook) -> Iterator[Finding]:
    """Yield each program on its command line that is not there."""
    command = [word for word in found.form[1:] if word != "--"] if found.form[:1] == [PIPE_TO] else []
    for path, then in ((found.argv[0], "bounces"), *((word, "waits") for word in command[:1])):
        yield from _about_program(found.where, path, then)


def about_agents(instance: Instance) -> Iterator[Finding]:
    """Yield each delivery agent in mailbox_command, without the filter before it, that is not there."""
    for where, value in _commands(instance).items() if _is_run(instance) else ():
        program = next(iter(_split(value)), "")
        if program and not _argv(value) and (program.startswith("/") or program in _AGENTS):
            yield from _about_program(where, program, "bounces")


def _about_program(where: str, path: str, then: str) -> Iterator[Finding]:
    if not shutil.which(path, path=_PATH):
        text = f"{where}: {path}: there is no such program: local mail {then}"
        yield error("delivery-program", text, "Install it, or name the right one there, then run: postfix reload")


def about_precedence(instance: Instance) -> Iterator[Finding]:
    """Yield what takes local mail before it comes to mailbox_command."""
    for service in instance.running("local"):
        for name in _BEFORE if _argv(instance.value(service, _PARAMETER)) else ():
            value = instance.value(service, name)
            if value and not (name == "local_transport" and _is_local(instance, value)):
                yield _before(instance, service, name, value)


def _is_local(instance: Instance, value: str) -> bool:
    return value.partition(":")[0] in [each.name for each in instance.running("local")]


def _before(instance: Instance, service: Service, name: str, value: str) -> Finding:
    where, option = instance.main_cf, f"-X {name}"
    if name in service.overrides:
        where, option = f"{instance.master_cf}: {service.key}", f"-PX {service.key}/{name}"
    if name.endswith("_maps"):
        whose, remedy = "accounts in it are", "Take those out there"
    else:
        whose, remedy = "local mail is", f"Run: postconf {option} && postfix reload"
    text = f"{where}: {name}={value} goes before {_PARAMETER}: {whose} not filtered by that"
    return warning("delivery-before", text, f"{remedy}; or filter by a transport: pf-spamfilt-admin setup")


def about_root(instance: Instance, has: Callable[[str, str], bool], home: str = "/root") -> Iterator[Finding]:
    """Yield whether root's mail is delivered: local(8) runs no command as root; `has` tells if a table has a name."""
    main = instance.main
    if main.get("mailbox_transport_maps") or not _is_run(instance):
        return
    if os.path.exists(f"{home}/.forward") or _has_root(main, has):
        yield ok("delivery-root", f"{instance.main_cf}: root's mail goes to somebody else")
        return
    user = main.get("default_privs", "nobody")
    what = f"its mail is delivered as {user}: into {user}'s mailbox, or not at all"
    text = f"{instance.main_cf}: alias_maps has no root: {what}"
    tables = [table.partition(":") for table in words(main.get("alias_maps", ""))]
    file = next((name for kind, _, name in tables if kind in _DATABASES), _ALIASES)
    yield warning("delivery-root", text, f'Write "root: jane", who reads it, into {file}, then run: newaliases')


def _is_run(instance: Instance) -> bool:
    """Tell whether there is local mail, and mailbox_command delivers it."""
    main = instance.main
    return instance.is_local and not main.get("mailbox_transport") and bool(main.get("mydestination"))


def _has_root(main: Mapping[str, str], has: Callable[[str, str], bool]) -> bool:
    """Tell whether root's mail has another address, by aliases(5) or virtual(5)."""
    domains = dict.fromkeys(words(f"{main.get('myorigin', '')} {main.get('mydestination', '')}"))
    names = {"alias_maps": ["root"], "virtual_alias_maps": ["root", *(f"root@{domain}" for domain in domains)]}
    return any(has(table, name) for maps, keys in names.items() for table in words(main.get(maps, "")) for name in keys)


def about_quarantines(found: Hook, quarantines: Iterable[str]) -> Iterator[Finding]:
    """Yield each store: it is one account's, and here the filter runs as each recipient."""
    for destination in quarantines:
        if destination.startswith(settings.STORES):
            text = f'{found.where} runs the filter as each recipient, but quarantine "{destination}" is one account\'s'
            remedy = "Others' spam that is to be kept waits. Name an address there, or filter by a transport instead"
            yield error("delivery-quarantine", text, remedy)
