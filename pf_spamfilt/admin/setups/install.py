"""The plan of setup: what this Postfix still needs to have its mail filtered, and how setup's own work is known again.

It changes nothing. What only a person can decide, such as another filter that is there, is a ClickException with the
remedy, and then nothing of the plan is done.
"""

import os
import pwd
import shlex
import tomllib
from collections.abc import Sequence
from typing import NamedTuple

import click

from pf_spamfilt import schema, settings
from pf_spamfilt.admin.account import USERADD
from pf_spamfilt.admin.setups import mastercf, step
from pf_spamfilt.admin.setups.mastercf import Edit, Entry
from pf_spamfilt.admin.setups.step import Step
from pf_spamfilt.admin.site import Site, Transport

ACCOUNT = "spamfilt"
TRANSPORT = "spamcheck"
PROCESSES = 10
# By its comment in passwd(5) an account is known as one that setup has made.
MADE_BY = "made by pf-spamfilt-admin setup"
# master.cf as it was before there was a filter in it; beside it.
BEFORE = "master.cf.before-pf-spamfilt"
# The kinds of a quarantine that are a folder, which setup can make.
FOLDERS = ("dir:", "maildir:")
EXAMPLE_STORE = "dir:/var/spool/pf-spamfilt"

SETTINGS = """\
# Settings of pf-spamfilt. What is not set here has its default: see man pf-spamfilt.toml.
# After a change: pf-spamfilt-admin compile

[spamc]
# Where spamd runs, if not on this host; the second is asked if the first does not answer.
#servers = ["spamd1.example.com", "spamd2.example.com"]

[policy]
# From this score on mail is marked as spam; default: SpamAssassin's own required_score.
#tag2_level = 6.3
# From this score on mail is kept in the quarantine, and not delivered (with "pass": delivered as well).
{mark}kill_level = 15
{mark}quarantine = "{store}"
{mark}destiny = "discard"
"""


class Wishes(NamedTuple):
    """The command line; what is not on it is empty or 0: then it stays as it is, or gets its default."""

    transport: str
    services: tuple[str, ...] = ()
    user: str = ""
    processes: int = 0
    quarantine: str = ""


def plan(site: Site, wishes: Wishes) -> tuple[str, list[Step]]:
    """Return the master.cf that is to be, and the steps that are still to be done."""
    entries = mastercf.entries(site.postconf("-M"))
    ours = transport(site, entries, wishes.transport)
    user = wishes.user or (ours.user if ours else "") or ACCOUNT
    _check_host(site, user)
    transport_edits = _transport_edit(site, wishes, ours, entries, user)
    service_edits = _service_edits(site, entries, wishes)
    if transport_edits:
        mastercf.refuse_open_end(site)
    edits = [*transport_edits, *service_edits]
    steps = [*_account(site, user), *_quarantine(site, wishes.quarantine, user), *_settings(site, wishes.quarantine)]
    if edits:
        steps.append(_trial(site, user))
        if not ours and not mastercf.filtered(entries, wishes.transport):
            steps.append(_keep_original(site))
        steps += step.edits(site, "The transport.", transport_edits)
        steps += step.edits(site, "What comes in here goes to the transport.", service_edits)
    return mastercf.edited(site, edits), [*steps, *step.reload(site, bool(edits))]


def transport(site: Site, entries: Sequence[Entry], name: str) -> Transport | None:
    """Return the filter's transport, if it is there. Raises ClickException if the name is another's."""
    ours = next((each for each in site.transports if each.service == name), None)
    if not ours and any(entry.service == f"{name}/unix" for entry in entries):
        raise click.ClickException(
            f"{site.directory}/master.cf: {name}/unix is there, and does not run pf-spamfilt: nothing was changed. "
            "Name the filter's transport otherwise: --transport NAME"
        )
    return ours


def refuse_main(site: Site, name: str = "") -> None:
    """Raise ClickException if there is a content_filter in main.cf, and it is this transport if that is named."""
    present = site.setting("content_filter")
    if present and name in ("", present.partition(":")[0]):
        remedy = shlex.join(step.postfix(site, "postconf", "-X", "content_filter"))
        raise click.ClickException(
            f"{site.directory}/main.cf: content_filter = {present} holds for what a filter gives back, too, and that "
            f"would be filtered again: nothing was changed. Take it out first: {remedy}"
        )


def settings_text(quarantine: str) -> str:
    """Return the settings that setup writes, with this quarantine, or with none."""
    store = (quarantine or EXAMPLE_STORE).replace("\\", r"\\").replace('"', r"\"")
    return SETTINGS.format(mark="" if quarantine else "#", store=store)


def is_untouched(text: str) -> bool:
    """Tell whether settings are as setup writes them, with a quarantine or without."""
    try:
        store = tomllib.loads(text).get("policy", {}).get("quarantine", "")
    except (tomllib.TOMLDecodeError, AttributeError):
        return False
    return text == settings_text(str(store))


def read_settings(site: Site) -> str | None:
    """Return the text of the settings file; None if there is none. Raises ClickException."""
    try:
        with open(site.settings_file, encoding="utf-8", errors="replace") as file:
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise click.ClickException(f"{site.settings_file}: {error.strerror}{mastercf.remedy(error)}") from None


def account(user: str) -> pwd.struct_passwd | None:
    """Return the account of this name, if there is one."""
    try:
        return pwd.getpwnam(user)
    except KeyError:
        return None


def _check_host(site: Site, user: str) -> None:
    if not os.access(site.command, os.X_OK):
        raise click.ClickException(f"{site.command}: there is no such program: install pf-spamfilt first")
    if user in ("root", site.setting("mail_owner")):
        raise click.ClickException(
            f"--user {user}: Postfix runs no filter as root, nor as its own account: name another"
        )
    refuse_main(site)
    site.settings()


