"""setup: from a Postfix that delivers mail to one that filters it, and back.

Both are a plan first: a diff of master.cf, and commands that a person could paste. `--apply` carries out that plan,
one step after another, in an order in which mail is safe wherever it stops: what a transport needs, then the transport,
then the service that uses it; and back in the reverse order. A step that fails ends it with status 1, and the next run
goes on from there. It never edits Postfix's files itself, starts no server, deletes no mail, no settings that somebody
has changed, and no account that it has not made.
"""

import os
import re
import time

import click

from pf_spamfilt import scan
from pf_spamfilt.admin.output import counted
from pf_spamfilt.admin.setups import install, mastercf, removal, step
from pf_spamfilt.admin.setups.install import ACCOUNT, PROCESSES, TRANSPORT, Wishes
from pf_spamfilt.admin.site import Site
from pf_spamfilt.exits import Ended

EPILOG = """\b
Examples:
  pf-spamfilt-admin setup                      show what would be done
  pf-spamfilt-admin setup --apply              do it
  pf-spamfilt-admin setup --quarantine dir:/var/spool/pf-spamfilt --apply
  pf-spamfilt-admin setup --remove --apply     undo it
"""
# How long spamd may take to answer, in seconds.
PATIENCE = 20
NO_SPAMD = """
Warning: {reason}. While that is so, mail waits in Postfix's queue.
  spamd on this host:      apt install spamd spamc; systemctl enable --now spamd
                           (before Debian 12, package and service are called spamassassin)
  spamd on another host:   name it in {file}: servers, below [spamc]
"""
# Of a transport, as content_filter and master.cf can name it, and of an account.
_NAME = re.compile(r"[A-Za-z0-9_][\w.-]*", re.ASCII)
# How many queue ids an error names.
SHOWN = 5


def _name(_context: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _NAME.fullmatch(value):
        raise click.BadParameter(f"{value!r} is no name: it may have letters, digits, _ . and -")
    return value


@click.command("setup", epilog=EPILOG)
@click.option("--apply", "do_it", is_flag=True, help="Do it, instead of only showing it.")
@click.option("--remove", is_flag=True, help="Take the filter out of Postfix again, with all that setup has made.")
@click.option(
    "--service",
    "services",
    metavar="NAME/TYPE",
    multiple=True,
    help="A service of master.cf whose mail is filtered, such as 10025/inet; may be repeated. Default: what is "
    "filtered already, or the SMTP server: smtp/inet, or behind postscreen smtpd/pass.",
)
@click.option(
    "--transport",
    metavar="NAME",
    default=TRANSPORT,
    callback=_name,
    help=f"The filter's name in master.cf (default: {TRANSPORT}).",
)
@click.option(
    "--user", metavar="NAME", callback=_name, help=f"The account that the filter runs as (default: {ACCOUNT})."
)
@click.option(
    "--processes",
    metavar="N",
    type=click.IntRange(1),
    help=f"How many messages are filtered at the same time (default: {PROCESSES}). No more than spamd has children.",
)
@click.option(
    "--quarantine",
    metavar="STORE",
    default="",
    help="Keep what is surely spam (15 points) instead of delivering it: in a folder, dir:/PATH or maildir:/PATH, "
    "which is made, or at an address. Default: all is delivered, and spam is marked.",
)
@click.pass_context
def command(
    context: click.Context,
    do_it: bool,
    remove: bool,
    services: tuple[str, ...],
    transport: str,
    user: str | None,
    processes: int | None,
    quarantine: str,
) -> int:
    """Have Postfix filter the mail that comes in by SMTP.

    Shows what that takes: an account, the settings file, a transport, and content_filter for the SMTP server. What is
    there already stays. Nothing is changed without --apply.
    """
    site: Site = context.obj
    if remove and (services or user or processes or quarantine):
        raise click.UsageError("--remove goes with --transport and --apply only", context)
    if do_it and os.geteuid():
        raise click.ClickException("only root can do this: without --apply it is only shown")
    if remove:
        return _remove(site, transport, do_it)
    return _set_up(site, Wishes(transport, services, user or "", processes or 0, quarantine), do_it)


def _set_up(site: Site, wishes: Wishes, do_it: bool) -> int:
    master, steps = install.plan(site, wishes)
    click.echo(mastercf.difference(site, master), nl=False)
    step.carry_out(site, steps, do_it)
    if not steps:
        click.echo("Nothing to do: it is set up.")
    else:
        click.echo("\nDone. Is all well? pf-spamfilt-admin check" if do_it else step.NOT_DONE)
    _warn_without_spamd(site)
    return 0


def _warn_without_spamd(site: Site) -> None:
    """Say on stderr if no spamd answers, and what to do; it scans nothing, for it might learn from that."""
    spamc = site.settings().spamc
    try:
        said = [scan.ping(spamc, server, time.monotonic() + PATIENCE) for server in spamc.servers or [""]]
    except Ended as error:
        said = [error.text]
    if all(said):
        click.echo(NO_SPAMD.format(reason=said[0], file=site.settings_file), err=True, nl=False)


def _remove(site: Site, transport: str, do_it: bool) -> int:
    plan = removal.plan(site, transport)
    click.echo(mastercf.difference(site, plan.master), nl=False)
    step.carry_out(site, plan.unhook, do_it)
    waiting = removal.queued_for(site, transport)
    if waiting and do_it:
        raise click.ClickException(_not_yet(transport, waiting))
    # Until now mail may still have come into a quarantine.
    rest = removal.plan(site, transport) if do_it else plan
    step.carry_out(site, rest.dismantle, do_it)
    for note in rest.notes:
        click.echo(f"\n# {note}")
    if not plan.unhook and not plan.dismantle:
        click.echo("Nothing to do: there is nothing of setup's here.")
    else:
        click.echo("\nDone." if do_it else step.NOT_DONE)
    if waiting:
        click.echo(f"\nNow it would stop half-way: {_not_yet(transport, waiting)}", err=True)
    return 0


def _not_yet(transport: str, waiting: list[str]) -> str:
    """Say what holds up the removal."""
    names = " ".join(waiting[:SHOWN]) + (" ..." if len(waiting) > SHOWN else "")
    return (
        f"{counted(len(waiting), 'queued message')} still to be filtered by {transport}: {names}\n"
        "Transport, settings and account stay until they have left the queue, and only new mail goes past the filter: "
        "then run this again.\npostqueue -f has them tried now; postsuper -r ID has one delivered unfiltered."
    )
