"""`pf-spamfilt-admin report`, installed: where it reads from, what it writes, what it says when something is odd."""

import gzip
import json
import os
import stat
import subprocess

import pytest

KEYS = "size=1234, user=, score=15.3, required=5.0, verdict=spam, action=reinjected, scan=0.50, total=0.62, tests=A,B"
DEFERRED = (
    "size=1234, user=, score=, required=, verdict=unscanned, action=deferred, scan=3.00, total=3.02, "
    "reason=4.4.1 spamc cannot connect to spamd"
)


def line(number, day="2026-11-23", keys=KEYS, sender="a@example.com"):
    ident = f"{day}T03:49:12+00:00 mx1 pf-spamfilt[{number}]"
    return f"{ident}: 4cDR{number}: from=<{sender}>, to=<b@example.net>, {keys}\n"


@pytest.fixture
def log(tmp_path):
    """A log with three messages on two days, a deferral, and a line of another program."""
    file = tmp_path / "mail.log"
    other = "2026-11-23T03:49:12+00:00 mx1 postfix/qmgr[811]: 4cDR1: removed\n"
    file.write_text(line(1, "2026-11-22") + other + line(2) + line(3) + line(4, keys=DEFERRED))
    return file


@pytest.fixture
def run(prefix, tmp_path):
    """Run the command; return status, standard output and standard error."""
    site = tmp_path / "postfix"
    site.mkdir()

    def run(*arguments, stdin=b"", account=None, **environment):
        done = subprocess.run(
            [prefix / "bin" / "pf-spamfilt-admin", "-c", site, "report", *arguments],
            input=stdin,
            capture_output=True,
            env={"PATH": "/usr/bin:/bin", "TZ": "UTC", "LANG": "C.UTF-8"} | environment,
            user=account,
            group=account,
            extra_groups=None if account is None else [],
        )
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run


@pytest.fixture
def figures(run):
    """Return what --json prints, of a run that says nothing else."""

    def figures(*arguments, **more):
        status, printed, said = run("--json", *arguments, **more)
        assert (status, said) == (0, "")
        return json.loads(printed)

    return figures


def test_tables_are_printed(run, log):
    status, printed, said = run(log)
    assert (status, said) == (0, "")
    assert printed.startswith("3 messages, from 2026-11-22 03:49:12 to 2026-11-23 03:49:12\n")
    rows = [row.split() for row in printed.splitlines()]
    assert ["spam", "3", "100.0", "%", "3"] in rows
    assert ["reinjected", "3"] in rows
    assert ["deferred", "4.4.1", "1", "spamc", "cannot", "connect", "to", "spamd"] in rows
    assert ["<a@example.com>", "3", "0"] in rows


def test_json_has_the_figures(figures, log):
    found = figures(log)
    assert (found["messages"], found["lines"]) == (3, {"read": 5, "unreadable": 0})
    assert [(day["day"], day["messages"], day["deferred"]) for day in found["days"]] == [
        ("2026-11-22", 1, 0), ("2026-11-23", 2, 1),
    ]  # fmt: skip
    assert found["seconds"]["scan"]["p95"] == 0.5


def test_files_are_added_up_plain_and_packed(figures, log, tmp_path):
    packed = tmp_path / "mail.log.2.gz"
    packed.write_bytes(gzip.compress(line(9).encode()))
    assert figures(log, packed)["messages"] == 4


def test_standard_input_is_read(figures, log):
    assert figures("-", stdin=log.read_bytes())["messages"] == 3


