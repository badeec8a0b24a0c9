"""quarantine: list, show, release, delete, expire and learn from what the filter has kept.

A message is removed only when what was to become of it has been done: a release that fails, or is interrupted, leaves
it where it is. Each command does what it can for the others if one message or store fails, and ends with status 1.
"""

import gc
import operator
import os
import shutil
import sys
import time
from collections.abc import Callable, Collection, Sequence
from typing import Any, TypeVar

import click

from pf_spamfilt import settings
from pf_spamfilt.admin import output
from pf_spamfilt.admin.keeping import audit, handing, selection, showing, vault
from pf_spamfilt.admin.keeping.selection import Selection, selecting
from pf_spamfilt.admin.keeping.vault import Entry, Store
from pf_spamfilt.admin.moments import Moment
from pf_spamfilt.admin.site import Site
from pf_spamfilt.cli import installed
from pf_spamfilt.exits import Ended
from pf_spamfilt.report import printable

DAY = 86400
# No column of a list is made narrower than this on a terminal, in characters.
_NARROWEST = 12
# With less than this for sender, recipients and subject, the store is left out.
_ROOM = 75
# An error may tell what a program said, in characters.
_ERROR_MAX = 1000
Result = TypeVar("Result")


def _examples(*lines: str) -> str:
    """Return command lines for the end of a help text."""
    return "\n".join(["\b", "Examples:", *("  " + line for line in lines)])


@click.group(
    "quarantine",
    epilog=_examples(
        "pf-spamfilt-admin quarantine list --since 1d",
        "pf-spamfilt-admin quarantine show 4cDR2f5x-1b2c3d4e",
        "pf-spamfilt-admin quarantine release 4cDR2f5x-1b2c3d4e",
    ),
)
def command() -> None:
    """Look after what the filter has kept.

    A message is named by its id, as in the log and in its field X-Quarantine-ID. The stores are those with a path
    that the settings file names; another, or the mailbox of an address, is named by --store.
    """
    gc.disable()  # a hundred thousand messages in a list would be looked through for garbage again and again


class Failures:
    """What could not be done: told at once, on stderr, and counted for the exit status."""

    def __init__(self) -> None:
        self.count = 0

    def tell(self, text: str) -> None:
        """Tell one."""
        self.count += 1
        click.echo(f"Error: {printable(text, _ERROR_MAX)}", err=True)

    def attempt(self, what: str, action: Callable[..., Result], *arguments: object) -> Result | None:
        """Return what an action does that prints nothing; if it fails, None, and tell why, of `what`."""
        try:
            return action(*arguments)
        except Ended as error:
            self.tell(error.text if what in error.text else f"{what}: {error.text}")
        except OSError as error:
            self.tell(f"{what}: {error.strerror or error}")
        except MemoryError:
            self.tell(f"{what}: is too large for the memory of this host")
        return None

    @property
    def status(self) -> int:
        """The exit status."""
        return 1 if self.count else 0


def _stores(site: Site, names: Sequence[str]) -> list[Store]:
    """Return the stores of these names, or all with a path that the settings name. Raises ClickException if none."""
    found = names or vault.named(site.settings())
    if not found:
        what = "names no quarantine with a path" if os.path.exists(site.settings_file) else "does not exist"
        raise click.ClickException(
            f"{site.settings_file} {what}: name a store with --store;"
            " for quarantine at an address, its mailbox: --store maildir:/PATH"
        )
    stores: dict[tuple[str, str], Store] = {}
    for store in map(vault.store, found):
        stores.setdefault(store.place, store)
    return list(stores.values())


def _select(stores: Sequence[Store], wanted: Selection, failures: Failures, required: bool) -> list[Entry]:
    """Return the selected messages of all stores, the newest last; tell which ids are not there.

    A store that is not there yet is empty, unless it is `required`.
    """
    found: list[Entry] = []
    for store in stores:
        missing = set(wanted.ids) - {entry.kept.id for entry in found}
        if missing or not wanted.ids:
            found += _entries(store, missing, failures, required)
    for name in wanted.ids:
        if all(entry.kept.id != name for entry in found):
            failures.tell(f"{printable(name)}: not in {', '.join(store.destination for store in stores)}")
    return sorted(filter(wanted.filters, found), key=operator.attrgetter("time"))


