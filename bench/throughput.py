"""Messages a second through the real Postfix and spamd, and what the whole machine works for each.

The filters take turns in every round, each with an SMTP port and a transport of its own in the same Postfix, so that
nothing is restarted in between. A message that does not arrive, or arrives without having been scanned, is a LabError:
a filter that loses mail would be the fastest.
"""

import contextlib
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import amavis
from bench.meter import machine_seconds
from bench.report import Budget, Row, Section, compared, rotated
from bench.scene import RECIPIENT, SENDER, SENDMAIL, SPAMC, Scene
from lab.local_users import messages
from lab.tools import LabError, free_port, run, wait_until

OURS, SCRIPT, SPAMC_E, AMAVIS = "pf-spamfilt", "the shell script", "spamc -e sendmail", "amavisd-new"
AGAIN = "the shell script, again"  # with itself it must come out as 1: how far it does not is the noise
RATE, CPU, RATE_AMAVIS = Budget(0.97, at_least=True), Budget(1.05), Budget(1.5, at_least=True)
PROCESSES = 4  # filters of one kind at the same time: two that spamd's two children scan for, two that start or end
MESSAGES, WARM_UP = 24, 6
PATIENCE = 120  # seconds for the messages of one turn


@dataclass
class Lane:
    """One filter: its transport in master.cf, the port where its mail comes in, and what each round has measured."""

    transport: str
    next_hop: str = ""
    port: int = field(default_factory=free_port)
    rates: list[float] = field(default_factory=list)
    machine_cpu: list[float] = field(default_factory=list)
    lab_cpu: list[float] = field(default_factory=list)

    def entries(self, name: str) -> str:
        """Return the lines for master.cf; the transport is called `name`."""
        server = f"127.0.0.1:{self.port} inet n - y - - smtpd -o content_filter={name}:{self.next_hop}"
        return f"{name} {self.transport}\n{server}\n"


def piped(argv: str) -> Lane:
    """Return the lane of a command that pipe(8) starts; argv as in master.cf."""
    return Lane(f"unix - n n - {PROCESSES} pipe flags=Rq user=spamfilt null_sender= argv={argv}")


def measure(scene: Scene) -> Section:
    """Run the benchmark."""
    lanes = {
        OURS: piped(f"{scene.command} -- ${{sender}} ${{recipient}}"),
        SCRIPT: piped(f"{scene.script()} ${{sender}} ${{recipient}}"),
        AGAIN: piped(f"{scene.script()} ${{sender}} ${{recipient}}"),
        SPAMC_E: piped(f"{SPAMC} -e {SENDMAIL} -i -f ${{sender}} -- ${{recipient}}"),
    }
    with _amavis(scene, lanes):
        master = "".join(lane.entries(f"bench{number}") for number, lane in enumerate(lanes.values()))
        with scene.host.postfix.changed(master=master):
            _run_rounds(scene, lanes)
    return _section(scene, lanes)


@contextlib.contextmanager
def _amavis(scene: Scene, lanes: dict[str, Lane]) -> Iterator[None]:
    if not scene.with_amavis:
        yield
        return
    scene.progress.step("throughput: starting amavisd-new")
    with amavis.running(scene) as port:
        lanes[AMAVIS] = Lane(f"unix - - n - {amavis.CHILDREN} smtp", f"[127.0.0.1]:{port}")
        yield


def _run_rounds(scene: Scene, lanes: dict[str, Lane]) -> None:
    for name, lane in lanes.items():
        scene.progress.step(f"throughput: warming up {name}")
        turn(scene, name, lane, WARM_UP)
        for measured in (lane.rates, lane.machine_cpu, lane.lab_cpu):
            measured.clear()
    for number, order in rotated(lanes, scene.rounds):
        for name in order:
            scene.progress.step(f"throughput: round {number + 1} of {scene.rounds}, {name}")
            turn(scene, name, lanes[name], MESSAGES)


def turn(scene: Scene, name: str, lane: Lane, count: int) -> None:
    """Send so many messages and measure until the last is in the mailbox and the queue is empty."""
    postfix, mailbox = scene.host.postfix, scene.host.mailbox
    machine, lab, started = machine_seconds(), scene.group.seconds(), time.monotonic()
    send(lane.port, scene.message, count)
    new = scene.host.directory / "mail" / "all" / "new"
    if not wait_until(lambda: new.is_dir() and len(os.listdir(new)) >= count, PATIENCE):
        raise LabError(f"{name}: {mailbox.count()} of {count} messages came through\n{postfix.log_tail()}")
    seconds = time.monotonic() - started
    postfix.wait_idle(PATIENCE)
    lane.machine_cpu.append((machine_seconds() - machine) / count)
    lane.lab_cpu.append((scene.group.seconds() - lab) / count)
    lane.rates.append(count / seconds)
    check(name, messages(new.parent), scene.message, count)
    mailbox.clear()


def send(port: int, message: Path, count: int, recipients: Sequence[str] = ("-t", RECIPIENT)) -> None:
    """Give Postfix so many copies of the message, over a few connections at a time; `recipients`: smtp-source(1)'s."""
    run([
        "smtp-source", "-s", "4", "-m", str(count), "-M", "client.example", "-f", SENDER, *recipients,
        "-F", message, f"127.0.0.1:{port}",
    ])  # fmt: skip


def check(name: str, copies: Sequence[bytes], message: Path, count: int, *, filtered: bool = True) -> None:
    """See that so many are there, scanned if there is a filter, whole but for empty lines (smtp-source adds one)."""
    sent = message.read_bytes().partition(b"\n\n")[2].rstrip()
    if len(copies) != count:
        raise LabError(f"{name}: {len(copies)} copies instead of {count}")
    for copy in copies:
        head, _, body = copy.partition(b"\n\n")
        if (b"\nX-Spam-Status: " in head) != filtered or body.rstrip() != sent:
            shown = head.decode(errors="replace")
            raise LabError(f"{name}: a copy was not scanned as it should, or is not whole:\n{shown}")


def _section(scene: Scene, lanes: dict[str, Lane]) -> Section:
    section = Section("messages a second, through a real Postfix and spamd")
    section.rows += _rates(lanes)
    section.rows += _cpu("", {name: lane.machine_cpu for name, lane in lanes.items()}, CPU)
    if scene.group:
        section.rows += _cpu(" (lab only)", {name: lane.lab_cpu for name, lane in lanes.items()}, None)
    size = scene.message.stat().st_size / 1000
    section.notes.append(f"{MESSAGES} messages of {size:.1f} kB in each round; CPU: of the machine, or the lab's alone")
    section.notes.append(f"{AGAIN}: how far its ratios are from 1 is how far the others' can be wrong")
    return section


def _rates(lanes: dict[str, Lane]) -> Iterator[Row]:
    for name, lane in lanes.items():
        figure, budget = f"{statistics.median(lane.rates):.1f} /s", RATE if name == OURS else None
        yield compared(name, figure, lane.rates, lanes[SCRIPT].rates, budget)
    if AMAVIS in lanes:
        what = f"{OURS}, against {AMAVIS}"
        yield compared(what, "", lanes[OURS].rates, lanes[AMAVIS].rates, RATE_AMAVIS)


def _cpu(where: str, seconds: dict[str, list[float]], budget: Budget | None) -> Iterator[Row]:
    for name, measured in seconds.items():
        figure = f"{1000 * statistics.median(measured):.0f} ms"
        judged = budget if name == OURS else None
        yield compared(f"CPU a message{where}: {name}", figure, measured, seconds[SCRIPT], judged)
