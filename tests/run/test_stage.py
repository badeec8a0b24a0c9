"""The stage finds what filters do to mail that are bad on purpose, and finds nothing wrong with a good one."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lab.messages import CLEAN
from lab.stage import CHAPTER_SCRIPT, PF_SPAMFILT, SPAMC_E, Fault, HarnessError, Install, play

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="stages need root")

NOTHING = Fault(name="nothing is wrong", family="test", message=CLEAN, must_deliver=True)
SENDMAIL = '"$MAIL_CONFIG/sendmail" -i -f "$1" -- "$2"'
SPAMC = '"$MAIL_CONFIG/spamc"'
FILTERS = {
    "a good filter": (f"{SPAMC} | {SENDMAIL}", "safe"),
    "one that says 0 and queues nothing": ("cat >/dev/null", "lost"),
    "one that queues and says 75": (f"{SPAMC} | {SENDMAIL}; exit 75", "duplicated"),
    "one that queues twice": (f"{SPAMC} >$DIR/m; for n in 1 2; do {SENDMAIL} <$DIR/m; done", "duplicated"),
    "one that drops the last byte": (f"{SPAMC} | head -c -1 | {SENDMAIL}", "changed"),
    "one that queues an empty message": (f"{SENDMAIL} </dev/null", "changed"),
    "one that does not scan": (SENDMAIL, "unscanned"),
    "one that forgets the sender": (f'{SPAMC} | "$MAIL_CONFIG/sendmail" -i -- "$2"', "misdirected"),
    "one that ends with 1": (f"{SPAMC} >/dev/null; exit 1", "bounced"),
    "one that leaves a process": (f"{SPAMC} | {SENDMAIL}; setsid sleep 60 >/dev/null 2>&1 &", "leftover"),
    "one that puts off good mail": ("exit 75", "refused"),
    "one that hangs": ("exec sleep 60", "stuck"),
}  # fmt: skip


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that unprivileged accounts can read."""
    with TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.mark.parametrize(("body", "verdict"), FILTERS.values(), ids=FILTERS)
def test_verdict_on_a_filter(place: Path, body: str, verdict: str) -> None:
    command = place / "filter"
    command.write_text(f"#!/bin/sh\nDIR=$MAIL_CONFIG/flags\n{body}\n")
    command.chmod(0o755)
    result = play(NOTHING, PF_SPAMFILT, Install(command, place, place))
    assert result.verdict == verdict, str(result)


@pytest.mark.parametrize("name", [CHAPTER_SCRIPT, SPAMC_E])
def test_the_other_filters_deliver_when_nothing_is_wrong(name: str) -> None:
    assert play(NOTHING, name).verdict == "safe"


def test_empty_answer_of_spamc_reaches_the_queue_through_the_chapter_script() -> None:
    fault = Fault(name="spamc prints nothing", family="test", message=CLEAN, spamc="cat >/dev/null")
    result = play(fault, CHAPTER_SCRIPT)
    assert (result.verdict, result.outcome.action) == ("changed", "delivered")
    assert [copy.message for copy in result.copies] == [b""]


def test_a_world_that_cannot_be_made_is_no_verdict() -> None:
    def fail(_: Path, __: Install | None) -> None:
        raise OSError("no such world")

    fault = Fault(name="impossible", family="test", message=CLEAN, world=fail)
    with pytest.raises(HarnessError, match="no such world"):
        play(fault, CHAPTER_SCRIPT)
