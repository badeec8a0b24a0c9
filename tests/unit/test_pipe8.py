"""The model of pipe(8) decides as postfix's pipe_command.c does, and starts commands as that does."""

import os
import signal
import time
from pathlib import Path

import pytest

from lab.pipe8 import SYS_EXITS, Host, judge, printable, run, run_cut
from lab.tools import wait_until

CASES = {
    "status 0": (0, b"", "delivered 2.0.0"),
    "status 0, whatever it says": (0, b"5.7.1 no", "delivered 2.0.0"),
    "75": (75, b"", "deferred 4.3.0"),
    "71": (71, b"", "deferred 4.3.0"),
    "69": (69, b"", "bounced 5.3.0"),
    "65": (65, b"", "bounced 5.6.0"),
    "67": (67, b"", "bounced 5.1.1"),
    "78": (78, b"text", "bounced 5.3.5"),
    "1 is unknown": (1, b"", "bounced 5.3.0"),
    "63 is below sysexits": (63, b"", "bounced 5.3.0"),
    "79 is above sysexits": (79, b"", "bounced 5.3.0"),
    "127": (127, b"sh: not found", "bounced 5.3.0"),
    "code before status: 5.7.1 and 75": (75, b"5.7.1 spam\n", "bounced 5.7.1"),
    "code before status: 4.3.0 and 1": (1, b"4.3.0 wait\n", "deferred 4.3.0"),
    "code alone": (1, b"4.3.0", "deferred 4.3.0"),
    "code and a line break": (1, b"4.3.0\ntext", "deferred 4.3.0"),
    "code and a tab": (1, b"4.3.0\ttext", "deferred 4.3.0"),
    "code and a carriage return, which is _ by then": (1, b"4.3.0\r\n", "bounced 5.3.0"),
    "code and NUL, which ends the text": (1, b"4.3.0\0junk", "deferred 4.3.0"),
    "NUL first": (1, b"\x004.3.0 text", "bounced 5.3.0"),
    "blank first": (1, b" 4.3.0 text", "bounced 5.3.0"),
    "line break first": (75, b"\n5.7.1 text", "deferred 4.3.0"),
    "letter behind the code": (1, b"4.3.0x", "bounced 5.3.0"),
    "colon behind the code": (1, b"4.3.0: text", "bounced 5.3.0"),
    "class 2 is no success": (1, b"2.0.0 fine", "bounced 2.0.0"),
    "class 2 with 75": (75, b"2.0.0 fine", "bounced 2.0.0"),
    "class 3 is none": (75, b"3.0.0 text", "deferred 4.3.0"),
    "three digits": (1, b"4.123.456 text", "deferred 4.123.456"),
    "four digits": (1, b"4.1234.0 text", "bounced 5.3.0"),
    "two numbers": (1, b"4.3 text", "bounced 5.3.0"),
    "reply code first": (75, b"550 5.7.1 text", "deferred 4.3.0"),
    "code on the second line": (1, b"warning\n4.3.0 text", "bounced 5.3.0"),
    "8-bit digits": (1, "\u0664.3.0 text".encode(), "bounced 5.3.0"),
    "8-bit behind the code": (1, b"4.3.0 \xff", "deferred 4.3.0"),
    "no-break space behind the code": (1, "4.3.0\u00a0text".encode(), "bounced 5.3.0"),
}


@pytest.mark.parametrize(("status", "output", "expected"), CASES.values(), ids=CASES)
def test_exit_status_and_output_decide(status: int, output: bytes, expected: str) -> None:
    outcome = judge(status << 8, output)
    assert f"{outcome.action} {outcome.dsn}" == expected


@pytest.mark.parametrize("status", range(1, 256))
def test_only_71_and_75_defer_by_themselves(status: int) -> None:
    assert (judge(status << 8, b"").action == "deferred") is (status in (71, 75))


def test_table_has_every_status_of_sysexits() -> None:
    assert list(SYS_EXITS) == list(range(64, 79))


@pytest.mark.parametrize("output", [b"", b"5.7.1 evil", b"2.0.0 fine"])
def test_death_by_signal_defers_whatever_it_said(output: bytes) -> None:
    outcome = judge(signal.SIGSEGV, output)
    assert (outcome.action, outcome.dsn) == ("deferred", "4.3.0")


@pytest.mark.parametrize("status", [0, 75 << 8, signal.SIGKILL])
def test_time_limit_bounces_whatever_the_status(status: int) -> None:
    outcome = judge(status, b"4.3.0 wait", timed_out=True)
    assert (outcome.action, outcome.dsn) == ("bounced", "5.3.0")


def test_log_shows_100_characters_of_a_delivery() -> None:
    assert judge(0, b"x" * 200 + b"\n").text == "x" * 100


def test_text_is_what_follows_the_code() -> None:
    assert judge(75 << 8, b"4.7.1  wait\n").text == "wait "


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (b"a\tb\nc", "a b c"),
        (b"a\x07\x7fb", "a__b"),
        ("\u00e9\u4e2d".encode(), "\u00e9\u4e2d"),
        (b"\xe9\xff", "__"),
        (b"a\0b", "a"),
        (b"x" * 5000, "x" * 4096),
    ],
)
def test_output_becomes_one_printable_line(output: bytes, text: str) -> None:
    assert printable(output) == text


