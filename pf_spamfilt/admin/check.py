"""check: everything that can be wrong before mail is. Looks and tries, and changes nothing.

What it finds it finds in an order: settings, Postfix, then what the filter's account can reach. A part that cannot be
looked at is a finding, and the others are looked at nevertheless.
"""

import contextlib
import os
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import click

from pf_spamfilt import __version__, settings
from pf_spamfilt.admin import account
from pf_spamfilt.admin.account import World
from pf_spamfilt.admin.checks import (
    delivery,
    flow,
    instance,
    mailboxes,
    reach,
    scanner,
    settings_file,
    transport,
    users,
)
from pf_spamfilt.admin.checks.delivery import Hook
from pf_spamfilt.admin.checks.findings import (
    ERROR,
    OK,
    SEVERITIES,
    WARNING,
    Finding,
    error,
    for_directory,
    warning,
    worst,
)
from pf_spamfilt.admin.checks.instance import Instance
from pf_spamfilt.admin.checks.settings_file import Said
from pf_spamfilt.admin.checks.steps import Step, findings
from pf_spamfilt.admin.output import as_json, counted, progress
from pf_spamfilt.admin.site import Site, Transport
from pf_spamfilt.exits import SettingsError

EPILOG = """\b
Exit status:
  0  nothing is wrong
  1  warnings only
  2  errors: mail would be deferred, bounced, changed, or run in circles

\b
Examples:
  pf-spamfilt-admin check
  pf-spamfilt-admin check --verbose
  pf-spamfilt-admin -c /etc/postfix-in check --json
"""
_COLOURS = {OK: "green", WARNING: "yellow", ERROR: "red"}


@click.command("check", epilog=EPILOG)
@click.option("-v", "--verbose", is_flag=True, help="Print also what is fine.")
@click.option("--json", "for_program", is_flag=True, help="Print JSON: all findings, also what is fine.")
@click.pass_obj
def command(site: Site, verbose: bool, for_program: bool) -> int:
    """Find what is wrong before any mail does.

    Looks at the settings, at main.cf and master.cf, at programs, spamd, tables and quarantines: what the filter has to
    reach is tried as the account that its transport runs as, so start this as root. SpamAssassin is asked about
    the test message GTUBE; nothing is delivered, nothing is changed. Each line says how bad it is, what it is about,
    what is wrong, and what to do.
    """
    found = list(dict.fromkeys(look(site)))
    with contextlib.suppress(click.ClickException):  # no such directory, which is told
        if site.directory != settings.DEFAULT_FOLDER:
            found = [for_directory(each, site.directory) for each in found]
    if for_program:
        as_json([each._asdict() for each in found])
    else:
        _print(found, verbose)
    return worst(found)


def _print(found: list[Finding], verbose: bool) -> None:
    """Print a line for each finding, and a summary."""
    shown = [each for each in found if verbose or each.severity != OK]
    width = max((len(each.id) for each in shown), default=0)
    for each in shown:
        severity = click.style(each.severity.ljust(max(map(len, SEVERITIES))), fg=_COLOURS[each.severity])
        end = "." if each.remedy and each.text[-1] not in "?." else ""
        click.echo(f"{severity}  {each.id.ljust(width)}  {each.text}{end} {each.remedy}".rstrip())
    counts = {severity: sum(each.severity == severity for each in found) for severity in SEVERITIES}
    bad = [counted(counts[severity], severity) for severity in (ERROR, WARNING) if counts[severity]]
    click.echo(f"{', '.join(bad) or 'Nothing is wrong'}; {counts[OK]} fine")


class Filter(NamedTuple):
    """The filter as a transport or local delivery runs it, or nothing does; settings that cannot be read are None."""

    transport: Transport | None
    hook: Hook | None
    source: str
    required: bool
    chosen: settings.Settings | None

    @property
    def runner(self) -> Transport | Hook | None:
        """What runs it."""
        return self.transport or self.hook


def look(site: Site) -> Iterator[Finding]:
    """Yield everything that is found."""
    postfix = None
    try:
        postfix = instance.read(site)
    except click.ClickException as failure:
        yield error("postfix", failure.format_message(), "Mend that first: nothing of Postfix could be looked at")
    hook = delivery.hook(postfix) if postfix else None
    files = users.naming(postfix.main.get("alias_maps", "")) if postfix else []
    filters = list(_filters(site, hook or (users.runner(files, postfix, site.command) if postfix else None)))
    for each in filters:
        yield from _about_settings(each, postfix)
        if each.chosen:
            quarantines = settings_file.read(each.source).quarantines()
            yield from mailboxes.about(quarantines, postfix, site.lookup, each.source)
    if postfix:
        yield from _about_ways(site, postfix, hook, files)
        yield from _about_parameters(site)
    for each in filters:
        yield from _as_account(site, postfix, each)


def _about_ways(site: Site, postfix: Instance, hook: Hook | None, files: list[str]) -> Iterator[Finding]:
    """Yield what is found about the ways of mail to the filter: those by the queue are wanted if no other is there."""
    if postfix.transports or not (hook or files):
        yield from transport.look(postfix, site)
        yield from flow.look(postfix)
    else:
        yield from flow.about_queue(postfix)
    yield from users.look(files, postfix, hook)
    yield from users.about_modes(files)
    yield from delivery.about_agents(postfix)
    if hook:
        yield from delivery.look(hook, postfix)
    if hook or users.RUNS_FOR_ALL.intersection(files):
        yield from delivery.about_root(postfix, lambda table, name: _has(site, table, name, "postalias"))


