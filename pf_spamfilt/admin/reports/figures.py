"""The figures of a report, as plain values: what --json prints, and what tables and charts are made of."""

import datetime
from typing import Any

from pf_spamfilt.admin.reports.lines import ACTIONS, DEFERRED
from pf_spamfilt.admin.reports.tally import HAM, HIGHEST, LOWEST, SPAM, VERDICTS, Tally, Top
from pf_spamfilt.report import printable

# Days without a message are told, too, unless a wrong clock makes these too many.
_MOST_DAYS = 1000


def figures(tally: Tally, most: int) -> dict[str, Any]:
    """Return all figures; of tests, addresses and causes the `most` frequent."""
    return {
        "from": _moment(tally.first),
        "to": _moment(tally.last),
        "messages": sum(tally.messages.values()),
        "verdicts": {
            verdict.decode(): {"messages": tally.messages[verdict], "recipients": tally.recipients[verdict]}
            for verdict in VERDICTS
        },
        "actions": {action.decode(): tally.actions[action] for action in ACTIONS},
        "kept": tally.kept,
        "scores": _scores(tally),
        "seconds": {"scan": tally.scan.summary(), "total": tally.total.summary()},
        "tests": _tests(tally, most),
        "spam_senders": [
            {"sender": printable(name), "messages": count, "blocked": tally.blocked_senders.counts[name]}
            for name, count in tally.spam_senders.most(most)
        ],
        "spam_recipients": [
            {"recipient": printable(name), "copies": count} for name, count in tally.spam_recipients.most(most)
        ],
        "causes": [
            {"action": action, "code": code, "cause": printable(text), "tries": count}
            for (action, code, text), count in tally.causes.most(most)
        ],
        "days": _days(tally),
        "undercounted": {
            "spam_senders": tally.spam_senders.missed,
            "spam_recipients": tally.spam_recipients.missed,
            "tests": sum(top.missed for top in tally.tests.values()),
            "causes": tally.causes.missed,
        },
    }


def _moment(moment: int | None) -> str | None:
    if moment is None:
        return None
    return datetime.datetime.fromtimestamp(moment).astimezone().isoformat()


def _scores(tally: Tally) -> list[dict[str, Any]]:
    """Return the steps from the first to the last that has a message; the outer ones are open."""
    places = [place for (place, _), count in tally.scores.items() if count]
    return [
        {
            "from": place if place >= LOWEST else None,
            "below": place + 1 if place < HIGHEST else None,
            **{verdict.decode(): tally.scores[place, verdict] for verdict in (SPAM, HAM)},
        }
        for place in (range(min(places), max(places) + 1) if places else ())
    ]


def _tests(tally: Tally, most: int) -> list[dict[str, Any]]:
    together = Top()
    for top in tally.tests.values():
        for name, count in top.counts.items():
            together.add([name], count)
    return [
        {
            "test": printable(name),
            "messages": count,
            **{verdict.decode(): tally.tests[verdict].counts[name] for verdict in (SPAM, HAM)},
        }
        for name, count in together.most(most)
    ]


def _days(tally: Tally) -> list[dict[str, Any]]:
    kinds = (*VERDICTS, DEFERRED)
    found = []
    for day in _calendar(sorted(tally.days)):
        counts = tally.days[day]
        by_kind = {kind.decode(): counts[kind] for kind in kinds}
        messages = sum(counts[verdict] for verdict in VERDICTS)
        found.append({"day": day, "messages": messages, **by_kind})
    return found


def _calendar(days: list[str]) -> list[str]:
    """Return all days from the first to the last."""
    if not days:
        return []
    first, last = datetime.date.fromisoformat(days[0]), datetime.date.fromisoformat(days[-1])
    count = (last - first).days + 1
    if count > _MOST_DAYS:
        return days
    return [(first + datetime.timedelta(days=number)).isoformat() for number in range(count)]
