"""What one run costs when spamc and sendmail cost next to nothing: user and system time, over a bare interpreter's.

The bare interpreter runs two_spawns.py, which starts the same two stubs and no more. With --pipe-to, sendmail's stub is
the command; --stdout starts one stub less, and writes the message into a pipe.
"""

import os
import statistics
from typing import NamedTuple

from bench import policies
from bench.report import Budget, Section, compared, rotated
from bench.scene import MESSAGE, RECIPIENT, SENDER, Scene
from bench.stubbed import Runner, compile_settings, stubs

PAIRS = 15  # in each round
FLOOR, SCRIPT = "python3 -I -S, two spawns", "the shell script"
BLOCKS = f"{policies.BLOCKS} [[recipients]], compiled"
LISTS = f"{2 * policies.LISTED:,} listed senders, compiled"
BOTH = "both, compiled"
BUDGET, BUDGET_WITH_POLICIES = Budget(1.3), Budget(1.4)


class Lane(NamedTuple):
    """One run of pf-spamfilt: the text of its settings, None for no file; its budget if they are compiled; its form."""

    settings: str | None
    budget: Budget | None = None
    arguments: tuple[str, ...] = ("--", SENDER, RECIPIENT)


LANES = {
    "no settings file": Lane(None, BUDGET),
    "settings, compiled": Lane(policies.plain(), BUDGET),
    "settings, compiled, --stdout": Lane(policies.plain(), BUDGET, ("--stdout", SENDER, RECIPIENT)),
    "settings, compiled, --pipe-to": Lane(policies.plain(), BUDGET, ("--pipe-to", "/usr/sbin/sendmail")),
    "settings, not compiled": Lane(policies.plain()),
    BLOCKS: Lane(policies.plain() + policies.blocks(), BUDGET_WITH_POLICIES),
    LISTS: Lane(policies.plain() + policies.lists(), BUDGET_WITH_POLICIES),
    BOTH: Lane(policies.plain() + policies.blocks() + policies.lists(), BUDGET_WITH_POLICIES),
}
# Costs so much that it is run only once in each round.
SLOW = "both, not compiled"


def measure(scene: Scene) -> Section:
    """Run the benchmark."""
    runners, message = _runners(scene), MESSAGE.read_bytes()
    slow = _runner(scene, SLOW, Lane(LANES[BOTH].settings))
    with stubs(scene, message):
        for runner in (*runners.values(), slow):
            runner.run(message)
            runner.forget()
        for number, order in rotated(runners, PAIRS * scene.rounds):
            if number % PAIRS == 0:
                scene.progress.step(f"startup: round {number // PAIRS + 1} of {scene.rounds}")
                slow.run(message)
            for name in order:
                runners[name].run(message)
    return _section(runners, slow)


def _runners(scene: Scene) -> dict[str, Runner]:
    nothing = scene.directory / "nothing"
    nothing.mkdir()
    bare = os.path.realpath(scene.interpreter)
    runners = {FLOOR: Runner([bare, "-I", "-S", str(scene.copy("two_spawns.py"))], nothing)}
    runners |= {name: _runner(scene, name, lane) for name, lane in LANES.items()}
    return runners | {SCRIPT: Runner([str(scene.script()), SENDER, RECIPIENT], nothing)}


def _runner(scene: Scene, name: str, lane: Lane) -> Runner:
    folder = scene.directory / f"configuration with {name}"
    folder.mkdir()
    if lane.settings is not None:
        source = folder / "pf-spamfilt.toml"
        source.write_text(lane.settings, encoding="utf-8")
        if lane.budget:
            compile_settings(scene, source)
    return Runner([str(scene.command), *lane.arguments], folder)


def _section(runners: dict[str, Runner], slow: Runner) -> Section:
    section = Section("user and system time of one run, stub spamc and sendmail, against a bare interpreter")
    floor = runners[FLOOR].seconds
    for name, runner in runners.items():
        label, lane = (f"pf-spamfilt, {name}", LANES[name]) if name in LANES else (name, Lane(None))
        section.rows.append(compared(label, _figure(runner), runner.seconds, floor, lane.budget))
    section.notes.append(f"{len(floor)} runs of each, in turns; every figure includes the same two stubs")
    times = statistics.median(slow.seconds) / statistics.median(floor)
    section.notes.append(f"{SLOW}: {_figure(slow)}, {times:.0f} times the bare interpreter; runs: {len(slow.seconds)}")
    return section


def _figure(runner: Runner) -> str:
    return f"{1000 * statistics.median(runner.seconds):.1f} ms"