def _entries(store: Store, ids: Collection[str], failures: Failures, required: bool) -> list[Entry]:
    found: list[Entry] = []
    try:
        found = store.entries(ids)
    except FileNotFoundError as error:
        if required:
            failures.tell(f"{store.destination}: {error.strerror}")
    except NotADirectoryError:
        failures.tell(f"{store.destination}: is a symbolic link or no folder: name the folder itself")
    except OSError as error:
        is_ours_to_mend = isinstance(error, PermissionError) and os.geteuid()
        remedy = ": run this as root, or as the filter's account" if is_ours_to_mend else ""
        failures.tell(f"{store.destination}: {error.strerror or error}{remedy}")
    except Ended as error:
        failures.tell(error.text)
    if store.unread:
        remedy = "run this as root" if os.geteuid() else "chown to the store's owner"
        failures.tell(f"{store.destination}: {output.counted(store.unread, 'file')} cannot be read: {remedy}")
    return found


@command.command(
    "list",
    epilog=_examples(
        "pf-spamfilt-admin quarantine list",
        "pf-spamfilt-admin quarantine list --since 12h --recipient example.com",
        "pf-spamfilt-admin quarantine list --score-max 20 --sender /invoice/ --json",
        "pf-spamfilt-admin quarantine list --store maildir:/var/mail/spam/Maildir",
    ),
)
@click.option("--json", "for_program", is_flag=True, help="Print JSON, with all that is known of each.")
@selecting
@click.pass_obj
def list_(site: Site, /, for_program: bool, names: tuple[str, ...], **filters: Any) -> int:
    """List kept messages, the newest last.

    Times are local; the size is that of the original. On a terminal long cells are shortened; not in a pipe.
    """
    failures = Failures()
    stores = _stores(site, names)
    found = _select(stores, Selection(**filters), failures, bool(names))
    if for_program:
        output.as_json([showing.for_program(entry) for entry in found])
    elif found:
        _print(found, with_store=len(stores) > 1)
    elif not failures.count:
        click.echo("Nothing is kept that matches.", err=True)
    return failures.status


@command.command(
    "show",
    epilog=_examples(
        "pf-spamfilt-admin quarantine show 4cDR2f5x-1b2c3d4e",
        "pf-spamfilt-admin quarantine show --raw 4cDR2f5x-1b2c3d4e > message.eml",
    ),
)
@click.option("--raw", is_flag=True, help="Write the original, byte for byte, and nothing else.")
@click.argument("name", metavar="ID")
@selection.STORES
@click.pass_obj
def show(site: Site, raw: bool, name: str, names: tuple[str, ...]) -> int:
    """Show a kept message.

    What the filter knew of it, its header, its parts, the beginning of its text. What could harm a terminal is
    shown as "?". With --raw the original is written as it came, without what the
    filter has put on top: for a file, a pipe, another program.
    """
    failures = Failures()
    for entry in _select(_stores(site, names), Selection([name]), failures, bool(names)):
        original = failures.attempt(entry.kept.id, entry.store.original, entry)
        if original is not None:
            _show(entry, original, raw)
    return failures.status


def _show(entry: Entry, original: bytes, raw: bool) -> None:
    if raw:
        sys.stdout.buffer.write(original)
        return
    _section(f"Kept as {entry.kept.id}", list(showing.described(entry)))
    _section("Header", list(showing.header(original)))
    _section("Parts", showing.parts(original))
    _section("Text", [("", line) for line in showing.text(original)])


@command.command(
    "release",
    epilog=_examples(
        "pf-spamfilt-admin quarantine release 4cDR2f5x-1b2c3d4e",
        "pf-spamfilt-admin quarantine release --to me@example.com --keep 4cDR2f5x-1b2c3d4e",
        "pf-spamfilt-admin quarantine release --sender friend.example --since 7d --dry-run",
    ),
)
@selecting
@click.option(
    "--to",
    "recipients",
    metavar="ADDRESS",
    multiple=True,
    callback=selection.addresses,
    help="Deliver to this address instead; several: repeat it.",
)
@click.option("--keep", is_flag=True, help="Leave it in quarantine as well.")
@click.option("--dry-run", is_flag=True, help="Only say what would be released.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def release(
    site: Site,
    /,
    recipients: list[bytes],
    keep: bool,
    dry_run: bool,
    yes: bool,
    names: tuple[str, ...],
    **filters: Any,
) -> int:
    """Deliver kept messages.

    The original goes out from its sender, to those recipients whose copy was kept. It is removed from quarantine
    when sendmail has taken it. The filter of this host lets it pass without another
    scan; a field X-Quarantine-Released tells so.
    """
    failures, chosen = Failures(), site.settings()
    found = _chosen(site, names, filters, failures)
    if not _agreed("Release", found, dry_run, yes):
        return failures.status
    for entry in output.progress("Releasing", found):
        to = recipients or entry.kept.recipients
        said = failures.attempt(entry.kept.id, _release, site, chosen, entry, to)
        if said is None:
            continue
        audit.tell(chosen, f"released {entry.kept.id} from {entry.store.destination} to {audit.addresses(to)}")
        if not keep:
            _remove([entry], failures, "released, but could not be removed")
        # Last: where nobody reads it, this ends the command.
        click.echo(f"released: {entry.kept.id} to {', '.join(map(printable, to))}")
        if said:
            click.echo(f"{entry.kept.id}: sendmail took it, and said: {said}", err=True)
    return failures.status