def _transport_edit(
    site: Site, wishes: Wishes, ours: Transport | None, entries: Sequence[Entry], user: str
) -> list[Edit]:
    """Return the edit that makes the transport as in examples/master.cf, unless it is so."""
    config = site.config_option
    for path in (site.command, *config):
        if path.split() != [path]:
            raise click.ClickException(f'"{path}": a path on the filter\'s command line must have no blanks')
    limit = wishes.processes or (ours.process_limit if ours else PROCESSES)
    argv = " ".join([site.command, *config, "--", "${sender}", "${recipient}"])
    line = f"{wishes.transport} unix - n n - {limit} pipe flags=Rq user={user} null_sender= argv={argv}"
    done = any(entry.line.split() == line.split() for entry in entries)
    return [] if done else [["-M", f"{wishes.transport}/unix={line}"]]


def _service_edits(site: Site, entries: Sequence[Entry], wishes: Wishes) -> list[Edit]:
    """Return the edits that have the services filtered. Raises ClickException if one of them cannot be."""
    chosen = [_service(entries, name) for name in dict.fromkeys(wishes.services)]
    chosen = chosen or mastercf.filtered(entries, wishes.transport) or mastercf.smtp_servers(entries)
    if not chosen:
        raise click.ClickException(f"master.cf has no SMTP server on port 25: name one: {_choice(entries)}")
    for entry in chosen:
        if entry.content_filter and not entry.filtered_by(wishes.transport):
            remedy = step.postfix(site, "postconf", *entry.without_filter())
            raise click.ClickException(
                f"{site.directory}/master.cf: {entry.service} has content_filter={entry.content_filter}, and a message "
                "has only one filter: nothing was changed. If pf-spamfilt shall replace it, take it out first: "
                f"{shlex.join(remedy)}"
            )
    return [entry.with_filter(wishes.transport) for entry in chosen if not entry.content_filter]


def _service(entries: Sequence[Entry], name: str) -> Entry:
    found = next((entry for entry in entries if entry.service == name), None)
    if found is None or found.program != "smtpd":
        what = (
            f"it runs {found.program}, and only smtpd may have a filter" if found else "master.cf has no such service"
        )
        raise click.ClickException(f"--service {name}: {what}: there is {_choice(entries)}")
    return found


def _choice(entries: Sequence[Entry]) -> str:
    names = [f"--service {entry.service}" for entry in entries if entry.program == "smtpd"]
    return " or ".join(names) or "no smtpd at all"


def _account(site: Site, user: str) -> list[Step]:
    if account(user):
        return []
    return [step.run(site, "An account for the filter.", *USERADD, "--comment", MADE_BY, user)]


def _quarantine(site: Site, store: str, user: str) -> list[Step]:
    """Return the step that makes the folder of a quarantine. Raises ClickException if the filter could not use it."""
    if store.startswith("mbox:") or not store.isprintable():
        raise click.ClickException(f"--quarantine {store}: it may be dir:/PATH, maildir:/PATH or an address")
    path = store.partition(":")[2]
    if not store.startswith(FOLDERS):
        return []
    if not os.path.lexists(path):
        return [step.run(site, "The quarantine.", "install", "-d", "-m", "0700", "-o", user, path)]
    owner = account(user)
    if owner is None or os.lstat(path).st_uid != owner.pw_uid:
        raise click.ClickException(f"--quarantine {store}: {path} is there and not {user}'s: chown it, or name another")
    return []


def _settings(site: Site, quarantine: str) -> list[Step]:
    """Return the steps to a settings file and a fresh compiled one. Raises ClickException."""
    file, present, text = site.settings_file, read_settings(site), settings_text(quarantine)
    steps = []
    if present is None or (quarantine and present != text):
        if present is not None and not is_untouched(present):
            raise click.ClickException(f"--quarantine: {file} is there: set quarantine in it yourself, below [policy]")
        _refuse_to_leave(present, quarantine)
        if problem := next(schema.problems(tomllib.loads(text)), ""):
            raise click.ClickException(f"--quarantine: {problem}")
        what = "the defaults, and the quarantine" if quarantine else "the defaults"
        steps.append(step.write(f"Settings: {what}.", file, text))
    if steps or not os.path.exists(file + settings.COMPILED_SUFFIX) or site.settings().note:
        words = step.postfix(site, "pf-spamfilt-admin", *site.config_option, "compile")
        steps.append(Step("" if steps else "Settings, parsed.", shlex.join(words), lambda: schema.compile_file(file)))
    return steps


def has_files(path: str) -> bool:
    """Tell whether there are files in a folder, or in those below it."""
    return any(files for _, _, files in os.walk(path))


def _refuse_to_leave(present: str | None, quarantine: str) -> None:
    """Raise ClickException if mail is kept in another store that these settings name."""
    store = str(tomllib.loads(present or "").get("policy", {}).get("quarantine", ""))
    path = store.partition(":")[2]
    if store.startswith(FOLDERS) and path != quarantine.partition(":")[2] and has_files(path):
        raise click.ClickException(
            f"--quarantine {quarantine}: mail is kept in {store}, and no command would find it then: release or delete"
            " it first (pf-spamfilt-admin quarantine list)"
        )


def _trial(site: Site, user: str) -> Step:
    return step.run(site, "The account can run it.", "runuser", "-u", user, "--", site.command, "--version")


def _keep_original(site: Site) -> Step:
    words = ["cp", "-p", f"{site.directory}/master.cf", f"{site.directory}/{BEFORE}"]
    return step.run(site, "master.cf as it is now, for --remove.", *words)
