"""What one run costs when spamc and sendmail cost next to nothing: user and system time, over a bare interpreter's.

The stubs lie over /usr/bin/spamc and /usr/sbin/sendmail, where all look for them: so pf-spamfilt can run with its
defaults and no settings file. The bare interpreter runs two_spawns.py, which starts the same two stubs and no more.
A run that does not succeed is a LabError.
"""

import os
import resource
import statistics
from dataclasses import dataclass, field
from pathlib import Path

from bench.report import Budget, Section, compared, rotated
from bench.scene import HERE, MESSAGE, RECIPIENT, SENDER, SPAMC, Scene, covered
from lab.tools import LabError

PAIRS = 15  # in each round
FLOOR, SCRIPT = "python3 -I -S, two spawns", "the shell script"
DEFAULTS, UNCOMPILED, COMPILED = "no settings file", "settings, not compiled", "settings, compiled"
NAMES = (DEFAULTS, COMPILED, UNCOMPILED)
BUDGET = Budget(1.3)
MARKS = b"X-Spam-Checker-Version: SpamAssassin 4 on bench\nX-Spam-Level:\nX-Spam-Status: No, score=0.1 required=5.0\n"
COMPILE = "from pf_spamfilt import schema; schema.compile_file(sys.argv[1])"
IS_COMPILED = "from pf_spamfilt import settings; settings.load(sys.argv[1]); print('pf_spamfilt.schema' in sys.modules)"


@dataclass
class Runner:
    """A command with its MAIL_CONFIG, and the seconds of each run."""

    argv: list[str]
    configuration: Path
    seconds: list[float] = field(default_factory=list)


def measure(scene: Scene) -> Section:
    """Run the benchmark."""
    runners = _runners(scene)
    message = MESSAGE.read_bytes()
    with covered(SPAMC, scene.stub("spamc", answer(message))), scene.stub_sendmail():
        for runner in runners.values():
            run_once(runner, message)
        for number, order in rotated(runners, PAIRS * scene.rounds):
            if number % PAIRS == 0:
                scene.progress.step(f"startup: round {number // PAIRS + 1} of {scene.rounds}")
            for name in order:
                runners[name].seconds.append(run_once(runners[name], message))
    return _section(runners)


def answer(message: bytes) -> bytes:
    """Return the script of a spamc that marks this message as scanned, whatever it is asked, all by itself."""
    return b"printf %s '" + (MARKS + message).replace(b"'", b"'\\''") + b"'"


def run_once(runner: Runner, message: bytes) -> float:
    """Run it as pipe(8) does, the message in a pipe; return user and system time, its children's included."""
    before = _children_seconds()
    said, status = _spawn(runner.argv, str(runner.configuration), message)
    if status != 0:
        raise LabError(f"{runner.argv[0]}: status {status}: {said.decode(errors='replace')}")
    return _children_seconds() - before


def _spawn(argv: list[str], configuration: str, message: bytes) -> tuple[bytes, int]:
    (stdin, feed), (read, output) = os.pipe(), os.pipe()
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C", "MAIL_CONFIG": configuration}
    actions = [(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, output, 2)]
    try:
        pid = os.posix_spawn(argv[0], argv, environment, file_actions=actions)
        os.write(feed, message)  # a few kB: a pipe holds them
    finally:
        for fd in (stdin, feed, output):
            os.close(fd)
    _, status = os.waitpid(pid, 0)
    said = os.read(read, 4096)
    os.close(read)
    return said, os.waitstatus_to_exitcode(status)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _runners(scene: Scene) -> dict[str, Runner]:
    folders = {name: scene.directory / f"configuration-{number}" for number, name in enumerate(NAMES)}
    for name, folder in folders.items():
        folder.mkdir()
        if name != DEFAULTS:
            (folder / "pf-spamfilt.toml").write_bytes((HERE / "pf-spamfilt.toml").read_bytes())
    _compile(scene, folders[COMPILED] / "pf-spamfilt.toml")
    bare = os.path.realpath(scene.interpreter)
    nothing = folders[DEFAULTS]
    runners = {FLOOR: Runner([bare, "-I", "-S", str(scene.copy("two_spawns.py"))], nothing)}
    runners |= {name: Runner([str(scene.command), "--", SENDER, RECIPIENT], folders[name]) for name in NAMES}
    return runners | {SCRIPT: Runner([str(scene.script()), SENDER, RECIPIENT], nothing)}


def _compile(scene: Scene, source: Path) -> None:
    """Compile the settings with the interpreter that will read them, and see that it believes them."""
    scene.in_interpreter(COMPILE, str(source))
    if scene.in_interpreter(IS_COMPILED, str(source)).strip() != "False":
        raise LabError(f"{source}: the compiled settings are not believed")


def _section(runners: dict[str, Runner]) -> Section:
    section = Section("user and system time of one run, stub spamc and sendmail, against a bare interpreter")
    floor = runners[FLOOR].seconds
    for name, runner in runners.items():
        figure = f"{1000 * statistics.median(runner.seconds):.1f} ms"
        budget = BUDGET if name in NAMES and name != UNCOMPILED else None
        label = f"pf-spamfilt, {name}" if name in NAMES else name
        section.rows.append(compared(label, figure, runner.seconds, floor, budget))
    section.notes.append(f"{len(floor)} runs of each, in turns; every figure includes the same two stubs")
    return section
