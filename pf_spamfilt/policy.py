"""What a recipient wants, and what that makes of a verdict. Pure: tables are asked through what is passed in.

Each key comes from the first source that has it: a Postfix table, a block of [[recipients]], [policy], the default.
Levels, lists and destinies are those of amavisd-new; pf-spamfilt.toml(5) tells what they do.
"""

from pf_spamfilt.patterns import matching, those_matching
from pf_spamfilt.report import BOUNCED, DISCARDED, QUARANTINED, REINJECTED
from pf_spamfilt.settings import DEFAULTS
from pf_spamfilt.verdict import figure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator
    from typing import Any

    from pf_spamfilt.patterns import Address, Lookup
    from pf_spamfilt.settings import Blocks
    from pf_spamfilt.verdict import Scan, Verdict

    # Where keys come from, and what they are there.
    Source = tuple[str, dict[str, Any]]
    # Welcome, blocked, and which sources say so.
    Standing = tuple[bool, bool, str]

LISTS = ("welcome_senders", "block_senders")
_LISTED = {(True, True): "both", (True, False): "welcome", (False, True): "block", (False, False): ""}
# The required score of what is never spam, as administrators write it elsewhere.
_NEVER = 9999.0


class Wishes:
    """What one recipient (bytes) wants: the sources that say something of him, the first one first."""

    __slots__ = ("blocked", "listed_in", "recipient", "sources", "welcome")

    def __init__(self, recipient: bytes, sources: "list[Source]") -> None:
        self.recipient = recipient
        self.sources = sources
        self.welcome = self.blocked = False
        self.listed_in = ""

    def find(self, key: str) -> "tuple[Any, str]":
        """Return the value of `key`, and the source that says it; an empty source is the default."""
        for name, values in self.sources:
            if key in values:
                return values[key], name
        return DEFAULTS["policy"][key], ""

    def __getitem__(self, key: str) -> "Any":
        return self.find(key)[0]

    @property
    def listed(self) -> str:
        """Which list the sender is on: "welcome", "block", "both", or none."""
        return _LISTED[self.welcome, self.blocked]


class Treatment:
    """What becomes of the message for one recipient, after `scan`.

    `spam`: his copy is marked; `status`: it tells the score; `required`: the score that says so (str); `tag`: for its
    subject; `handled`: kill_level was reached; `end`: REINJECTED, QUARANTINED, DISCARDED or BOUNCED; `listed`: which
    list the sender is on, "welcome", "block" or "both"; `kept`: where in quarantine, once it is; `rejected`: sendmail
    will never take his copy.
    """

    __slots__ = ("end", "handled", "kept", "listed", "rejected", "required", "scan", "spam", "status", "tag", "wishes")

    def __init__(self, wishes: Wishes, scan: "Scan") -> None:
        self.wishes = wishes
        self.scan = scan
        self.spam = self.handled = self.rejected = False
        self.status = True
        self.required = self.tag = self.listed = self.kept = ""
        self.end = REINJECTED

    @property
    def copy_key(self) -> "Hashable":
        """What makes two copies the same."""
        scan = self.scan
        told = () if self.is_agreed else (self.required, self.is_blocked)
        return id(scan) if scan.verdict else scan.failed and scan.unscanned, self.spam, self.status, self.tag, told

    @property
    def is_agreed(self) -> bool:
        """Whether SpamAssassin's copy is what is wanted, but for subject tag and score."""
        scan = self.scan
        return scan.verdict is not None and not scan.partial and scan.verdict.spam == self.spam

    @property
    def is_blocked(self) -> bool:
        """Whether the sender is on a block list."""
        return self.listed in ("block", "both")


def grouped(treatments: list[Treatment], key: "Callable[[Treatment], Hashable]") -> list[list[Treatment]]:
    """Return the treatments in groups of the same `key`, in their order: each is in exactly one."""
    groups: dict[Hashable, list[Treatment]] = {}
    for treatment in treatments:
        groups.setdefault(key(treatment), []).append(treatment)
    return list(groups.values())


