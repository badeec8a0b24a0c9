"""Run benchmarks and print their figures: `python3 -m bench [--rounds N] [--quick] [--markdown] [NAME...]`, as root.

Ends with status 0 whatever the figures are; with 1 when the lab or a filter does not work, 130 when interrupted.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bench import (
    amavis,
    examples,
    large,
    learning,
    local,
    log_report,
    machine,
    memory,
    quarantine_list,
    startup,
    tables,
    throughput,
)
from bench.meter import own_group
from bench.report import Progress, Section, as_markdown, as_text
from bench.scene import MESSAGE, Scene, stock_rules
from lab.mailhost import MailHost, stop_on_signals
from lab.tools import LabError

BENCHMARKS: dict[str, Callable[[Scene], Section]] = {
    "throughput": throughput.measure,
    "startup": startup.measure,
    "tables": tables.measure,
    "memory": memory.measure,
    "large": large.measure,
    "report": log_report.measure,
    "quarantine": quarantine_list.measure,
    "examples": examples.measure,
    "local": local.measure,
    "learning": learning.measure,
}
ONLY_NAMED = {"examples", "local", "learning"}  # each turn starts servers anew: minutes
ROUNDS, QUICK_ROUNDS = 12, 3


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    options = _parse(arguments)
    stop_on_signals()
    progress = Progress()
    try:
        sections, described = _measure(options, progress)
    except LabError as error:
        progress.clear()
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        progress.clear()
        print("bench: interrupted; nothing is left running", file=sys.stderr)
        return 130
    print((as_markdown if options.markdown else as_text)(sections, described))
    return 0


def _measure(options: argparse.Namespace, progress: Progress) -> tuple[list[Section], list[str]]:
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    names = [name for name in BENCHMARKS if name in (options.names or BENCHMARKS.keys() - ONLY_NAMED)]
    rules = "" if options.light else stock_rules()
    with (
        own_group() as group,
        MailHost(options.command, local_cf=rules, progress=progress.step) as host,
        Scene(host, group, rounds, options, progress) as scene,
    ):
        described = machine.describe(scene)  # before the load is ours
        return [BENCHMARKS[name](scene) for name in names], described


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python3 -m bench", description="Measure what pf-spamfilt costs.")
    parser.add_argument("names", metavar="NAME", nargs="*", help=f"only these: {', '.join(BENCHMARKS)}")
    parser.add_argument("--rounds", type=_positive, help=f"rounds ({ROUNDS}; with --quick {QUICK_ROUNDS})")
    parser.add_argument("--quick", action="store_true", help="a minute instead of some; the ratios are rougher")
    parser.add_argument("--markdown", action="store_true", help="print the table in Markdown")
    parser.add_argument("--command", help="an installed pf-spamfilt, instead of installing this folder's into the lab")
    parser.add_argument("--amavis", action="store_true", help="compare with amavisd-new too, if it is installed")
    parser.add_argument("--message", type=_message, default=MESSAGE, help="another message for the throughput")
    parser.add_argument("--light", action="store_true", help="a scanner of a few rules: what is left is the filters")
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if name not in BENCHMARKS]
    if unknown:
        parser.error(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    if options.amavis and not amavis.program():
        parser.error(amavis.MISSING)
    return options


def _message(text: str) -> Path:
    """Return the file; a leading From line of mbox(5) or CRLF line ends would not come back as they are."""
    file = Path(text)
    data = file.read_bytes() if file.is_file() else b""
    if b"\n\n" not in data or b"\r" in data or data.startswith(b"From "):
        raise argparse.ArgumentTypeError(f"{text} must be a file with a header, a body, and LF line ends")
    return file


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} must be a number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
