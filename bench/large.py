"""A message that is too large for a scan, against giving it to sendmail directly: the time until Postfix has it.

Both are fed by cat(1) through a pipe, as the filter's account, and end in the private Postfix, whose queue is empty
again before the next. A copy that is not delivered is a LabError.
"""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from bench.memory import MB, build
from bench.report import Budget, Section, compared, rotated
from bench.scene import RECIPIENT, SENDER, SENDMAIL, Scene
from lab.tools import LabError

SIZE = 50 * MB
PLAIN, OURS, FORGED = "cat FILE | sendmail", "cat FILE | pf-spamfilt", "the same, with forged X-Spam fields"
BUDGET = Budget(1.3)
PATIENCE = 120
Command = Sequence[str | Path]


def measure(scene: Scene) -> Section:
    """Run the benchmark."""
    message = build(scene.directory / "large", SIZE)
    forged = scene.directory / "forged"
    forged.write_bytes(b"X-Spam-Status: No, score=-100\n" + message.read_bytes())
    ours: Command = [scene.command, "--", SENDER, RECIPIENT]
    runners: dict[str, tuple[Path, Command]] = {
        PLAIN: (message, [SENDMAIL, "-i", "-f", SENDER, "--", RECIPIENT]),
        OURS: (message, ours),
        FORGED: (forged, ours),
    }
    seconds = _run_rounds(scene, runners)
    section = Section(f"{SIZE // MB} MB that are not scanned, until Postfix has them")
    for name, figures in seconds.items():
        figure = f"{1000 * statistics.median(figures):.0f} ms"
        section.rows.append(compared(name, figure, figures, seconds[PLAIN], None if name == PLAIN else BUDGET))
    return section


def _run_rounds(scene: Scene, runners: dict[str, tuple[Path, Command]]) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in runners}
    once(scene, *runners[PLAIN])
    for number, order in rotated(runners, scene.rounds):
        for name in order:
            scene.progress.step(f"large: round {number + 1} of {scene.rounds}, {name}")
            seconds[name].append(once(scene, *runners[name]))
    return seconds


def once(scene: Scene, message: Path, command: Command) -> float:
    """Return the seconds of one run, after which the message has been delivered, and removed again."""
    started = time.monotonic()
    scene.feed(message, command)
    seconds = time.monotonic() - started
    copies = scene.host.mailbox.wait_for(1, PATIENCE)
    scene.host.postfix.wait_idle(PATIENCE)
    if len(copies) != 1 or abs(len(copies[0].raw) - SIZE) > 2000:
        raise LabError(f"{command[0]}: delivered were {[len(copy.raw) for copy in copies]} bytes instead of {SIZE}")
    scene.host.mailbox.clear()
    return seconds
