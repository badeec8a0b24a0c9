"""Which kept messages a command is for: ids, and filters that all commands of `quarantine` share."""

import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import click

from pf_spamfilt import patterns
from pf_spamfilt.admin.keeping import vault
from pf_spamfilt.admin.keeping.vault import Entry
from pf_spamfilt.admin.moments import Moment, MomentType
from pf_spamfilt.envelope import NULL_SENDER, for_sendmail, without_brackets
from pf_spamfilt.exits import Deferred
from pf_spamfilt.process import encode
from pf_spamfilt.report import printable

if TYPE_CHECKING:
    from pf_spamfilt.patterns import Patterns

Command = TypeVar("Command", bound=Callable[..., object])


def _patterns(_: click.Context, __: click.Parameter, words: Sequence[str]) -> "list[Patterns]":
    """Return patterns as patterns.matching() wants them; usage is wrong if one is none, or a table."""
    try:
        found = [patterns.compiled([word]) for word in words]
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    for word, segments in zip(words, found, strict=True):
        if any(kind not in ("plain", "regex") for kind, _, _ in segments):
            raise click.BadParameter(f'"{word}" is a table: use an address, domain, .domain or /regular expression/')
    return found


def _names(_: click.Context, __: click.Parameter, names: Sequence[str]) -> list[str]:
    """Return names of stores; usage is wrong if one is none."""
    try:
        return [vault.store(name).destination for name in names]
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


def addresses(_: click.Context, __: click.Parameter, words: Sequence[str]) -> list[bytes]:
    """Return envelope addresses; usage is wrong if one is none: sendmail would make another of it."""
    found = list(map(without_brackets, encode(list(words))))
    for word, address in zip(words, found, strict=True):
        if not _is_address(address):
            raise click.BadParameter(f'"{printable(word)}" is not one address as sendmail takes it: user@example.com')
    return found


def _is_address(address: bytes) -> bool:
    try:
        return address != NULL_SENDER and for_sendmail(address) == address
    except Deferred:
        return False


STORES = click.option(
    "--store",
    "names",
    metavar="STORE",
    multiple=True,
    callback=_names,
    help="Only in this store: maildir:/PATH, dir:/PATH or mbox:/PATH; for quarantine at an address, its mailbox's "
    "Maildir. Default: all that the settings file names.",
)
_OPTIONS = (
    click.argument("ids", nargs=-1, metavar="[ID]..."),
    STORES,
    click.option(
        "--since", metavar="WHEN", type=MomentType(), help="Kept since then: a date, or an age such as 2d, 12h."
    ),
    click.option("--until", metavar="WHEN", type=MomentType(), help="Kept before then."),
    click.option(
        "--sender",
        metavar="PATTERN",
        multiple=True,
        callback=_patterns,
        help="From this envelope sender: user@domain, domain, .domain, /regular expression/, or <>.",
    ),
    click.option(
        "--recipient", metavar="PATTERN", multiple=True, callback=_patterns, help="For this envelope recipient."
    ),
    click.option("--score-min", metavar="SCORE", type=float, help="With this score or a higher one."),
    click.option("--score-max", metavar="SCORE", type=float, help="With this score or a lower one."),
)


def selecting(command: Command) -> Command:
    """Give a command ids and filters: as keyword arguments for Selection, and `names` of stores."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


class Selection:
    """Ids and filters; a message is selected if it has one of the ids, and passes every filter."""

    def __init__(
        self,
        ids: Sequence[str] = (),
        since: Moment | None = None,
        until: Moment | None = None,
        sender: "Sequence[Patterns]" = (),
        recipient: "Sequence[Patterns]" = (),
        score_min: float | None = None,
        score_max: float | None = None,
    ) -> None:
        self.ids = [name.removeprefix("<").removesuffix(">") for name in dict.fromkeys(ids)]
        self._since, self._until = since, until
        self._senders, self._recipients = sender, recipient
        self._low, self._high = score_min, score_max

    @property
    def is_all(self) -> bool:
        """Whether nothing is asked for, and so all is selected."""
        asked = (self._since, self._until, self._low, self._high)
        return not (self.ids or self._senders or self._recipients) and all(each is None for each in asked)

    def filters(self, entry: Entry) -> bool:
        """Tell whether a message passes the filters."""
        score = entry.kept.score
        return (
            (self._since is None or entry.time >= self._since.seconds)
            and (self._until is None or entry.time < self._until.seconds)
            and (self._low is None or (score is not None and score >= self._low))
            and (self._high is None or (score is not None and score <= self._high))
            and (not self._senders or _matches(self._senders, [entry.kept.sender]))
            and (not self._recipients or _matches(self._recipients, entry.kept.recipients))
        )


class _Lookup:
    """Regular expressions; there are no tables here."""

    def has(self, table: str, address: patterns.Address) -> bool:
        """Never called: PatternType lets no table through."""
        raise NotImplementedError

    def search(self, regex: str, address: patterns.Address) -> bool:
        """Tell whether a regular expression matches an address."""
        return re.search(regex, address.text, re.IGNORECASE) is not None


def _matches(wanted: "Sequence[Patterns]", addresses: list[bytes]) -> bool:
    """Tell whether any of the patterns matches any of the addresses."""
    known = [patterns.Address(address, "+") for address in addresses]
    return any(patterns.matching(each, known, _Lookup()) for each in wanted)
