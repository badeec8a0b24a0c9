"""How long `pf-spamfilt-admin report` takes for 1,000,000 log lines: a mail log with all of Postfix's, and only ours.

Against a Python loop that only looks for score and verdict in each line, `wc -l`, and `grep -c`, in the same round.
The logs are made here, by a fixed seed: most senders of spam differ, as they do. LabError if a message is not counted.
"""

import json
import random
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.report import Budget, Row, Section, compared, rotated
from bench.scene import Scene, checked
from lab.tools import LabError

LINES = 1_000_000
BUDGET = Budget(20, unit=" s")
# Each run takes seconds: more rounds tell no more.
ROUNDS = 5
START = 1_795_392_000  # 2026-11-23
DAYS = 7
OURS, MIXED = "only the filter's lines", "a mail log, 1 line in 10 the filter's"
LOOP, WC, GREP = "Python, one regular expression", "wc -l", "grep -c pf-spamfilt"
LOOP_CODE = r"""
import re, sys
found = re.compile(rb" pf-spamfilt\[\d+\]: .* score=([^,]*), .* verdict=(\w+)")
for line in open(sys.argv[1], "rb"):
    found.search(line)
"""
TESTS = [f"{kind}_{number}" for kind in ("BAYES", "HTML", "URIBL", "DKIM", "RCVD_IN", "FROM") for number in range(50)]
CAUSES = (
    "4.4.1 spamc cannot connect to spamd: spamc: connect to spamd on 127.0.0.1 failed, retrying (#1 of 3): refused",
    "4.4.1 /usr/bin/spamc took too long",
    "4.3.5 /etc/postfix/pf-spamfilt.toml: [policy] kill_levle: no such key",
)
OTHERS = (
    "postfix/smtpd[{0}]: connect from unknown[192.0.2.{1}]",
    "postfix/smtpd[{0}]: {2}: client=unknown[192.0.2.{1}]",
    "postfix/cleanup[{0}]: {2}: message-id=<{0}.{1}@client.example>",
    "postfix/qmgr[811]: {2}: from=<news{1}@client.example>, size={0}, nrcpt=1 (queue active)",
    "postfix/smtpd[{0}]: disconnect from unknown[192.0.2.{1}] ehlo=1 mail=1 rcpt=1 data=1 quit=1 commands=5",
    "postfix/pickup[{0}]: {2}: uid=110 from=<news{1}@client.example>",
    "postfix/pipe[{0}]: {2}: to=<user{1}@example.com>, relay=spamcheck, delay=0.6, delays=0.1/0/0/0.5, dsn=2.0.0, "
    "status=sent (delivered via spamcheck service (ham 0.2/5.0; 1 reinjected))",
    "postfix/virtual[{0}]: {2}: to=<user{1}@example.com>, relay=virtual, delay=0.1, dsn=2.0.0, status=sent (delivered)",
    "postfix/qmgr[811]: {2}: removed",
)


def measure(scene: Scene) -> Section:
    """Run the benchmark."""
    section = Section(f"seconds for {LINES:,} log lines, against a Python loop over the same")
    rounds = 1 if scene.quick else min(scene.rounds, ROUNDS)
    for kind, others in ((MIXED, len(OTHERS)), (OURS, 0)):
        scene.progress.step(f"report: making {kind}")
        log = scene.directory / "mail.log"
        messages = _write(log, others)
        section.rows += _rows(kind, _measured(scene, log, kind, messages, rounds))
        section.notes.append(f"{kind}: {log.stat().st_size >> 20} MB, {messages:,} messages")
        log.unlink()
    section.notes.append(f"{rounds} runs of each, in turns; ratios are to the Python loop")
    return section


def _measured(scene: Scene, log: Path, kind: str, messages: int, rounds: int) -> dict[str, list[float]]:
    command = [str(scene.command.with_name("pf-spamfilt-admin")), "report", "--json", str(log)]
    commands = {
        "report": command,
        LOOP: [str(scene.interpreter), "-I", "-S", "-c", LOOP_CODE, str(log)],
        WC: ["wc", "-l", str(log)],
        GREP: ["grep", "-c", "pf-spamfilt", str(log)],
    }
    found = json.loads(checked(subprocess.run(command, capture_output=True, check=False), command))
    if found["messages"] != messages or found["lines"] != {"read": LINES, "unreadable": 0}:
        raise LabError(f"report counts {found['messages']} messages in {found['lines']}, not {messages} in {LINES}")
    seconds: dict[str, list[float]] = {name: [] for name in commands}
    for number, order in rotated(commands, rounds):
        scene.progress.step(f"report: {kind}, round {number + 1} of {rounds}")
        for name in order:
            started = time.monotonic()
            checked(subprocess.run(commands[name], capture_output=True, check=False), commands[name])
            seconds[name].append(time.monotonic() - started)
    return seconds


def _rows(kind: str, seconds: dict[str, list[float]]) -> Iterator[Row]:
    for name, figures in seconds.items():
        median = statistics.median(figures)
        what = f"{name}: {kind}" if name == "report" else f"  {name}"
        row = compared(what, f"{median:.2f} s", figures, seconds[LOOP])
        if name == "report":
            row = Row(row.what, row.figure, row.ratio, row.spread, str(BUDGET), BUDGET.verdict(median))
        yield row


def _write(log: Path, others: int) -> int:
    """Write the log, with so many lines of other programs before each of ours; return how many messages it has."""
    dice = random.Random(4)
    messages = 0
    with log.open("w", encoding="ascii") as file:
        for number in range(LINES):
            moment = START - DAYS * 86400 + number * DAYS * 86400 // LINES
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{number % 1_000_000:06}+00:00"
            place = number % (others + 1)
            queue_id = f"4cDR{number // (others + 1):07x}"
            if place < others:
                text = OTHERS[place].format(dice.randrange(1000, 30000), dice.randrange(250), queue_id)
            else:
                text = _line(dice, queue_id)
                messages += "action=deferred" not in text
            file.write(f"{stamp} mx1 {text}\n")
    return messages


def _line(dice: random.Random, queue_id: str) -> str:
    """Return one line of ours: 4 in 10 are spam, 1 in 100 deferred."""
    spam, deferred = dice.random() < 0.4, dice.random() < 0.01
    score = max(5.0, dice.gauss(14, 5)) if spam else min(4.9, dice.gauss(-1, 2))
    to = ",".join(f"<user{_often(dice)}@example.com>" for _ in range(1 + (dice.random() < 0.1)))
    domain = f"news{_often(dice)}.example"
    sender = dice.choice((f"offers@{domain}", f"{dice.getrandbits(40):x}@{domain}")) if spam else "anna@client.example"
    scan = dice.lognormvariate(-0.7, 0.6)
    verdict = "unscanned" if deferred else "spam" if spam else "ham"
    tests = dict.fromkeys(TESTS[_often(dice) % len(TESTS)] for _ in range(12))
    tail = f"reason={dice.choice(CAUSES)}" if deferred else f"tests={','.join(tests)}"
    return (
        f"pf-spamfilt[{dice.randrange(1000, 30000)}]: {queue_id}: from=<{sender}>, to={to},"
        f" size={dice.randrange(1000, 90000)}, user=, score={'' if deferred else f'{score:.1f}'}, required=5.0,"
        f" verdict={verdict}, action={'deferred' if deferred else 'reinjected'}, scan={scan:.2f},"
        f" total={scan + 0.05:.2f}, {tail}"
    )


def _often(dice: random.Random) -> int:
    """Return a number below 5000, small ones more often: a few names make most of the mail."""
    return int(dice.paretovariate(0.5)) % 5000
