"""A spamd that learns, arranged as examples/learning says, with SpamAssassin's own rules.

    with Learning(host.directory, "sitewide") as spamd: ...

Inside the with block /etc/spamassassin and /var/lib/spamassassin are folders of the lab, laid over the host's. The
first holds the example's files, unchanged, beside the lab's rules for X-Test-Score, and a spamc.conf by which every
spamc finds this spamd. spamd runs with the options that the example has for /etc/default/spamd. It asks no network
service. Failures are LabErrors.
"""

import random
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from lab import namespace
from lab.spamd import Spamd, score_rules
from lab.tools import PROJECT, Entered, LabError, run

EXAMPLES = PROJECT / "examples"
ACCOUNT = "debian-spamd"
STATE = Path("/var/lib/spamassassin")

# Two kinds of mail that share no word but the commonest. None of SpamAssassin's own rules looks for these.
WORDS = {
    "spam": "yacht lottery tropical jackpot golden envelope luxury diamond palace winner throne silver casino carnival "
    "sunset marble fountain velvet crystal parade champagne caviar orchid feather pearl sapphire ruby emerald amber "
    "cruise harbour lagoon island safari balloon firework trumpet banquet chandelier",
    "ham": "minutes meeting invoice printer staircase kitchen timetable railway homework garden budget draft revision "
    "library keyboard weather umbrella lunch canteen bicycle neighbour plumber heating basement committee agenda "
    "translation chapter footnote exercise rehearsal choir violin grandmother birthday pancake compost",
    "other": "zeppelin astrolabe quarry obelisk pendulum turbine glacier lantern anvil compass sextant gondola "
    "periscope cathedral aqueduct windmill telegraph locomotive foundry observatory barometer catapult drawbridge "
    "portcullis rampart citadel minaret pagoda rotunda monolith gargoyle buttress cloister belfry parapet",
}
# What this host adds before a scan. What is learned has it too, or it would tell scanned mail from that.
TRACE = """\
Return-Path: <sender@client.example>
Received: from client.example (unknown [127.0.0.1])
\tby lab.example (Postfix) with ESMTP id 4ZX
\tfor <jane@example.com>; Tue, 14 Jan 2025 10:12:32 +0100 (CET)
"""
LETTER = """\
Received: from mail.client{number}.example (mail.client{number}.example [{network}.2.7])
\tby relay.example (Postfix) with ESMTP id 4Z{number}; Tue, 14 Jan 2025 10:12:31 +0100
From: Writer {number} <writer@client{number}.example>
To: jane@example.com
Subject: {subject}
Date: Tue, 14 Jan 2025 10:12:30 +0100
Message-ID: <{kind}-{number}@client{number}.example>
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii

{body}
"""


class Learning(Spamd, Entered):
    """The spamd of one of examples/learning's folders, with these options after the example's.

    One that is not entered, only started and stopped, runs on files and databases of the one that is.
    """

    def __init__(self, lab: Path, arrangement: str, *options: str) -> None:
        self._example = EXAMPLES / "learning" / arrangement
        self._place = Path(tempfile.mkdtemp(prefix=f"learning-{arrangement}-", dir=lab))
        self._place.chmod(0o755)
        Entered.__init__(self)
        Spamd.__init__(self, self._place)
        self._options = list(options)

    def _begin(self) -> None:
        self._clean_up.callback(shutil.rmtree, self._place)
        for name, target in (("etc", "/etc/spamassassin"), ("state", str(STATE))):
            namespace.bind(self._place / name, target)
            self._clean_up.callback(namespace.uncover, target)
        self._clean_up.callback(self.stop)
        self.start()

    def configure(self, local_cf: str = "") -> None:
        """Put the example's files, and the lab's, into what becomes /etc/spamassassin."""
        etc = self._place / "etc"
        for file in (EXAMPLES / "local.cf", EXAMPLES / "learning" / "learning.pre", *self._example.glob("*.cf")):
            shutil.copy(file, etc)
        (etc / "lab-scores.cf").write_text(score_rules() + local_cf, encoding="utf-8")
        (etc / "spamc.conf").write_text(f"-d 127.0.0.1\n-p {self.port}\n", encoding="ascii")

    def train(self, account: str, kind: str, mailbox: bytes, *options: str) -> str:
        """Run sa-learn as an account, for the messages of an mbox file, which are of this kind; return its words."""
        file = self._place / f"{kind}.mbox"
        file.write_bytes(mailbox)
        words = shlex.join(["runuser", "-u", account, "--", "sa-learn", *options, f"--{kind}", "--mbox"])
        return run(["sh", "-c", f"{words} <{shlex.quote(str(file))}"])

    def settings(self) -> str:
        """Return the example's pf-spamfilt.toml; empty if the filter's defaults are right for it."""
        file = self._example / "pf-spamfilt.toml"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def _command(self) -> list[str]:
        return ["spamd", *_options(self._example / "spamd"), "-L", f"--listen={self.address}",
                "--allowed-ips=127.0.0.1", f"--syslog={self.log_file}", *self._options]  # fmt: skip

    def _make_directories(self) -> None:
        for name in ("etc", "state", "spamassassin/log"):
            (self._place / name).mkdir(parents=True)
        for file in Path("/etc/spamassassin").glob("*.pre"):
            shutil.copy(file, self._place / "etc")
        shutil.chown(self._place / "state", ACCOUNT, ACCOUNT)
        shutil.chown(self._place / "spamassassin" / "log", ACCOUNT)


def letter(kind: str, number: int, fields: str = "") -> bytes:
    """Return a message of a kind, "spam", "ham" or "other", by the writer of this number, who has his own network."""
    chosen = random.Random(f"{kind} {number}").sample(WORDS[kind].split(), 24)
    lines = [" ".join(chosen[start : start + 8]) for start in range(0, 24, 8)]
    network = f"{20 + number // 250}.{number % 250}"
    values = {"kind": kind, "number": number, "network": network, "subject": " ".join(chosen[:3])}
    return (fields + LETTER.format(body="\n".join(lines), **values)).encode()


def mbox(kind: str, numbers: range) -> bytes:
    """Return the messages of these numbers as an mbox file."""
    return as_mbox(letter(kind, number, TRACE) for number in numbers)


def as_mbox(letters: Iterable[bytes]) -> bytes:
    """Return these messages as an mbox file."""
    marked = (re.sub(rb"^From ", b">From ", each, flags=re.MULTILINE) for each in letters)
    return b"".join(b"From writer Tue Jan 14 10:12:30 2025\n" + each + b"\n" for each in marked)


def _options(defaults: Path) -> list[str]:
    """Return what OPTIONS is in a file for /etc/default/spamd."""
    words = shlex.split(defaults.read_text(encoding="utf-8"), comments=True)
    if len(words) != 1 or not words[0].startswith("OPTIONS="):
        raise LabError(f"{defaults}: expected OPTIONS and nothing else, found {words}")
    return shlex.split(words[0].removeprefix("OPTIONS="))
