"""Add up what the lines of a log say of messages, in bounded memory: nothing is kept for each line.

A run of the filter for a message (queue id and process) is counted once, however many lines it has; what is counted by
recipients is so line by line. A message that was deferred is counted when it comes to its end, its tries apart.
"""

import functools
import math
import re
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from pf_spamfilt.admin.reports.lines import DEFERRED, Line

SPAM, HAM, UNSCANNED = VERDICTS = b"spam", b"ham", b"unscanned"
BLOCKED = (b"block", b"both")
PERCENTILES = (50, 90, 95, 99)
# Scores are counted in steps of one; what lies outside of these, together.
LOWEST, HIGHEST = -5, 20
# The lines of one run stand near each other: so many runs are remembered.
_RUNS = 4096
# So many different names are counted; the rarest are dropped, and the result says how much that can have cost.
_NAMES = 100_000
_CODE = re.compile(r"(\d\.\d+\.\d+) (.*)")
_ADDRESS = re.compile(r"<[^>]*>|[^\s<>()\"':,;=]+@[^\s<>()\"':,;=]+")
# Statuses and signals tell causes apart; ports, sizes, process and queue numbers do not.
_NUMBER = re.compile(r"(?<!\bstatus )(?<!\bsignal )(?<![\w.])(?:[0-9A-Fa-f]{8,}|\d+(?:[.:]\d+)*)(?!\w)")
_CAUSE_MAX = 120


class Top:
    """How often each name came; at most `limit` names at a time."""

    def __init__(self, limit: int = _NAMES) -> None:
        self.counts: dict[Any, int] = defaultdict(int)  # faster than a Counter
        self.missed = 0
        self._limit = limit

    def add(self, names: Iterable[Any], step: int = 1) -> None:
        """Count each name once."""
        counts = self.counts
        for name in names:
            counts[name] += step
        if len(self.counts) > self._limit:
            self._drop()

    def most(self, number: int | None = None) -> list[tuple[Any, int]]:
        """Return the names that came most, and how often: at least so often, and at most `missed` times more."""
        found = sorted(self.counts.items(), key=lambda item: (-item[1], item[0]))
        return [item for item in found[:number] if item[1] > 0]

    def _drop(self) -> None:
        least = sorted(self.counts.values())[len(self.counts) // 2]
        for name in [name for name, count in self.counts.items() if count <= least]:
            del self.counts[name]
        self.missed += least


class Seconds:
    """Times in seconds, as the log writes them, with two decimals."""

    def __init__(self) -> None:
        self.counts: dict[bytes, int] = defaultdict(int)

    def sorted(self) -> Iterator[tuple[float, int]]:
        """Yield each time and how often it came, the shortest first."""
        yield from sorted((float(text), count) for text, count in self.counts.items())

    def summary(self) -> dict[str, float | int | None]:
        """Return their number, percentiles (by nearest rank), and the longest."""
        total, seen = sum(self.counts.values()), 0
        wanted = [(share, math.ceil(total * share / 100)) for share in PERCENTILES]
        found: dict[str, float | int | None] = {"messages": total, **{f"p{share}": None for share in PERCENTILES}}
        longest = None
        for longest, count in self.sorted():
            seen += count
            while wanted and seen >= wanted[0][1]:
                found[f"p{wanted.pop(0)[0]}"] = longest
        return found | {"max": longest}


class Tally:
    """What was counted."""

    def __init__(self) -> None:
        self.first: int | None = None
        self.last: int | None = None
        self.messages: dict[bytes, int] = defaultdict(int)
        self.recipients: dict[bytes, int] = defaultdict(int)
        self.actions: dict[bytes, int] = defaultdict(int)
        self.kept = 0
        self.scores: dict[tuple[int, bytes], int] = defaultdict(int)
        self.scan, self.total = Seconds(), Seconds()
        self.tests = {verdict: Top() for verdict in VERDICTS}
        self.spam_senders, self.blocked_senders, self.spam_recipients = Top(), Top(), Top()
        self.causes = Top()
        self.deferrals: dict[str, int] = defaultdict(int)
        self.days: dict[str, dict[bytes, int]] = defaultdict(lambda: defaultdict(int))
        self._runs: OrderedDict[tuple[bytes, bytes], Line] = OrderedDict()

    def add(self, line: Line) -> None:
        """Count a line."""
        self._extend(line.moment)
        count = line.recipient_count
        self.actions[line.action] += count
        if line.reason is not None:
            self._add_cause(line, line.reason)
        if line.action == DEFERRED:
            return
        self.recipients[line.verdict] += count
        if line.kept:
            self.kept += count
        if line.verdict == SPAM:
            self.spam_recipients.add(line.recipients)
        self._add_run(line)

    def _extend(self, moment: int) -> None:
        if self.first is None or self.last is None:
            self.first = self.last = moment
        elif moment > self.last:
            self.last = moment
        elif moment < self.first:
            self.first = moment

    def _add_cause(self, line: Line, reason: bytes) -> None:
        code, text = cause(reason)
        self.causes.add([(line.action.decode(), code, text)])
        if line.action == DEFERRED:
            self.deferrals[code] += 1
            self.days[line.day][DEFERRED] += 1

    def _add_run(self, line: Line) -> None:
        """Count a message by its first line; if it is worse for those of a later one, by that."""
        run = line.queue_id, line.process
        earlier = self._runs.get(run)
        if earlier is None:
            if line.score or line.scan != b"0.00":
                self.scan.counts[line.scan] += 1
            self.total.counts[line.total] += 1
            if len(self._runs) >= _RUNS:
                self._runs.popitem(last=False)
        elif VERDICTS.index(line.verdict) < VERDICTS.index(earlier.verdict):
            self._count(earlier, -1)
        else:
            return
        self._runs[run] = line
        self._count(line, 1)

    def _count(self, line: Line, step: int) -> None:
        verdict = line.verdict
        self.messages[verdict] += step
        self.days[line.day][verdict] += step
        if (place := score_place(line.score)) is not None:
            self.scores[place, verdict] += step
        self.tests[verdict].add(line.test_names, step)
        if verdict == SPAM:  # which is never taken back
            self.spam_senders.add([line.sender])
            if line.listed in BLOCKED:
                self.blocked_senders.add([line.sender])


@functools.lru_cache(maxsize=1 << 14)
def score_place(score: bytes) -> int | None:
    """Return the step in which a score is counted: its lower end, LOWEST - 1 or HIGHEST; None if it is no number."""
    try:
        number = float(score.replace(b",", b"."))
    except ValueError:
        return None
    return math.floor(min(max(number, LOWEST - 1), HIGHEST)) if math.isfinite(number) else None


@functools.lru_cache(maxsize=1 << 12)
def cause(reason: bytes) -> tuple[str, str]:
    """Return the enhanced code of a reason, empty if it has none, and the text without what differs each time."""
    text = reason.decode("utf-8", "replace").removesuffix("...")
    found = _CODE.match(text)
    code, text = found.groups() if found else ("", text)
    text = _NUMBER.sub("N", _ADDRESS.sub("<address>", text))
    return code, text[:_CAUSE_MAX].rstrip(" .,:;")
