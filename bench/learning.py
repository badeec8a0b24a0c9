"""What SpamAssassin's learning costs: spamd's processor time for a scan, by examples/local.cf and learning/sitewide.

A spamd of each kind runs at the same time, with one child, on the same databases; spamc gives a message to one after
the other. Each writer sends two, so that TxRep meets unknown senders and known ones. Each round has new processes, lest
one that is slower by chance be so in all rounds. A scan that has not done what it should is a LabError.
"""

import contextlib
import email
import re
import statistics
from collections.abc import Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import count, cycle, islice, product

from bench.meter import session_seconds
from bench.report import Section, compared, rotated
from bench.scene import SPAMC, Scene, checked
from lab.learning import ACCOUNT, STATE, TRACE, Learning, as_mbox, letter
from lab.tools import LabError, run

WRITERS, WARM_UP, TRAINED = 30, 5, 200
ONE_CHILD = "--max-children=1"  # or now and then a second one, who has not scanned before, takes a message
NO_BAYES, NO_TXREP = "--cf=use_bayes 0", "--cf=use_txrep 0"
NEITHER, AGAIN = "neither Bayes nor TxRep", "neither, again"
# The options of each; without any it is the example as it is.
KINDS = {
    NEITHER: (NO_BAYES, NO_TXREP),
    AGAIN: (NO_BAYES, NO_TXREP),
    "Bayes": (NO_TXREP,),
    "TxRep": (NO_BAYES,),
    "both": (),
}
# A writer's two messages: what each is, and what it scores. TxRep sees that they differ.
PAIR = (("ham", "X-Test-Score: 1\n"), ("spam", "X-Test-Score: 3\n"))
# Fields that a message takes from a letter.
OTHERS_FIELDS = re.compile(rb"^(?:From|To|Subject|Date|Message-ID):.*\n(?:[ \t].*\n)*", re.MULTILINE | re.IGNORECASE)


def measure(scene: Scene) -> Section:
    """Run the benchmark."""
    place, message = scene.host.directory, scene.message.read_bytes()
    seconds: dict[str, list[float]] = {name: [] for name in KINDS}
    numbers = count(TRAINED)
    with Learning(place, "sitewide") as first:
        scene.progress.step("learning: training")
        _train(first, message)
        first.stop()
        spamds = {name: Learning(place, "sitewide", ONE_CHILD, *options) for name, options in KINDS.items()}
        for number in range(scene.rounds):
            scene.progress.step(f"learning: round {number + 1} of {scene.rounds}")
            with _running(spamds.values()):
                _scan(scene, spamds, message, islice(numbers, WARM_UP))
                for name, spent in _spent(scene, spamds, message, islice(numbers, WRITERS)).items():
                    seconds[name].append(spent / WRITERS / len(PAIR))
    return _section(seconds)


def _train(spamd: Learning, message: bytes) -> None:
    """Do as examples/learning says for one database of the site, with messages like those that are scanned."""
    run(["install", "-d", "-o", ACCOUNT, "-g", ACCOUNT, "-m", "700", STATE / "learned"])
    for kind, _ in PAIR:
        said = spamd.train(ACCOUNT, kind, as_mbox(_message(message, kind, number) for number in range(TRAINED)))
        if f"Learned tokens from {TRAINED} message(s)" not in said:
            raise LabError(f"sa-learn --{kind}: {said}")


@contextlib.contextmanager
def _running(spamds: Collection[Learning]) -> Iterator[None]:
    """Let them run inside the with block."""
    try:
        with ThreadPoolExecutor(len(spamds)) as threads:
            list(threads.map(Learning.start, spamds))
        yield
    finally:
        for spamd in spamds:
            spamd.stop()


def _message(message: bytes, kind: str, number: int, fields: str = "") -> bytes:
    """Return the message with some fields of a letter, and the letter's words before its body.

    With the same body it would be known: SpamAssassin learns a body once. In a multipart message nobody sees the words
    but those of the subject.
    """
    own, _, words = letter(kind, number, TRACE + fields).partition(b"\n\n")
    head, _, body = message.partition(b"\n\n")
    return own.partition(b"MIME-Version:")[0] + OTHERS_FIELDS.sub(b"", head + b"\n") + b"\n" + words + b"\n" + body


def _spent(scene: Scene, spamds: Mapping[str, Learning], message: bytes, numbers: Iterable[int]) -> dict[str, float]:
    """Return the processor's seconds that each spamd needs for these scans."""
    before = {name: session_seconds(spamd.pid) for name, spamd in spamds.items()}
    _scan(scene, spamds, message, numbers)
    return {name: session_seconds(spamd.pid) - before[name] for name, spamd in spamds.items()}


def _scan(scene: Scene, spamds: Mapping[str, Learning], message: bytes, numbers: Iterable[int]) -> None:
    """Have each spamd scan two messages for each number, by a writer who is new to all: TxRep's database is one."""
    orders = cycle(order for _, order in rotated(spamds, len(spamds)))
    for number, (kind, fields) in product(numbers, PAIR):
        for name in next(orders):
            writer = number * len(KINDS) + list(KINDS).index(name)
            tests = _tests(scene, spamds[name], _message(message, kind, writer, fields))
            _check(name, kind, tests)


def _check(name: str, kind: str, tests: str) -> None:
    """Bayes knows the words of all messages; TxRep says something of the second, whose writer it knows."""
    due = {"BAYES_": NO_BAYES not in KINDS[name], "TXREP": NO_TXREP not in KINDS[name] and kind == PAIR[1][0]}
    wrong = [test for test, expected in due.items() if (test in tests) != expected]
    if wrong:
        raise LabError(f"learning, {name}: {', '.join(wrong)} should {'' if due[wrong[0]] else 'not '}be in {tests}")


def _tests(scene: Scene, spamd: Learning, message: bytes) -> str:
    """Have a spamd scan a message, and return the names of the tests in X-Spam-Status."""
    command = [SPAMC, "-x", "-d", "127.0.0.1", "-p", str(spamd.port)]
    answer = checked(scene.host.as_filter(command, input=message), command)
    status = str(email.message_from_string(answer)["X-Spam-Status"])
    if "tests=" not in status:
        raise LabError(f"learning: a message was not scanned: X-Spam-Status: {status}")
    return "".join(status.partition("tests=")[2].partition("autolearn=")[0].split())


def _section(seconds: Mapping[str, list[float]]) -> Section:
    section = Section("spamd's processor time for a scan, with what it learns")
    for name, measured in seconds.items():
        figure = f"{1000 * statistics.median(measured):.1f} ms"
        section.rows.append(compared(name, figure, measured, seconds[NEITHER]))
    section.notes.append("examples/local.cf and learning/sitewide, SpamAssassin's own rules, small databases")
    section.notes.append(f"{WRITERS * len(PAIR)} scans of each in each round, one at a time, half of unknown senders")
    section.notes.append(f"{AGAIN}: how far its ratio is from 1 is how far the others' can be wrong")
    return section
