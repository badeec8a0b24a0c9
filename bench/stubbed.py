"""One run of a command as pipe(8) starts it, and what it costs; spamc and sendmail are stubs that cost next to nothing.

The stubs lie over /usr/bin/spamc and /usr/sbin/sendmail, where all look for them: so pf-spamfilt can run with its
defaults and no settings file. A run that does not succeed is a LabError.
"""

import contextlib
import os
import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.scene import SPAMC, Scene, covered
from lab.tools import LabError

MARKS = b"X-Spam-Checker-Version: SpamAssassin 4 on bench\nX-Spam-Level:\nX-Spam-Status: No, score=0.1 required=5.0\n"
COMPILE = "from pf_spamfilt import schema; schema.compile_file(sys.argv[1])"
IS_COMPILED = "from pf_spamfilt import settings; settings.load(sys.argv[1]); print('pf_spamfilt.schema' in sys.modules)"


@dataclass
class Runner:
    """A command with its MAIL_CONFIG; of each run the processor's seconds, its children's included, and all seconds."""

    argv: list[str]
    configuration: Path
    seconds: list[float] = field(default_factory=list)
    elapsed: list[float] = field(default_factory=list)

    def run(self, message: bytes) -> None:
        """Run it once, the message in a pipe."""
        before, started = _children_seconds(), time.monotonic()
        said, status = _spawn(self.argv, str(self.configuration), message)
        if status != 0:
            raise LabError(f"{self.argv[0]}: status {status}: {said.decode(errors='replace')}")
        self.elapsed.append(time.monotonic() - started)
        self.seconds.append(_children_seconds() - before)

    def forget(self) -> None:
        """Forget what was measured, as after a run that only warms up."""
        self.seconds.clear()
        self.elapsed.clear()


@contextlib.contextmanager
def stubs(scene: Scene, message: bytes) -> Iterator[None]:
    """Let spamc and sendmail be stubs inside the with block; spamc's answer is this message, marked as scanned."""
    answer = b"printf %s '" + (MARKS + message).replace(b"'", b"'\\''") + b"'"
    with covered(SPAMC, scene.stub("spamc", answer)), scene.stub_sendmail():
        yield


def compile_settings(scene: Scene, source: Path) -> None:
    """Compile the settings with the interpreter that will read them, and see that it believes them."""
    scene.in_interpreter(COMPILE, str(source))
    if scene.in_interpreter(IS_COMPILED, str(source)).strip() != "False":
        raise LabError(f"{source}: the compiled settings are not believed")


def _spawn(argv: list[str], configuration: str, message: bytes) -> tuple[bytes, int]:
    (stdin, feed), (read, output), (hear, words) = os.pipe(), os.pipe(), os.pipe()
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C", "MAIL_CONFIG": configuration}
    actions = [(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, output, 1), (os.POSIX_SPAWN_DUP2, words, 2)]
    try:
        pid = os.posix_spawn(argv[0], argv, environment, file_actions=actions)
        os.write(feed, message)  # a few kB: a pipe holds them
    finally:
        for fd in (stdin, feed, output, words):
            os.close(fd)
    _, status = os.waitpid(pid, 0)
    said = os.read(hear, 4096) + os.read(read, 4096)
    os.close(hear)
    os.close(read)
    return said, os.waitstatus_to_exitcode(status)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