def matching_blocks(section: str, blocks: "Blocks", address: "Address", lookup: "Lookup") -> "Iterator[Source]":
    """Yield the blocks of `section` that are for `address`."""
    index, keys = blocks
    for number in those_matching(index, address, lookup):
        yield f"[[{section}]] {number + 1}", keys[number]


def standing(group: "list[Source]", senders: "list[Address]", lookup: "Lookup") -> "Standing | None":
    """Return how the sender, by any of his addresses, stands on the lists of these sources; None: on none of them."""
    wishes = Wishes(b"", group)
    found = [(matching(patterns, senders, lookup), name) for patterns, name in map(wishes.find, LISTS)]
    if all(answer is None for answer, _ in found):
        return None
    (welcome, _), (blocked, _) = found
    return bool(welcome), bool(blocked), ", ".join(dict.fromkeys(name for answer, name in found if answer))


def look_up_sender(everybody: list[Wishes], senders: "list[Address]", lookup: "Lookup") -> None:
    """Find out for each recipient whether the sender is welcome or blocked.

    His own lists are looked at first: if the sender is on one of them, the general ones, of [policy], are not asked.
    """
    general = standing(everybody[0].sources[-1:], senders, lookup) if everybody else None
    for wishes in everybody:
        own = standing(wishes.sources[:-1], senders, lookup)
        wishes.welcome, wishes.blocked, wishes.listed_in = own or general or (False, False, "")


def decide(wishes: Wishes, scan: "Scan", may_bounce: bool) -> Treatment:
    """Return what becomes of a recipient's copy; where nothing was scanned only a blocked sender counts.

    Where a bounce would hit nobody, or somebody innocent, the message is discarded instead: `may_bounce` is False.
    """
    result, verdict = Treatment(wishes, scan), scan.verdict
    if wishes["bypass"] or (verdict is None and not wishes.blocked):
        return result
    result.listed = wishes.listed
    level, kill = wishes["tag2_level"], wishes["kill_level"]
    result.spam = wishes.blocked or _reaches(verdict, level)
    result.status = _reaches(verdict, wishes["tag_level"])
    result.required = _required(level, verdict, result.spam)
    result.tag = wishes["subject_tag"] if result.spam else ""
    reached = kill != "never" if wishes.blocked else _reaches(verdict, kill, is_kill=True)
    result.handled = reached and not wishes.welcome and not wishes["spam_lover"]
    if result.handled:
        result.end = _end(wishes["destiny"], wishes["quarantine"], may_bounce)
    return result


def _end(destiny: str, quarantine: str, may_bounce: bool) -> str:
    if destiny == "pass":
        return REINJECTED
    if destiny == "bounce" and may_bounce:
        return BOUNCED
    return QUARANTINED if quarantine else DISCARDED


def _reaches(verdict: "Verdict | None", level: "float | str", is_kill: bool = False) -> bool:
    """Tell whether the verdict reaches a level.

    A number cannot be compared where the score is not known: then SpamAssassin's verdict counts, but never kills.
    """
    if verdict is None or level in ("always", "never"):
        return level == "always"
    number = verdict.number
    if isinstance(level, str) or number is None:
        return verdict.spam and not (is_kill and level != "required")
    return number >= level


def limit(treatment: Treatment) -> str:
    """Return the score from which on a handled message is handled; empty if no score decides."""
    level, verdict = treatment.wishes["kill_level"], treatment.scan.verdict
    if isinstance(level, str):
        return verdict.required if verdict and level == "required" else ""
    return figure(float(level))


def needs_number(wishes: Wishes) -> bool:
    """Tell whether any of a recipient's levels is a number."""
    return not all(isinstance(wishes[key], str) for key in ("tag_level", "tag2_level", "kill_level"))


def _required(level: "float | str", verdict: "Verdict | None", spam: bool) -> str:
    """Return the required score that says what the mark says: spam has reached it, and nothing else has."""
    if verdict is None:
        return ""
    if verdict.spam == spam or verdict.number is None:
        return verdict.required
    decided = not isinstance(level, str) and (verdict.number >= level) == spam
    if decided:
        return figure(float(level))
    return verdict.score if spam else figure(max(_NEVER, verdict.number + 1))
