"""The plan of setup --remove: first no mail comes to the filter any more, then what the filter needed goes.

It changes nothing itself. What is not setup's own, or has been changed since, stays, and a note says so.
"""

import json
import os
import pwd
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from pf_spamfilt import settings
from pf_spamfilt.admin.keeping import vault
from pf_spamfilt.admin.output import counted, progress
from pf_spamfilt.admin.setups import install, mastercf, step
from pf_spamfilt.admin.setups.install import BEFORE, MADE_BY
from pf_spamfilt.admin.setups.mastercf import Edit
from pf_spamfilt.admin.setups.step import Step
from pf_spamfilt.admin.site import Site, Transport
from pf_spamfilt.exits import Ended, SettingsError

# How many queue files one postcat(1) is given.
_BATCH = 100


class Plan(NamedTuple):
    """The master.cf that is to be; what stops the mail to the filter; what then goes; what stays, and why."""

    master: str
    unhook: list[Step]
    dismantle: list[Step]
    notes: list[str]


def plan(site: Site, name: str) -> Plan:
    """Return what takes the transport `name` out of Postfix, and all that setup has made for it."""
    entries = mastercf.entries(site.postconf("-M"))
    ours = install.transport(site, entries, name)
    install.refuse_main(site, name)
    services = [entry.without_filter() for entry in mastercf.filtered(entries, name)]
    entry: list[Edit] = [["-MX", f"{name}/unix"]] if ours else []
    unhook = step.edits(site, "No mail comes to the filter any more.", services)
    master = mastercf.edited(site, [*services, *entry])
    notes: list[str] = []
    restored = _original(site, master, notes)
    steps = step.edits(site, "The transport, when no queued message is for it.", entry)
    if restored:
        words = ["mv", f"{site.directory}/{BEFORE}", f"{site.directory}/master.cf"]
        steps.append(step.run(site, "The same master.cf, with its former blanks and line breaks.", *words))
    steps += step.reload(site, bool(entry or restored))
    steps += _belongings(site, name, ours, notes)
    unhook += step.reload(site, bool(services))
    return Plan(restored or master, unhook, steps, notes)


def queued_for(site: Site, name: str) -> list[str]:
    """Return the ids of the queued messages which are for a transport because it was their content_filter.

    Only root can look into queue files; for others it is none. Raises ClickException.
    """
    if os.geteuid():
        return []
    try:
        queued = [json.loads(line) for line in site.run("postqueue", "-j").splitlines()]
    except click.ClickException as error:  # also of a Postfix that has never run
        raise click.ClickException(f"{error.message}\nDoes this mend it? postfix check") from None
    ids = [each["queue_id"] for each in queued if each["queue_name"] != "maildrop"]
    batches = [ids[start : start + _BATCH] for start in range(0, len(ids), _BATCH)]
    return [found for batch in progress("looking into the queue", batches) for found in _for(site, name, batch)]


def _for(site: Site, name: str, ids: list[str]) -> Iterator[str]:
    queue_id = ""
    for line in _envelopes(site, ids).splitlines():
        if found := re.fullmatch(r"\*\*\* ENVELOPE RECORDS (?:\S*/)?(\S+) \*\*\*", line):
            queue_id = found[1]
        elif re.match(rf"content_filter: {re.escape(name)}(:|$)", line):
            yield queue_id


def _envelopes(site: Site, ids: Sequence[str]) -> str:
    """Return what postcat(1) prints of these messages, without those that have left the queue meanwhile."""
    left = list(ids)
    while left:
        try:
            return site.run("postcat", "-eq", *left)
        except click.ClickException as error:
            gone = re.search(r"open queue file (\S+): No such file", error.message)
            if not gone or gone[1] not in left:
                raise
            left.remove(gone[1])
    return ""


def _original(site: Site, after: str, notes: list[str]) -> str:
    """Return the text of master.cf before there was a filter if it says the same as `after`; empty: it does not."""
    kept = Path(site.directory, BEFORE)
    if not kept.exists():
        return ""
    text = mastercf.text(kept)
    if mastercf.same_but_layout(site, text, after):
        return text
    notes.append(f"{kept} stays: master.cf has been changed in other ways, too. Compare them, and delete it.")
    return ""


def _belongings(site: Site, name: str, ours: Transport | None, notes: list[str]) -> list[Step]:
    """Return the steps that take away settings, an empty quarantine and the account, if they are setup's."""
    if others := [each.service for each in site.transports if each.service != name]:
        notes.append(f"Settings and account stay: {', '.join(others)} in master.cf uses them.")
        return []
    made = [each for each in pwd.getpwall() if each.pw_gecos == MADE_BY and (not ours or each.pw_name == ours.user)]
    if ours and not made:
        notes.append(f"The account {ours.user} stays: setup has not made it.")
    notes += _kept(site)
    steps = _settings(site, notes)
    try:
        stores = _stores(site) if made else []
    except SettingsError as error:
        notes.append(f"The account {made[0].pw_name} stays, and what may be its: {error.text}.")
        return steps
    for user in made:
        folders = [path for path in stores if _is_of(user, path)]
        full = [path for path in folders if not _is_empty(path)]
        if full:
            notes.append(f"{', '.join(full)} stays, and so does the account {user.pw_name}, whose it is.")
            continue
        for path in folders:
            words = ["find", path, "-depth", "-type", "d", "-empty", "-delete"]
            steps.append(step.run(site, "The quarantine, which is empty.", *words))
        steps.append(step.run(site, "The account.", "userdel", user.pw_name))
    return steps


def _kept(site: Site) -> Iterator[str]:
    """Yield where mail stays in quarantine, and how it is found when the settings no longer name the store."""
    try:
        names = vault.named(site.settings())
    except SettingsError:  # then they stay
        return
    for name in names:
        words = step.postfix(site, "pf-spamfilt-admin", "quarantine", "list", "--store", name)
        try:
            count = len(vault.store(name).entries())
        except (FileNotFoundError, PermissionError):  # there is none; or this is not root, and only shown
            continue
        except (OSError, Ended):
            yield f"{name} stays, and could not be read: {shlex.join(words)}"
            continue
        if count:
            yield f"{counted(count, 'message')} {'stays' if count == 1 else 'stay'} kept: {shlex.join(words)}"


def _settings(site: Site, notes: list[str]) -> list[Step]:
    text = install.read_settings(site)
    if text is None:
        return []
    if not install.is_untouched(text):
        notes.append(f"{site.settings_file} stays: it is not, or no longer, as setup writes it.")
        return []
    files = [site.settings_file, site.settings_file + settings.COMPILED_SUFFIX]
    return [step.run(site, "Settings, which nobody has changed.", "rm", "-f", *files)]


def _stores(site: Site) -> list[str]:
    """Return what the settings have the filter write to: quarantines and its log file; up to the first macro."""
    if install.read_settings(site) is None:
        return []
    chosen = site.settings()
    blocks = [chosen.policy, *chosen.recipients[1], *chosen.senders[1]]
    stores = [str(block.get("quarantine", "")) for block in blocks]
    paths = [store.partition(":")[2].partition("${")[0] for store in stores if store.startswith(settings.STORES)]
    return sorted({path for path in [*paths, chosen.log.file] if path})


def _is_of(user: pwd.struct_passwd, path: str) -> bool:
    return os.path.lexists(path) and os.lstat(path).st_uid == user.pw_uid


def _is_empty(path: str) -> bool:
    """Tell whether a folder has nothing in it but folders."""
    return os.path.isdir(path) and not install.has_files(path)