def _release(site: Site, chosen: settings.Settings, entry: Entry, to: list[bytes]) -> str:
    return handing.release(site, chosen, entry.store.original(entry), entry.kept.id, entry.kept.sender, to)


@command.command(
    "delete",
    epilog=_examples(
        "pf-spamfilt-admin quarantine delete 4cDR2f5x-1b2c3d4e",
        "pf-spamfilt-admin quarantine delete --score-min 30 --until 2d",
    ),
)
@selecting
@click.option("--dry-run", is_flag=True, help="Only say what would be deleted.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.pass_obj
def delete(site: Site, /, dry_run: bool, yes: bool, names: tuple[str, ...], **filters: Any) -> int:
    """Delete kept messages, for good.

    Asks first, at a terminal, if they are more than one.
    """
    failures, chosen = Failures(), site.settings()
    found = _chosen(site, names, filters, failures)
    if _agreed("Delete", found, dry_run, yes):
        removed = _remove(found, failures)
        for entry in removed:
            audit.tell(chosen, f"deleted {audit.described(entry)}")
        click.echo(f"deleted: {output.counted(len(removed), 'message')}")
    return failures.status


@command.command(
    "expire",
    epilog=_examples(
        "# in /etc/cron.d/pf-spamfilt:",
        f"17 4 * * *  root  {installed('pf-spamfilt-admin')} quarantine expire --days 30",
    ),
)
@click.option("--days", metavar="N", type=click.FloatRange(0), required=True, help="Remove what is older.")
@selection.STORES
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.pass_obj
def expire(site: Site, days: float, names: tuple[str, ...], dry_run: bool) -> int:
    """Remove what was kept more than N days ago; for cron(8).

    Also removes temporary files that a crash has left, when they are older than 36 hours. What is no kept message
    stays. Prints one line, or nothing if nothing is old, and this is no terminal.
    """
    failures, chosen, abandoned = Failures(), site.settings(), 0
    stores = _stores(site, names)
    found = _select(stores, Selection(until=Moment(time.time() - days * DAY, True)), failures, bool(names))
    removed = found if dry_run else _remove(found, failures)
    for store in stores:
        try:
            abandoned += store.remove_abandoned(dry_run)
        except FileNotFoundError:
            continue
        except (OSError, Ended) as error:
            failures.tell(f"{store.destination}: {error}")
    for entry in [] if dry_run else removed:
        audit.tell(chosen, f"expired {audit.described(entry)}")
    more = f", {output.counted(abandoned, 'temporary file')}" if abandoned else ""
    freed = showing.size(sum(entry.size for entry in removed))
    if removed or abandoned or dry_run or sys.stdout.isatty():  # cron(8) mails what is printed
        word = "would expire" if dry_run else "expired"
        click.echo(f"{word}: {output.counted(len(removed), 'message')}, {freed}B{more}")
    return failures.status


@command.command(
    "learn",
    epilog=_examples(
        "pf-spamfilt-admin quarantine learn ham 4cDR2f5x-1b2c3d4e",
        "pf-spamfilt-admin quarantine learn spam --since 1d --score-min 15",
    ),
)
@click.argument("kind", type=click.Choice(["spam", "ham"]), metavar="spam|ham")
@selecting
@click.pass_obj
def learn(site: Site, /, kind: str, names: tuple[str, ...], **filters: Any) -> int:
    """Have SpamAssassin learn kept messages.

    As spam or as ham, for the user that each was scanned for. spamd must run with --allow-tell. The messages stay
    in quarantine.
    """
    failures, chosen = Failures(), site.settings()
    for entry in output.progress("Learning", _chosen(site, names, filters, failures)):
        is_new = failures.attempt(entry.kept.id, _learn, site, chosen, entry, kind)
        whose = f"{entry.kept.id} for {printable(entry.kept.user)}" if entry.kept.user else entry.kept.id
        known = f"nothing new in {whose}: known already, or spamd has no Bayes, or may not write there: see its log"
        if is_new:
            audit.tell(chosen, f"learned as {kind} {whose}")
        if is_new is not None:
            click.echo(f"learned as {kind}: {whose}" if is_new else known)
    return failures.status


def _learn(site: Site, chosen: settings.Settings, entry: Entry, kind: str) -> bool:
    return handing.learn(site, chosen, entry.store.original(entry), kind, entry.kept.user)


def _chosen(site: Site, names: Sequence[str], filters: dict[str, Any], failures: Failures) -> list[Entry]:
    """Return the selected messages, of which something is to become. Raises UsageError if nothing was selected."""
    wanted = Selection(**filters)
    if wanted.is_all:
        raise click.UsageError("say which: give ids, or a filter such as --since 1d")
    return _select(_stores(site, names), wanted, failures, bool(names))


def _agreed(verb: str, found: list[Entry], dry_run: bool, yes: bool) -> bool:
    """Tell whether to go on: shows what would be done if this is a dry run, asks a person if it is about several."""
    if dry_run:
        if found:
            _print(found, with_store=True)
        click.echo(f"would {verb.lower()}: {output.counted(len(found), 'message')}")
        return False
    if len(found) > 1 and not yes and sys.stdin.isatty():
        click.confirm(f"{verb} {output.counted(len(found), 'message')}?", abort=True, err=True)
    return bool(found)


def _remove(found: list[Entry], failures: Failures, what: str = "could not be removed") -> list[Entry]:
    """Remove messages, those of a store together; return those that are, and tell `what` of the others."""
    removed: list[Entry] = []
    for store in dict.fromkeys(entry.store for entry in found):
        entries = [entry for entry in found if entry.store is store]
        try:
            gone = store.remove(entries)
        except (OSError, Ended) as error:
            failures.tell(f"{store.destination}: {_ids(entries)}: {what}: {error}")
            continue
        removed += [entry for entry in entries if entry not in gone]
        if gone:
            failures.tell(f"{store.destination}: {_ids(gone)}: {what}: not there any more")
    return removed


def _ids(entries: list[Entry]) -> str:
    return entries[0].kept.id if len(entries) == 1 else output.counted(len(entries), "message")


def _print(found: list[Entry], with_store: bool) -> None:
    """Print a list; on a terminal no wider than that, if it can be, and without stores where that makes room."""
    rows = [showing.HEADINGS, *map(showing.row, found)]
    if not with_store:
        rows = [row[:-1] for row in rows]
    if sys.stdout.isatty():
        columns = shutil.get_terminal_size().columns
        if with_store and _left(rows, columns) < _ROOM:
            rows = [row[:-1] for row in rows]
        rows = _narrowed(rows, _left(rows, columns))
    output.table(rows[0], rows[1:], showing.RIGHT)


def _left(rows: list[tuple[str, ...]], columns: int) -> int:
    """Return how much of a line is left for the cells that can be shortened."""
    others = [place for place in range(len(rows[0])) if place not in showing.LONG]
    return columns - 2 * (len(rows[0]) - 1) - sum(max(output.width(row[place]) for row in rows) for place in others)


def _narrowed(rows: list[tuple[str, ...]], left: int) -> list[tuple[str, ...]]:
    """Shorten sender, recipients and subject to a share of what is left for them."""
    third = max(_NARROWEST, left // 3)
    limits = dict.fromkeys(showing.LONG, third)
    limits[showing.LONG[-1]] = max(_NARROWEST, left - 2 * third)
    return [tuple(_shortened(cell, limits.get(place, 0)) for place, cell in enumerate(row)) for row in rows]


def _shortened(cell: str, limit: int) -> str:
    """Return a cell that is at most `limit` wide; 0: no limit."""
    if not limit or output.width(cell) <= limit:
        return cell
    cell = cell[: limit - 3]
    while output.width(cell) > limit - 3:
        cell = cell[:-1]
    return cell + "..."


def _section(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print a title, and rows of a name and a text."""
    if not rows:
        return
    click.secho(title, bold=True)
    indent = max(len(name) for name, _ in rows) + 2
    for name, text in rows:
        click.echo(f"  {name.ljust(indent) if indent > 2 else ''}{text}".rstrip())
    click.echo()
