"""The stage finds what filters do to mail that are bad on purpose, and finds nothing wrong with a good one."""

import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lab import worlds
from lab.messages import CLEAN
from lab.policy_scene import fault
from lab.stage import CHAPTER_SCRIPT, PF_SPAMFILT, SPAMC_E, Fault, HarnessError, Install, Result, play

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


def play_to(body: str, place: Path, what: Fault) -> Result:
    command = place / "filter"
    command.write_text(f"#!/bin/sh\nDIR=$MAIL_CONFIG/flags\n{body}\n")
    command.chmod(0o755)
    return play(what, PF_SPAMFILT, Install(command, place, place))


@pytest.mark.parametrize(("body", "verdict"), FILTERS.values(), ids=FILTERS)
def test_verdict_on_a_filter(place: Path, body: str, verdict: str) -> None:
    result = play_to(body, place, NOTHING)
    assert result.verdict == verdict, str(result)


# A filter that knows what these recipients want, in functions; bad ones leave some out, or call them wrongly.
POLICY = fault("nothing is wrong", "plain", "tagged", "kept", "refused", must_deliver=True)
KNOWING = """
PATH=/usr/bin:/bin SENDMAIL="$MAIL_CONFIG/sendmail -i -f"
cat >$DIR/original
"$MAIL_CONFIG/spamc" <$DIR/original >$DIR/spam
sed 's/^Subject: /&[SPAM] /' $DIR/spam >$DIR/tagged
{ echo 'X-Envelope-To: <user@kept.example>'; cat $DIR/original; } >$DIR/kept
printf 'Subject: bounce\\n\\nFinal-Recipient: rfc822; user@refused.example\\n' >$DIR/bounce
keep() { $SENDMAIL '' -- quarantine@here.example <$DIR/kept; }
plain() { $SENDMAIL "$SENDER" -- user@plain.example <$DIR/spam; }
tagged() { $SENDMAIL "$SENDER" -- user@tagged.example <$DIR/tagged; }
bounce() { $SENDMAIL '' -- "$SENDER" <$DIR/bounce; }
all() { keep; plain; tagged; bounce; }
cut() { head -n 5 $DIR/kept >$DIR/half; mv $DIR/half $DIR/kept; }
stray() { $SENDMAIL "$SENDER" -- user@kept.example <$DIR/spam; }
accuse() { echo 'Final-Recipient: rfc822; user@plain.example' >>$DIR/bounce; }
SENDER=$1
"""
KNOWING_FILTERS = {
    "a good filter": ("all", "safe"),
    "one that loses a recipient's copy": ("keep; plain; bounce", "lost"),
    "one that discards without quarantine": ("plain; tagged; bounce", "lost"),
    "one that tells the sender nothing": ("keep; plain; tagged", "lost"),
    "one that keeps half": ("cut; all", "changed"),
    "one that tags for all": ("cp $DIR/tagged $DIR/spam; all", "misdirected"),
    "one that delivers what is kept": ("all; stray", "misdirected"),
    "one that bounces for all": ("all; exit 69", "bounced"),
    "one that tells of too many": ("accuse; all", "bounced"),
    "one that keeps too late": ("plain; tagged; keep; bounce", "unkept"),
    "one that puts off what it has delivered, unkept": ("plain; exit 75", "unkept"),
    "one that delivers one copy twice": ("keep; plain; plain; tagged; bounce", "duplicated"),
    "one that keeps twice": ("keep; all", "duplicated"),
    "one that puts off what it has delivered": ("keep; plain; exit 75", "duplicated"),
    "one that puts all off": ("exit 75", "refused"),
}  # fmt: skip


@pytest.mark.parametrize(("calls", "verdict"), KNOWING_FILTERS.values(), ids=KNOWING_FILTERS)
def test_verdict_on_a_filter_with_policies(place: Path, calls: str, verdict: str) -> None:
    result = play_to(f"{KNOWING}{calls}", place, POLICY)
    assert result.verdict == verdict, str(result)


def test_copies_are_told_in_the_order_of_queueing(place: Path) -> None:
    result = play_to(f"{KNOWING}tagged; keep; plain; keep", place, POLICY)
    first = [copy.recipients[0].partition(b"@")[2].partition(b".")[0] for copy in result.copies]
    assert first == [b"tagged", b"here", b"plain", b"here"]


def test_compiled_settings_of_a_world_are_believed(install: Install) -> None:
    discard = '[policy]\nkill_level = -100\ndestiny = "discard"\n'
    result = play(fault("x", "plain", world=worlds.compile_settings(instead=discard)), PF_SPAMFILT, install)
    assert (result.verdict, result.outcome.action) == ("lost", "delivered")


def test_a_world_without_memory_files_has_none(place: Path) -> None:
    body = "/usr/bin/python3 -c 'import os; os.memfd_create(\"x\")' 2>&1"
    result = play_to(body, place, fault("x", "plain", world=worlds.no_memory_file))
    assert "Function not implemented" in result.outcome.text


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
