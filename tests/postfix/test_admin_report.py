"""`pf-spamfilt-admin report` of what the filter really logs: ham, spam and a deferral through Postfix and spamd."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from proving import JANE, SAM, Host, for_recipients, scoring

from lab import namespace
from lab.tools import LabError, run

SENDER = "news@shop.example"
POLICY = for_recipients(SAM, 'kill_level = 7\nquarantine = "spam@example.com"\ndestiny = "discard"')
JOURNAL_REMOTE = Path("/lib/systemd/systemd-journal-remote")
IDENT = re.compile(r"<\d+>\w+ +\d+ [\d:]+ ([^ \[]+)\[(\d+)\]: (.*)")


@pytest.fixture(scope="module")
def lines(module_mailhost: Host) -> list[str]:
    """The lines of the syslog: two ham, spam for two of whom one has it kept, and one deferred and then delivered."""
    host = module_mailhost
    before = len(host.syslog.lines())
    host.configured(POLICY)
    host.put("clean")
    host.put("clean", [JANE, SAM])
    host.put(scoring(8), [JANE, SAM], SENDER)
    host.once(5)
    host.spamd.stop()
    host.postfix.wait_log(host.put("clean"), "relay=spamcheck", "status=deferred")
    host.spamd.start()
    host.retry(6)
    return host.syslog.lines()[before:]


@pytest.fixture(scope="module")
def found(lab_command: str, lines: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The figures of these lines."""
    file = tmp_path_factory.mktemp("log") / "syslog"
    file.write_text("\n".join(lines) + "\n")
    return report(lab_command, str(file))


def report(lab_command: str, *arguments: str) -> dict[str, Any]:
    """Run the command and return what it printed as JSON."""
    command = Path(lab_command).with_name("pf-spamfilt-admin")
    done = subprocess.run([command, "report", "--json", *arguments], capture_output=True, check=True)
    return dict(json.loads(done.stdout), said=done.stderr.decode())


def test_every_message_is_counted_once(found: dict[str, Any]) -> None:
    counts = {verdict: counts["messages"] for verdict, counts in found["verdicts"].items()}
    assert (found["messages"], counts) == (4, {"spam": 1, "ham": 3, "unscanned": 0})
    assert (found["lines"]["unreadable"], found["said"]) == (0, "")


def test_recipients_are_counted_by_what_became_of_their_copy(found: dict[str, Any]) -> None:
    assert {action: count for action, count in found["actions"].items() if count} == {
        "reinjected": 5, "quarantined": 1, "deferred": 1,
    }  # fmt: skip
    assert found["kept"] == 1


def test_the_sender_and_the_recipients_of_spam_are_named(found: dict[str, Any]) -> None:
    assert found["spam_senders"] == [{"sender": SENDER, "messages": 1, "blocked": 0}]
    assert {each["recipient"]: each["copies"] for each in found["spam_recipients"]} == {JANE: 1, SAM: 1}


def test_scores_tests_and_seconds_are_those_of_spamd(found: dict[str, Any]) -> None:
    assert [(step["from"], step["spam"], step["ham"]) for step in found["scores"] if step["spam"] or step["ham"]] == [
        (0, 0, 3), (8, 1, 0),
    ]  # fmt: skip
    assert found["tests"] == [{"test": "T_8", "messages": 1, "spam": 1, "ham": 0}]
    assert found["seconds"]["scan"]["messages"] == 4
    assert 0 < found["seconds"]["scan"]["p50"] <= found["seconds"]["total"]["max"]


def test_the_deferral_is_told_with_its_cause(found: dict[str, Any]) -> None:
    (cause,) = found["causes"]
    assert (cause["action"], cause["code"], cause["tries"]) == ("deferred", "4.4.1", 1)
    assert cause["cause"].startswith("spamc cannot connect to spamd")


@pytest.fixture
def journal(lines: list[str], tmp_path: Path) -> Iterator[None]:
    """These lines in a journal of this machine, and no other log in /var/log."""
    if not JOURNAL_REMOTE.exists():
        raise LabError(f"{JOURNAL_REMOTE} is not here: install systemd-journal-remote")
    folder = tmp_path / "log" / "journal" / Path("/etc/machine-id").read_text().strip()
    folder.mkdir(parents=True)
    (tmp_path / "entries").write_text("".join(f"{entry}\n" for entry in _entries(lines)))
    run([JOURNAL_REMOTE, "-o", folder / "system.journal", tmp_path / "entries"])
    namespace.bind(tmp_path / "log", "/var/log")
    yield
    namespace.uncover("/var/log")


def _entries(lines: list[str]) -> Iterator[str]:
    """Yield entries in systemd's export format, one a second; as it keeps what was given to syslog(3)."""
    for number, line in enumerate(lines):
        ident = IDENT.match(line)
        assert ident, line
        yield f"__REALTIME_TIMESTAMP={1795400000 + number}000000\n__MONOTONIC_TIMESTAMP={number + 1}"
        yield f"_BOOT_ID={'1' * 32}\n_MACHINE_ID={'2' * 32}\n_HOSTNAME=lab"
        yield f"SYSLOG_IDENTIFIER={ident[1]}\nSYSLOG_PID={ident[2]}\nMESSAGE={ident[3]}\n"


@pytest.mark.usefixtures("journal")
def test_the_journal_says_the_same(lab_command: str, found: dict[str, Any]) -> None:
    same = ("messages", "verdicts", "actions", "scores", "seconds", "tests", "causes")
    read = report(lab_command, "--journal")
    assert {key: read[key] for key in same} == {key: found[key] for key in same}


@pytest.mark.usefixtures("journal")
def test_the_journal_is_read_from_a_moment_on(lab_command: str) -> None:
    assert report(lab_command, "--journal", "--since", "2030-01-01")["messages"] == 0


@pytest.mark.usefixtures("journal")
def test_the_journal_is_read_where_there_is_no_mail_log(lab_command: str) -> None:
    read = report(lab_command)
    assert (read["messages"], read["said"]) == (4, "reading the journal\n")


@pytest.mark.usefixtures("journal")
def test_the_mail_log_is_read_by_itself(lab_command: str, lines: list[str], tmp_path: Path) -> None:
    (tmp_path / "log" / "mail.log").write_text("\n".join(lines[:1]))
    assert report(lab_command)["said"].startswith("reading /var/log/mail.log\n")