def _filters(site: Site, hook: Hook | None) -> Iterator[Filter]:
    try:
        for used_by, source, required in site.filters():
            if used_by or not hook:
                yield Filter(used_by, None, source, required, _settings(source, required))
        if hook:
            source, required = site.reads(hook.settings_file)
            yield Filter(None, hook, source, required, _settings(source, required))
    except click.ClickException:  # no such directory, which is told
        return


def _settings(source: str, required: bool) -> settings.Settings | None:
    try:
        return settings.load(source, required)
    except SettingsError:
        return None


def _about_settings(runs: Filter, postfix: Instance | None) -> Iterator[Finding]:
    source, chosen = runs.source, runs.chosen
    yield from settings_file.errors(source, runs.required)
    yield from settings_file.about_mode(source)
    if chosen is None:
        return
    said = settings_file.read(source)
    yield from settings_file.surprises(source, said, chosen)
    if postfix:
        yield from flow.about_delimiter(postfix, chosen.recipient_delimiter, source)
    if runs.hook:
        yield from delivery.about_quarantines(runs.hook, said.quarantines())
    if postfix and runs.transport:
        yield from transport.about_time(runs.transport, postfix, chosen.limits.deadline, source)
        children = scanner.children() if scanner.is_here(chosen.spamc.servers) else 0
        if children:
            yield from transport.about_processes(runs.transport, postfix, chosen.spamc.timeout, children)


def _about_parameters(site: Site) -> Iterator[Finding]:
    """Yield what postconf(1) says of the files, and whether they are those that postdrop(1) accepts."""
    yield from flow.about_complaints(instance.complaints(site), [each.service for each in site.transports])
    allowed = ""
    if site.directory != settings.DEFAULT_FOLDER:
        with contextlib.suppress(click.ClickException):
            names = ("alternate_config_directories", "multi_instance_directories")
            allowed = site.run("postconf", "-c", settings.DEFAULT_FOLDER, "-x", "-h", *names)
    yield from flow.about_directory(site.directory, allowed)


def _as_account(site: Site, postfix: Instance | None, runs: Filter) -> Iterator[Finding]:
    """Yield what is found as the account that this filter runs as."""
    found = account.usable(runs.runner)
    me = runs.runner.user if runs.runner and found else account.own_name()
    if os.geteuid():
        text = f"this is {me}: what the filter's account can reach was not tried, but what {me} can"
        yield warning("not-root", text, "Run it as root")
    queue = postfix.main.get("queue_directory", "/") if postfix else "/"
    world = World(found, site.directory, runs.transport.options.get("directory", queue) if runs.transport else queue)
    if postfix and runs.transport and found:
        yield from flow.about_submission(postfix, me, lambda table, key: _has(site, table, key))
    about_mailboxes = partial(mailboxes.about, instance=postfix, lookup=site.lookup)
    steps = [*_steps_for_postfix(site, postfix, runs, me), *_steps_for_settings(runs, me, about_mailboxes)]
    for step in progress("checking", steps):
        yield from findings(step, world)


def _has(site: Site, table: str, key: str, program: str = "postmap") -> bool:
    """Tell whether a table has a key; one that cannot be asked has none."""
    try:
        return site.lookup(key, table, program) != ""
    except click.ClickException:
        return False


def _steps_for_postfix(site: Site, postfix: Instance | None, runs: Filter, me: str) -> Iterator[Step]:
    path = runs.runner.argv[0] if runs.runner else site.command
    yield partial(reach.about_filter, path, __version__, me)
    if postfix:
        postdrop = f"{postfix.main.get('command_directory', '')}/postdrop"
        yield partial(reach.about_postdrop, postdrop, postfix.postdrop)
        if runs.chosen:
            own = postfix.main.get("sendmail_path", "")
            yield partial(reach.about_sendmail, runs.chosen.sendmail.command[0], own)


def _steps_for_settings(runs: Filter, me: str, about_mailboxes: reach.About) -> Iterator[Step]:
    source, chosen = runs.source, runs.chosen
    yield reach.about_temporary
    if chosen is None:
        return
    said = settings_file.read(source)
    yield partial(reach.about_settings, source, me)
    yield partial(reach.about_program, chosen.spamc.command, "[spamc] command", source, me)
    yield partial(reach.about_program, chosen.sendmail.command, "[sendmail] command", source, me)
    yield partial(scanner.look, chosen.spamc, _needs(said))
    asked = dict.fromkeys([*chosen.tables.recipients, *said.tables()])
    if asked:
        yield partial(reach.about_program, chosen.tables.command, "[tables] command", source, me)
    for name in asked:
        about_quarantines = about_mailboxes if name in chosen.tables.recipients else None
        yield partial(reach.about_table, name, chosen, me, about_quarantines)
    for destination in [] if runs.hook else said.quarantines():
        yield partial(reach.about_store, destination, me)
    if chosen.log.file:
        yield partial(reach.about_log, chosen.log.file, me)
    if chosen.log.syslog:
        yield reach.about_syslog


def _needs(said: Said) -> scanner.Needs:
    levels = [value for key in ("tag_level", "tag2_level", "kill_level") for _, value in said.values(key)]
    return scanner.Needs(
        has_numbers=not all(isinstance(level, str) for level in levels),
        tag2_differs=any(value != "required" for _, value in said.values("tag2_level")),
        has_subject_tag=any(value for _, value in said.values("subject_tag")),
    )