def script(tmp_path: Path, body: str) -> list[str]:
    """Write a shell script and return it as a command."""
    path = tmp_path / "command"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return [str(path)]


def test_command_gets_message_environment_and_session(tmp_path: Path) -> None:
    command = script(
        tmp_path, f"cat >{tmp_path}/stdin; env -0 | sort -z >{tmp_path}/env; cut -d' ' -f6 /proc/$$/stat; umask"
    )
    ended = run(command, b"message\n", mail_config="/etc/none")
    environment = (tmp_path / "env").read_bytes().split(b"\0")
    assert (tmp_path / "stdin").read_bytes() == b"message\n"
    assert {b"PATH=/usr/bin:/bin", b"LANG=C", b"MAIL_CONFIG=/etc/none"}.issubset(environment)
    assert not [one for one in environment if one and one.split(b"=")[0] not in _SHELL_SETS]
    assert ended.output.split() == [str(ended.session).encode(), b"0077"]


_SHELL_SETS = (b"PATH", b"LANG", b"MAIL_CONFIG", b"PWD", b"_", b"OLDPWD", b"SHLVL")


def test_unread_message_is_no_error(tmp_path: Path) -> None:
    assert run(script(tmp_path, "exit 0"), b"x" * 300_000, mail_config="/").outcome.action == "delivered"


def test_stdout_and_stderr_are_one(tmp_path: Path) -> None:
    ended = run(script(tmp_path, "echo 4.7.1 first >&2; echo second; exit 1"), b"", mail_config="/")
    assert (ended.outcome.action, ended.outcome.text) == ("deferred", "first second ")


def test_missing_command_defers(tmp_path: Path) -> None:
    assert run([str(tmp_path / "none")], b"", mail_config="/").outcome.action == "deferred"


def test_file_without_interpreter_line_is_run_by_the_shell(tmp_path: Path) -> None:
    (tmp_path / "empty").touch(mode=0o755)
    assert run([str(tmp_path / "empty")], b"message", mail_config="/").outcome.action == "delivered"


def test_signal_defers(tmp_path: Path) -> None:
    assert run(script(tmp_path, "kill -SEGV $$"), b"", mail_config="/").outcome.action == "deferred"


def test_time_limit_kills_the_process_group(tmp_path: Path) -> None:
    command = script(tmp_path, f"sleep 60 & echo $! >{tmp_path}/child; sleep 60")
    ended = run(command, b"", mail_config="/", time_limit=0.5)
    assert (ended.timed_out, ended.outcome.action) == (True, "bounced")
    child = int((tmp_path / "child").read_text())
    assert wait_until(lambda: _is_gone(child), timeout=5)


def test_child_that_keeps_the_output_open_uses_up_the_time(tmp_path: Path) -> None:
    assert run(script(tmp_path, "sleep 60 & exit 0"), b"", mail_config="/", time_limit=0.5).outcome.action == "bounced"


def test_command_that_never_reads_uses_up_the_time(tmp_path: Path) -> None:
    command = script(tmp_path, "exec sleep 60")
    assert run(command, b"x" * 300_000, mail_config="/", time_limit=0.5).outcome.action == "bounced"


def test_output_past_the_buffer_is_not_waited_for(tmp_path: Path) -> None:
    ended = run(script(tmp_path, "head -c 60000 /dev/zero | tr '\\0' x; exit 75"), b"", mail_config="/")
    assert (len(ended.output), ended.outcome.action) == (4096, "deferred")


def test_sigpipe_is_ignored_as_under_postfix(tmp_path: Path) -> None:
    assert run(script(tmp_path, "kill -PIPE $$; exit 75"), b"", mail_config="/").status == 75 << 8


def test_closed_stdin(tmp_path: Path) -> None:
    ended = run(script(tmp_path, "cat 2>/dev/null || exit 75"), b"", mail_config="/", host=Host(closed=(0,)))
    assert ended.outcome.action == "deferred"


def test_midway_half_of_the_message_is_written(tmp_path: Path) -> None:
    seen: list[int] = []
    command = script(tmp_path, f"head -c 50 >{tmp_path}/half; cat >/dev/null")

    def look(pid: int) -> None:
        end = time.monotonic() + 5
        while time.monotonic() < end and not (tmp_path / "half").exists():
            time.sleep(0.01)
        seen.append(pid)

    ended = run(command, b"x" * 100, mail_config="/", midway=look)
    assert seen == [ended.session]


def test_killed_postfix_leaves_a_cut_message_and_a_deferral(tmp_path: Path) -> None:
    ended = run_cut(script(tmp_path, f"cat >{tmp_path}/stdin"), b"a part", mail_config="/")
    assert (ended.outcome.action, (tmp_path / "stdin").read_bytes()) == ("deferred", b"a part")


def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return " Z " in Path(f"/proc/{pid}/stat").read_text()
