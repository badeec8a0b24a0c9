"""Play the table of faults to the filters and print how they fared: `python3 -m lab.faults`.

A row for each family with the number of faults and, for each filter, how many ended safe; below it the others by name.
Progress goes to stderr when that is a terminal. Ends with status 1 when a fault was not safe for pf-spamfilt.
"""

import argparse
import fnmatch
import os
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack

from lab.faults import FAMILIES, table
from lab.judgement import HARMS, SAFE
from lab.players import Players
from lab.stage import FILTERS, PF_SPAMFILT, Fault, Install, Result, applies, find_install, installed

Played = dict[str, list[tuple[Fault, Result]]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _parse(arguments)
    faults = [fault for fault in table() if _is_chosen(fault, options.only)]
    if options.list:
        print("\n".join(str(fault) for fault in faults))
        return 0
    chosen = [name for name in FILTERS if name in (options.filter or FILTERS)]
    with ExitStack() as stack:
        command = stack.enter_context(installed(options.command)) if PF_SPAMFILT in chosen else None
        played = _play_all(faults, chosen, find_install(command) if command else None, options.jobs)
    print("\n".join(report(played, markdown=options.markdown)))
    return int(any(result.verdict != SAFE for _, result in played.get(PF_SPAMFILT, [])))


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m lab.faults", description="Play faults to filters.")
    parser.add_argument(
        "--command",
        default=os.environ.get("PF_SPAMFILT", ""),
        help="pf-spamfilt to play to ($PF_SPAMFILT; else installs one)",
    )
    parser.add_argument("--filter", action="append", choices=FILTERS, help="this filter only; may be repeated")
    parser.add_argument("--only", metavar="PATTERN", default="*", help="faults whose `family: name` matches")
    parser.add_argument("--list", action="store_true", help="print the faults and play none")
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    parser.add_argument("--jobs", type=int, default=4, help="faults played at the same time")
    return parser.parse_args(arguments)


def _is_chosen(fault: Fault, pattern: str) -> bool:
    return fnmatch.fnmatchcase(str(fault), pattern if "*" in pattern else f"*{pattern}*")


def _play_all(faults: list[Fault], filters: list[str], install: Install | None, jobs: int) -> Played:
    played: Played = {name: [] for name in filters}
    with Players(faults, install, jobs) as players:
        tasks = [
            (name, fault, players.submit(name, number))
            for name in filters
            for number, fault in enumerate(faults)
            if applies(fault, name)
        ]
        for count, (name, fault, task) in enumerate(tasks, start=1):
            played[name].append((fault, task.get()))
            _show_progress(count, len(tasks))
    return played


def _show_progress(count: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{count} of {total}", end="" if count < total else "\n", file=sys.stderr, flush=True)


def report(played: Played, markdown: bool = False) -> list[str]:
    """Return the lines of the report: the table, then what was not safe."""
    rows = [_row(family, played) for family in FAMILIES if _count(played, family)]
    rows.append(_row("", played))
    table_lines = _markdown(played, rows) if markdown else _plain(played, rows)
    return table_lines + [line for name, results in played.items() for line in _unsafe(name, results)]


def _row(family: str, played: Played) -> list[str]:
    cells = [family or "all", str(_count(played, family))]
    for results in played.values():
        verdicts = [result.verdict for fault, result in results if not family or fault.family == family]
        cells.append(f"{verdicts.count(SAFE)} of {len(verdicts)}" if verdicts else "-")
    return cells


def _count(played: Played, family: str) -> int:
    return max(sum(not family or fault.family == family for fault, _ in results) for results in played.values())


def _plain(played: Played, rows: list[list[str]]) -> list[str]:
    lines = [["family", "faults", *played], *rows]
    return ["".join(f"{cell:<18}" for cell in line).rstrip() for line in lines]


def _markdown(played: Played, rows: list[list[str]]) -> list[str]:
    lines = [["family", "faults", *(f"`{name}` safe" for name in played)], ["---"] * (len(played) + 2), *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _unsafe(name: str, results: list[tuple[Fault, Result]]) -> list[str]:
    harmed = [(fault, result) for fault, result in results if result.verdict != SAFE]
    lines = [f"  {result.verdict:<12} {fault}" for fault, result in harmed]
    kinds = Counter(result.verdict for _, result in harmed)
    summary = ", ".join(f"{kinds[harm]} {harm}" for harm in HARMS if kinds[harm])
    return ["", f"{name}: {len(harmed)} not safe ({summary})", *lines] if harmed else []
