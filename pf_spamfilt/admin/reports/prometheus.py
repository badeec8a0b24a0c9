r"""The figures of a log as Prometheus reads them, in its text format 0.0.4, for node_exporter's textfile collector.

They are counters that begin anew with each log: so they are true only of a log that grows until another takes its
place, as logrotate(8) has it, or of a fixed beginning.
"""

from collections.abc import Iterable, Iterator

from pf_spamfilt.admin.reports.lines import ACTIONS
from pf_spamfilt.admin.reports.tally import VERDICTS, Seconds, Tally

PREFIX = "pf_spamfilt"
# Upper ends, in seconds: from a scan without network tests to the longest that Postfix waits.
BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 60, 300, 1000)
# The labels of a sample, and its value.
Sample = tuple[dict[str, str], int | float]


def text(tally: Tally, unreadable: int) -> str:
    """Return all metrics."""
    return "".join(f"{line}\n" for line in _lines(tally, unreadable))


def _lines(tally: Tally, unreadable: int) -> Iterator[str]:
    yield from _counter(
        "messages_total",
        "Messages that were disposed of, by verdict.",
        [({"verdict": verdict.decode()}, tally.messages[verdict]) for verdict in VERDICTS],
    )
    yield from _counter(
        "recipients_total",
        "Recipients, by what became of their copy; one who is deferred counts at each try.",
        [({"action": action.decode()}, tally.actions[action]) for action in ACTIONS],
    )
    yield from _counter("kept_total", "Recipients whose copy was kept in quarantine.", [({}, tally.kept)])
    yield from _counter(
        "deferrals_total",
        "Tries that were deferred, by enhanced status code (RFC 3463).",
        [({"code": code}, count) for code, count in sorted(tally.deferrals.items())],
    )
    yield from _histogram("scan_seconds", "Seconds that the scan of a message took.", tally.scan)
    yield from _histogram("total_seconds", "Seconds that a message took in all.", tally.total)
    yield from _counter("unreadable_lines_total", "Lines of the filter that could not be read.", [({}, unreadable)])
    if tally.last is not None:
        yield from _metric("last_line_timestamp_seconds", "When the last line was written.", "gauge")
        yield _sample("last_line_timestamp_seconds", {}, tally.last)


def _counter(name: str, meaning: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield from _metric(name, meaning, "counter")
    for labels, value in samples:
        yield _sample(name, labels, value)


def _histogram(name: str, meaning: str, seconds: Seconds) -> Iterator[str]:
    """Yield how many took at most so long, for each end; their sum and number."""
    times = list(seconds.sorted())
    number = sum(count for _, count in times)
    yield from _metric(name, meaning, "histogram")
    for end in BUCKETS:
        yield _sample(f"{name}_bucket", {"le": f"{end:g}"}, sum(count for value, count in times if value <= end))
    yield _sample(f"{name}_bucket", {"le": "+Inf"}, number)
    yield _sample(f"{name}_sum", {}, round(sum(value * count for value, count in times), 2))
    yield _sample(f"{name}_count", {}, number)


def _metric(name: str, meaning: str, kind: str) -> Iterator[str]:
    yield f"# HELP {PREFIX}_{name} {meaning}"
    yield f"# TYPE {PREFIX}_{name} {kind}"


def _sample(name: str, labels: dict[str, str], value: int | float) -> str:
    inside = ",".join(f'{key}="{escaped(text)}"' for key, text in labels.items())
    return f"{PREFIX}_{name}{f'{{{inside}}}' if inside else ''} {value}"


def escaped(label: str) -> str:
    """Return a label's value as it stands between double quotes."""
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
