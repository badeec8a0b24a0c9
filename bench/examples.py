"""Messages a second with the set-ups of examples/, against the plain transport, examples/master.cf.

All hosts of a set-up are this one machine: a pool is not faster here than one host. Each turn starts the set-up, warms
it up and measures until the last copy is in its mailbox. A copy that is missing, was not scanned or is not whole is a
LabError.
"""

import contextlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from bench.report import Section, compared, rotated
from bench.scene import RECIPIENT, Scene, stock_rules
from bench.throughput import check, send
from lab import setups
from lab.local_users import empty, messages
from lab.tools import LabError, run, wait_until

MESSAGES, WARM_UP, PATIENCE = 24, 6, 120
PLAIN, TO_TWO = "the plain transport", "the plain transport, to two"
# The scanner's own settings say for whom; smtp-source sends to 1jane and 2jane.
PER_RECIPIENT = '[spamc]\nuser = "${user}"\nper_recipient = true\n'
ONE = ("-t", RECIPIENT)
TWO = ("-r", "2", "-t", RECIPIENT)


class Running(NamedTuple):
    """A set-up that runs: where its mail comes in, the folders where it arrives, how many copies of each message.

    recipients is what smtp-source is told of them.
    """

    ports: Sequence[int]
    folders: Sequence[Path]
    copies: int = 1
    recipients: Sequence[str] = ONE
    filtered: bool = True


SetUp = Callable[[Scene], contextlib.AbstractContextManager[Running]]


def measure(scene: Scene) -> Section:
    """Run the benchmark."""
    rates = rates_of(scene, "examples", SET_UPS)
    against = {name: TO_TWO if name in FOR_TWO else PLAIN for name in SET_UPS}
    section = compared_rates("messages a second with the set-ups of examples/", rates, against)
    section.notes.append(f"{MESSAGES} messages in each round, all hosts of a set-up on this one machine")
    section.notes.append("ratio: to the plain transport, for as many recipients")
    return section


def rates_of(scene: Scene, benchmark: str, set_ups: Mapping[str, SetUp]) -> dict[str, list[float]]:
    """Let all set-ups take turns; return how many messages a second each had in each round."""
    rates: dict[str, list[float]] = {name: [] for name in set_ups}
    for number, order in rotated(set_ups, scene.rounds):
        for name in order:
            scene.progress.step(f"{benchmark}: round {number + 1} of {scene.rounds}, {name}")
            with set_ups[name](scene) as running:
                _turn(scene, name, running, WARM_UP)
                rates[name].append(_turn(scene, name, running, MESSAGES))
            for file in scene.host.postfix.configuration.glob("pf-spamfilt.toml*"):
                file.unlink()
    return rates


def compared_rates(title: str, rates: Mapping[str, Sequence[float]], against: Mapping[str, str]) -> Section:
    """Return a section with a row for each set-up, its rates compared with those of the one named in against."""
    section = Section(title)
    for name, measured in rates.items():
        section.rows.append(compared(name, f"{statistics.median(measured):.1f} /s", measured, rates[against[name]]))
    return section


def _turn(scene: Scene, name: str, running: Running, count: int) -> float:
    """Send so many messages; return how many a second arrived."""
    wanted = count * running.copies
    started = time.monotonic()
    _send(running, scene.message, count)
    if not wait_until(lambda: len(_arrived(running)) >= wanted, PATIENCE):
        found = len(_arrived(running))
        raise LabError(f"{name}: {found} of {wanted} copies arrived\n{scene.host.postfix.log_tail()}")
    seconds = time.monotonic() - started
    scene.host.postfix.wait_idle(PATIENCE)
    check(name, _arrived(running), scene.message, wanted, filtered=running.filtered)
    for folder in running.folders:
        empty(folder)
    return count / seconds


def _send(running: Running, message: Path, count: int) -> None:
    """Give each port its share of the messages, at the same time."""
    share = count // len(running.ports)
    with ThreadPoolExecutor(len(running.ports)) as threads:
        list(threads.map(lambda port: send(port, message, share, running.recipients), running.ports))


def _arrived(running: Running) -> list[bytes]:
    return [copy for folder in running.folders for copy in messages(folder)]


def _maildir(lab: Path) -> Path:
    return lab / "mail" / "all"


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
        recipients = TWO if copies == 2 else ONE
        yield Running([port], [_maildir(scene.host.directory)], copies, recipients, filtered)


@contextlib.contextmanager
def _per_user(scene: Scene) -> Iterator[Running]:
    with setups.per_user(scene.host):
        _compile(scene, scene.host.postfix.configuration)
        yield Running([scene.host.postfix.port], [_maildir(scene.host.directory)], 2, TWO)


@contextlib.contextmanager
def _rewriting(scene: Scene, file: str = "") -> Iterator[Running]:
    entries = setups.before_rewriting(scene.host, file) if file else ""
    with setups.rewriting(scene.host, entries):
        yield Running([scene.host.postfix.port], [_maildir(scene.host.directory)], 2, ("-t", "sales@example.com"))


@contextlib.contextmanager
def _gateway(scene: Scene) -> Iterator[Running]:
    with setups.gateway(scene.host) as found:
        yield Running([scene.host.postfix.port], [_maildir(found.inner.lab)])


@contextlib.contextmanager
def _pool(scene: Scene) -> Iterator[Running]:
    rules = "" if scene.rules.startswith("the lab") else stock_rules()
    with setups.pool(scene.host, rules) as found:
        _compile(scene, scene.host.postfix.configuration, found.second.configuration)
        ports = [scene.host.postfix.port, found.second.port]
        yield Running(ports, [_maildir(scene.host.directory), _maildir(found.second.lab)])


def plain(scene: Scene) -> contextlib.AbstractContextManager[Running]:
    """Run examples/master.cf."""
    return _lane(scene, 1, filtered=True)


SET_UPS: dict[str, SetUp] = {
    PLAIN: plain,
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
