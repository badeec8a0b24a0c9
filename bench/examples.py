"""Messages a second with the set-ups of examples/, against the plain transport, examples/master.cf.

All hosts of a set-up are this one machine: a pool is not faster here than one host. Each turn starts the set-up, warms
it up and measures until the last copy is in its mailbox. A copy that is missing, or was not scanned, is a LabError.
"""

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from bench.report import Section, compared, rotated
from bench.scene import RECIPIENT, SENDER, Scene, stock_rules
from lab import setups
from lab.mailbox import Copy
from lab.tools import LabError, run, wait_until

MESSAGES, WARM_UP, PATIENCE = 24, 6, 120
PLAIN, TO_TWO = "the plain transport", "the plain transport, to two"
# The scanner's own settings say for whom; smtp-source sends to 1jane and 2jane.
PER_RECIPIENT = '[spamc]\nuser = "${user}"\nper_recipient = true\n'


class Running(NamedTuple):
    """A set-up that runs: where its mail comes in, the folders where it arrives, how many copies of each message."""

    ports: Sequence[int]
    mailboxes: Sequence[Path]
    copies: int = 1
    address: str = RECIPIENT
    filtered: bool = True


SetUp = Callable[[Scene], contextlib.AbstractContextManager[Running]]


def measure(scene: Scene) -> Section:
    """Run the benchmark."""
    rates: dict[str, list[float]] = {name: [] for name in SET_UPS}
    for number, order in rotated(SET_UPS, scene.rounds):
        for name in order:
            scene.progress.step(f"examples: round {number + 1} of {scene.rounds}, {name}")
            with SET_UPS[name](scene) as running:
                _turn(scene, name, running, WARM_UP)
                rates[name].append(_turn(scene, name, running, MESSAGES))
            for file in scene.host.postfix.configuration.glob("pf-spamfilt.toml*"):
                file.unlink()
    section = Section("messages a second with the set-ups of examples/")
    for name, measured in rates.items():
        figure = f"{statistics.median(measured):.1f} /s"
        section.rows.append(compared(name, figure, measured, rates[TO_TWO if name in FOR_TWO else PLAIN]))
    section.notes.append(f"{MESSAGES} messages in each round, all hosts of a set-up on this one machine")
    section.notes.append("ratio: to the plain transport, for as many recipients")
    return section


def _turn(scene: Scene, name: str, running: Running, count: int) -> float:
    """Send so many messages; return how many a second arrived."""
    wanted = count * running.copies
    started = time.monotonic()
    _send(running, scene.message, count)
    if not wait_until(lambda: _arrived(running) >= wanted, PATIENCE):
        raise LabError(f"{name}: {_arrived(running)} of {wanted} copies arrived\n{scene.host.postfix.log_tail()}")
    seconds = time.monotonic() - started
    scene.host.postfix.wait_idle(PATIENCE)
    files = [file for mailbox in running.mailboxes for file in mailbox.iterdir()]
    scanned = sum(Copy(file).header("X-Spam-Status") is not None for file in files)
    if len(files) != wanted or scanned != wanted * running.filtered:
        raise LabError(f"{name}: {len(files)} copies instead of {wanted}, {scanned} of them scanned")
    for file in files:
        file.unlink()
    return count / seconds


def _send(running: Running, message: Path, count: int) -> None:
    """Give each port its share of the messages, at the same time."""
    recipients = ["-r", "2"] if running.copies == 2 and running.address == RECIPIENT else []

    def send(port: int) -> str:
        return run([
            "smtp-source", "-s", "4", "-m", str(count // len(running.ports)), "-M", "client.example", "-f", SENDER,
            *recipients, "-t", running.address, "-F", message, f"127.0.0.1:{port}",
        ])  # fmt: skip

    with ThreadPoolExecutor(len(running.ports)) as threads:
        list(threads.map(send, running.ports))


def _arrived(running: Running) -> int:
    return sum(len(os.listdir(mailbox)) for mailbox in running.mailboxes if mailbox.is_dir())


def _new(lab: Path) -> Path:
    return lab / "mail" / "all" / "new"


def _compile(scene: Scene, *folders: Path) -> None:
    """Do as an administrator would: compile the settings in these folders."""
    for folder in folders:
        run([f"{scene.command}-admin", "-c", folder, "compile"])


@contextlib.contextmanager
def _lane(scene: Scene, copies: int, *, filtered: bool, settings: str = "") -> Iterator[Running]:
    """Run the lab's Postfix as it is, which has examples/master.cf and a port without a filter."""
    postfix = scene.host.postfix
    if settings:
        scene.host.settings(settings)
        _compile(scene, postfix.configuration)
    with postfix.changed():
        port = postfix.port if filtered else postfix.plain_port
        yield Running([port], [_new(scene.host.directory)], copies, filtered=filtered)


@contextlib.contextmanager
def _per_user(scene: Scene) -> Iterator[Running]:
    with setups.per_user(scene.host):
        _compile(scene, scene.host.postfix.configuration)
        yield Running([scene.host.postfix.port], [_new(scene.host.directory)], 2)


@contextlib.contextmanager
def _rewriting(scene: Scene, file: str = "") -> Iterator[Running]:
    entries = setups.before_rewriting(scene.host, file) if file else ""
    with setups.rewriting(scene.host, entries):
        yield Running([scene.host.postfix.port], [_new(scene.host.directory)], 2, "sales@example.com")


@contextlib.contextmanager
def _gateway(scene: Scene) -> Iterator[Running]:
    with setups.gateway(scene.host) as found:
        yield Running([scene.host.postfix.port], [_new(found.inner.lab)])


@contextlib.contextmanager
def _pool(scene: Scene) -> Iterator[Running]:
    rules = "" if scene.rules.startswith("the lab") else stock_rules()
    with setups.pool(scene.host, rules) as found:
        _compile(scene, scene.host.postfix.configuration, found.second.configuration)
        ports = [scene.host.postfix.port, found.second.port]
        yield Running(ports, [_new(scene.host.directory), _new(found.second.lab)])


SET_UPS: dict[str, SetUp] = {
    PLAIN: lambda scene: _lane(scene, 1, filtered=True),
    "no filter": lambda scene: _lane(scene, 1, filtered=False),
    "gateway": _gateway,
    "pool": _pool,
    TO_TWO: lambda scene: _lane(scene, 2, filtered=True),
    "per-user, to two": _per_user,
    "per_recipient = true, to two": lambda scene: _lane(scene, 2, filtered=True, settings=PER_RECIPIENT),
    "an alias of two, the plain transport": _rewriting,
    "an alias of two, before-rewriting": lambda scene: _rewriting(scene, "master.cf"),
    "an alias of two, pre-cleanup": lambda scene: _rewriting(scene, "pre-cleanup.cf"),
}
FOR_TWO = {name for name in SET_UPS if " two" in name}
