"""How long `pf-spamfilt-admin quarantine list` takes for a Maildir with 100,000 messages, its output in a pipe.

Against a bare interpreter that opens each file, reads its first 4 kB and closes it, in the same round: less cannot be
done by one who knows nothing of them. The messages are made here; their files are in the cache. LabError if one is not
listed.
"""

import json
import os
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.report import Budget, Row, Section, compared, rotated
from bench.scene import MESSAGE, Scene, checked
from lab.tools import LabError

COUNT = 100_000
BUDGET = Budget(3, unit=" s")
# Each run takes seconds: more rounds tell no more.
ROUNDS = 5
LIST, JSON, ONE = "list", "list --json", "list ID"
FLOOR = "Python, the first 4 kB of each file"
FLOOR_CODE = """
import os, sys
folder = os.open(sys.argv[1], os.O_RDONLY)
for name in os.listdir(folder):
    fd = os.open(name, os.O_RDONLY, dir_fd=folder)
    os.read(fd, 4096)
    os.close(fd)
"""
FIELDS = """\
X-Quarantine-ID: <{name}>
X-Envelope-From: <offers{number}@news{part}.example>
X-Quarantine-User: user{part}@example.com
X-Envelope-To: <user{part}@example.com>,
\t<user{number}@example.com>
X-Spam-Checker-Version: SpamAssassin 4.0.1 on mx1.example.com
X-Spam-Flag: YES
X-Spam-Level: ***************
X-Spam-Status: Yes, score={score}.3 required=5.0 tests=BAYES_99,BAYES_999,
\tDKIM_INVALID,HTML_MESSAGE,MIME_HTML_ONLY,URIBL_BLACK autolearn=no
\tversion=4.0.1
"""


def measure(scene: Scene) -> Section:
    """Run the benchmark."""
    rounds = min(scene.rounds, ROUNDS)
    place = scene.host.directory / "quarantine"
    scene.progress.step(f"quarantine: making {COUNT:,} messages")
    try:
        last = _fill(place / "new", scene.host.number)
        seconds = _measured(scene, place, last, rounds)
    finally:
        shutil.rmtree(place)
    section = Section(f"seconds for a Maildir of {COUNT:,} messages, against reading the first 4 kB of each")
    section.rows += _rows(seconds)
    section.notes.append(f"{rounds} runs of each, in turns; the files are in the cache, the output goes into a pipe")
    return section


def _fill(folder: Path, owner: int) -> str:
    """Write the messages, of this owner; return the id of the last one."""
    folder.mkdir(parents=True)
    original = MESSAGE.read_text(encoding="utf-8")
    name = ""
    for number in range(COUNT):
        name = f"4cDR{number:07x}-{number * 2654435761 % 2**32:08x}"
        file = folder / f"{1_795_392_000 + number}.{name}.mx1"
        text = FIELDS.format(name=name, number=number, part=number % 500, score=number % 40)
        file.write_text(text + original, encoding="utf-8")
        os.chown(file, owner, owner)
    for path in (folder, folder.parent):
        os.chown(path, owner, owner)
    return name


def _measured(scene: Scene, place: Path, last: str, rounds: int) -> dict[str, list[float]]:
    command = [str(scene.command.with_name("pf-spamfilt-admin")), "quarantine", "list", "--store", f"maildir:{place}"]
    commands = {
        LIST: command,
        JSON: [*command, "--json"],
        ONE: [*command, last],
        FLOOR: [str(scene.interpreter), "-I", "-S", "-c", FLOOR_CODE, str(place / "new")],
    }
    found = json.loads(_run(commands[JSON]))
    if len({each["id"] for each in found}) != COUNT:
        raise LabError(f"quarantine list tells of {len(found)} messages, not of {COUNT}")
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number, order in rotated(commands, rounds):
        scene.progress.step(f"quarantine: round {number + 1} of {rounds}")
        for name in order:
            started = time.monotonic()
            _run(commands[name])
            seconds[name].append(time.monotonic() - started)
    return seconds


def _run(command: list[str]) -> str:
    return checked(subprocess.run(command, capture_output=True, check=False), command)


def _rows(seconds: dict[str, list[float]]) -> Iterator[Row]:
    for name, figures in seconds.items():
        median = statistics.median(figures)
        row = compared(name, f"{median:.2f} s", figures, seconds[FLOOR])
        if name == LIST:
            row = Row(row.what, row.figure, row.ratio, row.spread, str(BUDGET), BUDGET.verdict(median))
        yield row
