"""Figures into rows, rows into a table: medians, ratios, budgets, the progress line. No measuring here."""

import statistics
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

WIDTH = 100
COLUMNS = ("", "figure", "ratio", "middle half", "budget", "")
WIDTHS = (48, 12, 7, 13, 13, 7)


@dataclass(frozen=True)
class Budget:
    """What a figure may be at most, or must be at least."""

    limit: float
    at_least: bool = False
    unit: str = ""

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g}{self.unit}"

    def verdict(self, value: float) -> str:
        """Return `within` or `over`."""
        return "within" if (value >= self.limit if self.at_least else value <= self.limit) else "over"


@dataclass(frozen=True)
class Row:
    """One line of the table, its cells as text."""

    what: str
    figure: str
    ratio: str = ""
    spread: str = ""
    budget: str = ""
    verdict: str = ""

    def cells(self) -> tuple[str, ...]:
        """Return the cells in the order of COLUMNS."""
        return (self.what, self.figure, self.ratio, self.spread, self.budget, self.verdict)


@dataclass
class Section:
    """The rows of one benchmark, and notes that a reader needs to understand them."""

    title: str
    rows: list[Row] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def compared(
    what: str, figure: str, ours: Sequence[float], theirs: Sequence[float], budget: Budget | None = None
) -> Row:
    """Return the row of a ratio: the median over rounds of ours to theirs, and the quartiles around it.

    Both were measured in the same round, next to each other: what else the machine did then falls out.
    """
    ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
    middle = statistics.median(ratios)
    low, high = quartiles(ratios)
    judged = (str(budget), budget.verdict(middle)) if budget else ("", "")
    return Row(what, figure, f"{middle:.2f}", f"{low:.2f} - {high:.2f}", *judged)


def quartiles(values: Sequence[float]) -> tuple[float, float]:
    """Return the values between which the middle half lies."""
    if len(values) < 2:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def rotated(names: Iterable[str], rounds: int) -> Iterator[tuple[int, list[str]]]:
    """Yield each round's number and its order of names: everybody is first as often as anybody."""
    order = list(names)
    for number in range(rounds):
        at = number % len(order)
        yield number, order[at:] + order[:at]


def as_text(sections: Iterable[Section], described: Iterable[str]) -> str:
    """Return the table as plain text, at most WIDTH columns wide."""
    lines = [*described, "", _line(COLUMNS)]
    for section in sections:
        lines += ["", f"{section.title} ".ljust(WIDTH, "-"), *(_line(row.cells()) for row in section.rows)]
        lines += [f"  ({note})" for note in section.notes]
    return "\n".join(lines)


def _line(cells: Sequence[str]) -> str:
    shown = [cells[0].ljust(WIDTHS[0])]
    shown += [cell.rjust(width) for cell, width in zip(cells[1:], WIDTHS[1:], strict=True)]
    return "".join(shown).rstrip()


def as_markdown(sections: Iterable[Section], described: Iterable[str]) -> str:
    """Return a Markdown table for each section, after the machine as a list."""
    lines = [f"- {' '.join(line.split())}" for line in described]
    for section in sections:
        lines += ["", f"| {section.title} | figure | ratio | middle half | budget | |"]
        lines += ["| --- | ---: | ---: | ---: | ---: | --- |"]
        for row in section.rows:
            cells = [cell.replace("|", r"\|") for cell in row.cells()]
            lines.append(f"| {' | '.join(cells)} |")
        lines += ["", *(f"{note}." for note in section.notes)] if section.notes else []
    return "\n".join(lines)


class Progress:
    """One line on stderr that says what is done now; nothing when stderr is no terminal."""

    def __init__(self) -> None:
        self._shown = sys.stderr.isatty()
        self._start = time.monotonic()

    def step(self, text: str) -> None:
        """Replace the line."""
        if self._shown:
            line = f"{time.monotonic() - self._start:4.0f} s  {text}"[: WIDTH - 1]
            print(f"\r{line}\033[K", end="", file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the line away."""
        if self._shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
