"""policy: what holds for some addresses, and where it comes from; no message is needed, and nothing is sent.

Settings and tables are read as the filter reads them: by its own code and, if this is root, as its account. So what
it may not read is an error here, too.
"""

import os
import time
from collections.abc import Iterable, Iterator

import click

from pf_spamfilt import describe, examine, headers, patterns, policy, report, settings, wishes
from pf_spamfilt.admin import account
from pf_spamfilt.admin.output import as_json
from pf_spamfilt.admin.site import Site
from pf_spamfilt.envelope import Envelope, expand
from pf_spamfilt.exits import Deferred, Ended
from pf_spamfilt.policy import Wishes

EPILOG = """\b
Examples:
  pf-spamfilt-admin policy jim@example.net jane@example.com
  pf-spamfilt-admin policy --all '<>' jane@example.com joe@example.com
  pf-spamfilt-admin policy --from news@shop.example bounce-17@mailer.example jane@example.com
"""


@click.command("policy", epilog=EPILOG)
@click.option("--all", "everything", is_flag=True, help="Show the keys, too, that nothing sets: their defaults.")
@click.option("--from", "claimed", metavar="ADDRESS", default="", help="The address in the From field of the message.")
@click.option("--json", "for_program", is_flag=True, help="Print JSON, with all keys.")
@click.argument("sender")
@click.argument("recipients", nargs=-1, required=True, metavar="RECIPIENT...")
@click.pass_obj
def command(
    site: Site, everything: bool, claimed: str, for_program: bool, sender: str, recipients: tuple[str, ...]
) -> None:
    """Show what holds for some addresses, and where it comes from.

    SENDER and each RECIPIENT are addresses of the envelope; '' and '<>' are the null sender. Shown is what each
    recipient wants, from tables, from [[senders]] and [[recipients]], from [policy]; whether the sender is on one of
    his lists; and the name that spamd gets. For what becomes of a certain message use pf-spamfilt --explain.
    """
    envelope, fields = _envelope(sender, recipients), _from(claimed)
    notes = describe.Notes()
    me = _act_as_filter(site)
    chosen, everybody = _gather(site, envelope, fields, notes, me)
    for line in filter(None, [chosen.note, *notes.lines]):
        click.echo(f"Note: {line}", err=True)
    found = [Found(each, envelope, chosen) for each in everybody]
    source = site.settings_file
    if for_program:
        file = source if os.path.exists(source) else None
        as_json({"settings": file, "account": me, "recipients": [each.for_program() for each in found]})
        return
    _print_section("Settings", [("file", describe.settings_file(source)), ("asked as", me)])
    for each in found:
        _print_section(f"Recipient {report.printable(each.wishes.recipient)}", each.rows(everything))


def _envelope(sender: str, recipients: tuple[str, ...]) -> Envelope:
    try:
        return Envelope(os.fsencode(sender), [os.fsencode(recipient) for recipient in recipients])
    except Deferred as error:
        raise click.UsageError(error.text) from None


def _from(claimed: str) -> list[bytes]:
    """Return the header with this address, if there is one."""
    field = b"From: " + os.fsencode(claimed)
    if claimed and not headers.addresses_of(field):
        raise click.BadParameter("is no address", param_hint="--from")
    return [field] if claimed else []


def _gather(
    site: Site, envelope: Envelope, fields: list[bytes], notes: describe.Notes, me: str
) -> tuple[settings.Settings, list[Wishes]]:
    try:
        chosen = site.settings()
        deadline = time.monotonic() + chosen.limits.deadline
        return chosen, wishes.gather(envelope, fields, chosen, deadline, notes)
    except Ended as error:
        raise click.ClickException(f"{error.text}\nThis was asked as {me}.") from None


class Found:
    """What holds for one recipient of this envelope."""

    def __init__(self, wanted: Wishes, envelope: Envelope, chosen: settings.Settings) -> None:
        self.wishes = wanted
        self.user = None if wanted["bypass"] else examine.user_for(wanted.recipient, envelope, chosen)
        self.quarantine = expand(wanted["quarantine"], wanted.recipient, chosen.recipient_delimiter)

    def rows(self, everything: bool) -> Iterator[tuple[str, str]]:
        """Yield what a person is told."""
        for key, value, where in describe.keys(self.wishes):
            if where or everything:
                yield key, describe.sourced(key, value, where)
        if self.quarantine:
            yield "kept in", report.printable(self.quarantine)
        yield "sender", describe.standing(self.wishes.listed, self.wishes.listed_in)
        if self.user is None:
            yield "spamd user", "not scanned: bypass"
        else:
            yield "spamd user", report.printable(self.user) or "none: the preferences of the filter's account"

    def for_program(self) -> dict[str, object]:
        """Return what a program is told."""
        keys = describe.keys(self.wishes)
        return {
            "recipient": _text(self.wishes.recipient),
            "policy": {
                key: {
                    "value": patterns.words(value) if key in policy.LISTS else value,  # type: ignore[arg-type]
                    "source": where or "default",
                }
                for key, value, where in keys
            },
            "quarantine": _text(self.quarantine),
            "sender": {"list": self.wishes.listed, "source": self.wishes.listed_in},
            "spamd_user": None if self.user is None else _text(self.user),
        }


def _print_section(title: str, rows: Iterable[tuple[str, str]]) -> None:
    describe.section(click.style(title, bold=True), rows)


def _act_as_filter(site: Site) -> str:
    """Become what pipe(8) makes of the filter, for good; return the account's name.

    Who is not root stays who he is, but for the environment.
    """
    found, configuration, directory = account.usable(site.transport), site.directory, "."
    if found:
        directory = site.setting("queue_directory")
    elif os.geteuid() == 0:
        click.echo("Note: asked as root: the filter's account may not be able to read all that root can", err=True)
    account.become(account.World(found, configuration, directory))
    return account.own_name()


def _text(address: bytes) -> str:
    return address.decode("utf-8", "replace")
