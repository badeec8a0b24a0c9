"""process.py: programs are started with files, ended by a deadline, and leave nothing behind."""

import os
import posix
import signal
import subprocess
import sys
import time

import pytest

from lab.tools import PROJECT
from pf_spamfilt import process, spool
from pf_spamfilt.exits import Deferred, Stopped


@pytest.fixture
def stdin():
    return spool.from_bytes(b"some input\n").fd


def soon():
    return time.monotonic() + 10


def shell(script):
    return [b"/bin/sh", b"-c", script.encode()]


def processes_of_group(group):
    """Processes of a group that are not zombies."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as file:
                state, _, pgrp = file.read().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(pgrp) == group and state != "Z":
            found.append(name)
    return found


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 75", 75), ("kill -9 $$", -9), ("kill -15 $$", -15)]
)
def test_status_is_the_exit_status_or_minus_the_signal(stdin, script, status):
    assert process.run(shell(script), stdin, soon()).status == status


def test_output_is_captured_and_stdin_is_read_from_its_start(stdin):
    for _ in range(2):
        ended = process.run(shell("cat; echo error >&2"), stdin, soon())
        assert ended.said == b"some input\nerror\n"


def test_what_was_said_stays_when_a_shell_opens_the_output_anew(stdin):
    """A file would be cut off there."""
    ended = process.run(shell("echo 1; echo 2 >/dev/stderr; echo 3 >/dev/stdout; echo 4"), stdin, soon())
    assert ended.said == b"1\n2\n3\n4\n"


def test_more_than_a_pipe_holds_is_captured(stdin):
    ended = process.run(shell("head -c 1000000 /dev/zero"), stdin, soon())
    assert (ended.status, len(ended.said)) == (0, 1000000)


@pytest.mark.parametrize("script", ["sleep 60 & exit 3", "exec 3>&2; (yes >&3) & exit 3", "exec >&- 2>&-; exit 3"])
def test_what_a_program_leaves_behind_is_not_waited_for(stdin, script):
    started = time.monotonic()
    assert process.run(shell(script), stdin, soon()).status == 3
    assert time.monotonic() - started < 5


def test_what_a_program_leaves_behind_is_read_to_its_end_if_that_is_wanted(stdin):
    ended = process.run(shell("(sleep 0.3; echo late) & echo early; exit 3"), stdin, soon(), to_end=True)
    assert (ended.status, ended.said) == (3, b"early\nlate\n")


def test_past_the_deadline_nothing_more_is_read(stdin):
    started = time.monotonic()
    assert process.run(shell("sleep 60 & exit 3"), stdin, started + 0.5, to_end=True).status == 3
    assert time.monotonic() - started < 5


def test_stdout_goes_to_its_own_file_and_only_stderr_is_captured(stdin):
    output = spool.memory_file()
    ended = process.run(shell("cat; echo error >&2"), stdin, soon(), output)
    assert (os.pread(output, 100, 0), ended.said) == (b"some input\n", b"error\n")


@pytest.mark.parametrize("name", [b"/nonexistent", b"/etc/passwd", b"/"])
def test_a_program_that_cannot_start_defers_and_is_named(stdin, name):
    with pytest.raises(Deferred, match=f"cannot run {name.decode()}: "):
        process.run([name], stdin, soon())
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


@pytest.mark.parametrize(
    "script",
    ["sleep 60", "trap '' TERM; sleep 60", "sleep 60 & sleep 60", "(trap '' TERM; sleep 60) & sleep 60"],
    ids=["plain", "ignores-term", "with-child", "child-ignores-term"],
)
def test_past_its_deadline_a_program_and_its_children_are_ended(stdin, tmp_path, script):
    started = time.monotonic()
    with pytest.raises(process.TimedOut, match="/bin/sh took too long"):
        process.run(shell(f"echo $$ > {tmp_path}/pid; {script}"), stdin, started + 0.3)
    assert time.monotonic() - started < 0.3 + 2 * process.GRACE + 1
    assert processes_of_group(int((tmp_path / "pid").read_text())) == []


@pytest.mark.parametrize("script", ["yes", "yes >&2"])
@pytest.mark.parametrize("has_file", [False, True])
def test_a_program_that_writes_without_end_is_ended(stdin, script, has_file):
    with pytest.raises(process.TimedOut, match="wrote without end"):
        process.run(shell(script), stdin, soon(), spool.memory_file() if has_file else -1)


@pytest.fixture
def signals():
    """Signal handling as it was, after a test that changes it."""
    numbers = (signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_program_has_signals_as_if_nobody_had_ignored_or_blocked_them(stdin, signals):
    for number in (signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    process.prepare()
    ended = process.run(shell("grep Sig /proc/self/status"), stdin, soon())
    masks = dict(line.split(":\t") for line in ended.said.decode().splitlines())
    assert int(masks["SigBlk"], 16) == 0
    assert int(masks["SigIgn"], 16) & 0x7FFFFFFF == 0  # above that are glibc's own


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_that_asks_us_to_stop_ends_what_was_started(stdin, signals, tmp_path, number):
    process.prepare()
    stop = f"echo $$ > {tmp_path}/pid; kill -{int(number)} $PPID; sleep 60"
    with pytest.raises(Stopped, match=f"stopped by signal {int(number)}"):
        process.run(shell(stop), stdin, soon())
    assert processes_of_group(int((tmp_path / "pid").read_text())) == []


def test_nohup_is_respected(stdin, signals):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    process.prepare()
    assert process.run(shell("kill -HUP $PPID; exit 3"), stdin, soon()).status == 3


def test_held_signals_wait():
    """In a process of its own: signals are held for one thread, and pytest may have several."""
    code = """
import sys, time
from lab.tools import PROJECT
from pf_spamfilt import process, spool
process.prepare()
process.hold_signals()
script = [b"/bin/sh", b"-c", b"kill -TERM $PPID; kill -INT $PPID; kill -HUP $PPID; kill -QUIT $PPID; exit 3"]
sys.exit(process.run(script, spool.from_bytes(b"x").fd, time.monotonic() + 10).status)
"""
    assert subprocess.run([sys.executable, "-c", code], cwd=PROJECT).returncode == 3


def test_without_pidfd_the_end_is_found_all_the_same(stdin, monkeypatch):
    monkeypatch.delattr(posix, "pidfd_open")
    assert process.run(shell("sleep 0.05; exit 3"), stdin, soon()).status == 3
    with pytest.raises(process.TimedOut):
        process.run(shell("sleep 60"), stdin, time.monotonic() + 0.1)