def test_a_pipe_is_read_like_a_file(figures, log, tmp_path):
    """Such as of <(zcat ...)."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["cp", log, pipe]) as writer:
        assert figures(pipe)["messages"] == 3
    assert writer.returncode == 0


@pytest.mark.parametrize(
    ("options", "messages"),
    [
        (["--since", "2026-11-23"], 2),
        (["--until", "2026-11-23"], 1),
        (["--since", "2026-11-22", "--until", "2026-11-23"], 1),
        (["--since", "2026-11-23 03:49:12"], 2),
        (["--since", "2026-11-23 03:49:13"], 0),
        (["--until", "2026-11-23 03:49:12"], 1),
    ],
)
def test_only_what_was_logged_then_counts(figures, log, options, messages):
    assert figures(*options, log)["messages"] == messages


def test_top_says_how_many_rows_there_are(figures, tmp_path):
    file = tmp_path / "log"
    file.write_text("".join(line(number, sender=f"a{number}@example.com") for number in range(20)))
    assert [len(figures("--top", number, file)["spam_senders"]) for number in ("3", "15")] == [3, 15]


def test_the_log_file_of_the_settings_is_read_by_itself(run, log, tmp_path):
    (tmp_path / "postfix" / "pf-spamfilt.toml").write_text(f'[log]\nfile = "{log}"\n')
    status, printed, said = run("--json")
    assert (status, said) == (0, f"reading {log}\n")
    assert json.loads(printed)["messages"] == 3


def test_broken_lines_are_told_and_not_counted(run, log):
    log.write_text(log.read_text() + line(9)[:60] + "\n" + line(10)[:70] + "\n")
    status, printed, said = run("--json", log)
    assert status == 0
    assert (json.loads(printed)["messages"], json.loads(printed)["lines"]["unreadable"]) == (3, 2)
    assert said == f"2 lines cut or broken, and not counted; the first: {log}: {line(9)[:60]}\n"


def test_a_log_without_a_line_of_the_filter_is_told(run, tmp_path):
    file = tmp_path / "log"
    file.write_text("Nov 23 03:49:12 mx1 postfix/qmgr[811]: 4cDR1: removed\n")
    status, printed, said = run(file)
    assert (status, printed) == (0, "no messages\n")
    assert said == f"no line of the filter in {file}: see LOGGING in pf-spamfilt(1)\n"


def test_a_log_with_another_kind_of_time_is_told(run, tmp_path):
    file = tmp_path / "log"
    file.write_text("23.11.2026 03:49:12 mx1 pf-spamfilt[1]: 4cDR1: from=<>, to=<a@example.com>, x\n")
    assert "1 line with pf-spamfilt, but not after" in run(file)[2]


def test_a_file_that_is_not_there_is_an_error(run, log):
    assert run(log, "/nonexistent") == (1, "", "Error: /nonexistent: No such file or directory\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--journal", "FILE"], "--journal and FILE exclude each other"),
        (["--since", "yesterday"], "'yesterday' must be a date"),
        (["--prometheus", "x.prom", "--since", "1d"], "--prometheus counts from a fixed beginning"),
        (["--top", "0"], "0 is not in the range"),
    ],
)
def test_wrong_usage_is_told(run, arguments, said):
    status, printed, error = run(*arguments)
    assert (status, printed) == (64, "")
    assert said in error


def test_a_host_without_a_journal_is_told_to_name_a_file(run, tmp_path):
    for name in ("dirname", "readlink"):  # for the launcher
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    status, printed, said = run("--journal", PATH=str(tmp_path))
    assert (status, printed) == (1, "")
    assert said == "Error: journalctl: No such file or directory: name the log file instead\n"


def test_a_journal_that_cannot_be_read_is_an_error(run, tmp_path):
    """What journalctl says of it is shown."""
    (tmp_path / "journalctl").write_text("#!/bin/sh\necho 'Failed to open journal' >&2\nexit 1\n")
    (tmp_path / "journalctl").chmod(0o755)
    status, printed, said = run("--journal", PATH=f"{tmp_path}:/usr/bin:/bin")
    assert (status, printed) == (1, "")
    assert said.startswith("Failed to open journal\nError: journalctl -t pf-spamfilt ")
    assert said.endswith("exited with status 1\n")


def test_metrics_are_written_for_everybody_to_read(run, log, tmp_path):
    folder = tmp_path / "collector"
    folder.mkdir()
    assert run("--prometheus", folder / "pf-spamfilt.prom", log) == (0, "", "")
    assert os.listdir(folder) == ["pf-spamfilt.prom"]
    file = folder / "pf-spamfilt.prom"
    assert 'pf_spamfilt_messages_total{verdict="spam"} 3\n' in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


@pytest.mark.parametrize("option", ["--html", "--prometheus"])
def test_an_empty_name_of_a_file_is_an_error(run, log, option):
    """As of a variable that is not set: cron must not take that for done."""
    status, printed, _ = run(option, "", log)
    assert (status, printed) == (1, "")


def test_a_log_that_this_account_may_not_read_is_an_error_with_its_remedy(run, log):
    for folder in (log.parent, *list(log.parents)[1:3]):
        folder.chmod(0o755)
    log.chmod(0o600)
    status, printed, said = run(log, account=65534)
    assert (status, printed) == (1, "")
    assert said == f"Error: {log}: not readable for this account: be root, or of the group that owns it\n"


def test_metrics_that_cannot_be_written_are_an_error(run, log):
    said = "Error: /nonexistent/x.prom: cannot be written: No such file or directory\n"
    assert run("--prometheus", "/nonexistent/x.prom", log) == (1, "", said)
