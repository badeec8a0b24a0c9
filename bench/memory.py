"""The peak of resident memory of the filter's own process: not the launcher, not spamc or sendmail.

The interpreter is run as the launcher runs it, by peak.py; spamc and spamd are real, sendmail only reads. Not
counted is what the kernel keeps for the filter: the message and spamc's answer, up to max_size each, in memory files.
"""

import functools
import os
from pathlib import Path

from bench.report import Budget, Row, Section
from bench.scene import MESSAGE, RECIPIENT, SENDER, Scene

KB, MB = 1000, 1000_000
SIZES = {"1 kB": KB, "100 kB": 100 * KB, "500 kB": 500 * KB, "1 MB": MB, "10 MB": 10 * MB, "50 MB": 50 * MB}
HEADERS = "500 kB, all of it header fields"
BUDGET = Budget(16, unit=" MB")


def measure(scene: Scene) -> Section:
    """Run the benchmark."""
    section = Section("peak memory of the filter's own process")
    interpreter = os.path.realpath(scene.interpreter)
    peak = functools.partial(_peak, scene, scene.copy("peak.py"))
    small = build(scene.directory / "message", KB)
    section.rows.append(_row("python3 -I -S -c pass", peak(small, [interpreter, "-I", "-S", "-c", "pass"]), None))
    command = [str(scene.interpreter), "-I", "-S", "-X", "utf8", str(scene.main), "--", SENDER, RECIPIENT]
    with scene.stub_sendmail():
        for name, size in SIZES.items():
            scene.progress.step(f"memory: {name}")
            section.rows.append(_row(name, peak(build(scene.directory / "message", size), command)))
        scene.progress.step(f"memory: {HEADERS}")
        section.rows.append(_row(HEADERS, peak(build_headers(scene.directory / "message", 500 * KB), command)))
    section.notes.append("default settings: up to 512 kB are scanned, more goes through a file")
    return section


def build(target: Path, size: int) -> Path:
    """Write a message of exactly this size: the benchmarks' message, its body cut, or again and again."""
    head, _, body = MESSAGE.read_bytes().partition(b"\n\n")
    with target.open("wb") as file:
        left = size - file.write(head[: size // 2].rpartition(b"\n")[0] + b"\n\n")
        while left > 0:
            left -= file.write(body[:left])
    target.chmod(0o644)
    return target


def build_headers(target: Path, size: int) -> Path:
    """Write a message of about this size which is header fields of 25 bytes, with a short body."""
    target.write_bytes(b"".join(b"X-Field-%07d: value\n" % number for number in range(size // 23)) + b"\nbody\n")
    return target


def _peak(scene: Scene, helper: Path, message: Path, command: list[str]) -> float:
    """Return the peak in MB."""
    interpreter = os.path.realpath(scene.interpreter)
    return int(scene.feed(message, [interpreter, "-I", "-S", helper, *command])) / 1024


def _row(what: str, peak: float, budget: Budget | None = BUDGET) -> Row:
    judged = (str(budget), budget.verdict(peak)) if budget else ()
    return Row(what, f"{peak:.1f} MB", "", "", *judged)
