"""The figures of a report as tables for people, with small bars."""

import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

from pf_spamfilt.admin import output

_BAR = 30


def show(found: dict[str, Any]) -> None:
    """Print the figures; tables without a row are left out."""
    click.echo(_opening(found))
    for headings, rows, right in (
        _verdicts(found),
        _actions(found),
        _scores(found["scores"]),
        _seconds(found["seconds"]),
        _tests(found["tests"]),
        _senders(found["spam_senders"]),
        _recipients(found["spam_recipients"]),
        _causes(found["causes"]),
        _days(found["days"]),
    ):
        if rows:
            click.echo()
            output.table(headings, rows, right)
    for what, missed in found["undercounted"].items():
        if missed:
            click.echo(f"\n{what.replace('_', ' ')}: too many to count them all: each may be {missed} more than shown")


Table = tuple[Sequence[str], list[Sequence[str]], Iterable[int]]


def _opening(found: dict[str, Any]) -> str:
    if not found["from"]:
        return "no messages"
    first, last = (found[key][:19].replace("T", " ") for key in ("from", "to"))
    return f"{output.counted(found['messages'], 'message')}, from {first} to {last}"


def _verdicts(found: dict[str, Any]) -> Table:
    total = found["messages"]
    rows = [
        (name, number(counts["messages"]), share(counts["messages"], total), number(counts["recipients"]))
        for name, counts in found["verdicts"].items()
    ]
    return ("verdict", "messages", "", "recipients"), list(rows) if total else [], (1, 2, 3)


def _actions(found: dict[str, Any]) -> Table:
    rows = [(name, number(count)) for name, count in found["actions"].items() if count]
    if found["kept"]:
        rows.append(("kept in quarantine", number(found["kept"])))
    return ("action", "recipients"), list(rows), (1,)


def _days(days: list[dict[str, Any]]) -> Table:
    kinds = ("messages", "spam", "ham", "unscanned", "deferred")
    most = max((day["messages"] for day in days), default=0)
    rows = [(day["day"], *(number(day[kind]) for kind in kinds), bar(day["messages"], most)) for day in days]
    return ("day", *kinds, ""), list(rows), range(1, 6)


def _scores(steps: list[dict[str, Any]]) -> Table:
    most = max((step["spam"] + step["ham"] for step in steps), default=0)
    rows = [
        (score_range(step), number(step["spam"]), number(step["ham"]), bar(step["spam"] + step["ham"], most))
        for step in steps
    ]
    return ("score", "spam", "ham", ""), list(rows), (0, 1, 2)


def _seconds(seconds: dict[str, dict[str, Any]]) -> Table:
    keys = ("p50", "p90", "p95", "p99", "max")
    rows = [
        (name, number(times["messages"]), *(f"{times[key]:.2f}" for key in keys))
        for name, times in seconds.items()
        if times["messages"]
    ]
    return ("seconds", "messages", "50 %", "90 %", "95 %", "99 %", "longest"), list(rows), range(1, 7)


def _tests(tests: list[dict[str, Any]]) -> Table:
    most = max((test["messages"] for test in tests), default=0)
    rows = [(test["test"], number(test["spam"]), number(test["ham"]), bar(test["messages"], most)) for test in tests]
    return ("test", "spam", "ham", ""), list(rows), (1, 2)


def _senders(senders: list[dict[str, Any]]) -> Table:
    rows = [(f"<{each['sender']}>", number(each["messages"]), number(each["blocked"])) for each in senders]
    return ("sender of spam", "messages", "blocked by a list"), list(rows), (1, 2)


def _recipients(recipients: list[dict[str, Any]]) -> Table:
    rows = [(f"<{each['recipient']}>", number(each["copies"])) for each in recipients]
    return ("recipient of spam", "copies"), list(rows), (1,)


def _causes(causes: list[dict[str, Any]]) -> Table:
    rows = [(each["action"], each["code"], number(each["tries"]), each["cause"]) for each in causes]
    return ("not done", "code", "tries", "cause"), list(rows), (2,)


def number(count: int) -> str:
    """Return `12,345`."""
    return f"{count:,}"


def share(part: int, whole: int) -> str:
    """Return a percentage of something, such as `12.3 %`."""
    return f"{100 * part / whole:.1f} %" if whole else ""


def score_range(step: dict[str, Any]) -> str:
    """Return what scores a step of the histogram holds."""
    if step["from"] is None:
        return f"below {step['below']}"
    return f"from {step['from']}" if step["below"] is None else f"{step['from']} to {step['below']}"


def bar(count: int, most: int) -> str:
    """Return a bar as long as the share of `count` in `most`, of what the terminal can show."""
    try:
        block = "\u2588"
        block.encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        block = "#"
    return block * round(_BAR * count / most) if most else ""
