"""What an administrator finds in the log: Postfix's line and the filter's own, by the same queue id."""

import re
import time

import pytest
from proving import JANE, SAM, Host, scoring

from lab.tools import free_port

SENDER = "anna@client.example"
LINE = re.compile(
    r"(?P<id>\w+): from=<(?P<from>[^>]*)>, to=(?P<to>.*), size=(?P<size>\d+), user=(?P<user>.*), score=(?P<score>.*),"
    r" required=(?P<required>.*), verdict=(?P<verdict>\w+), action=(?P<action>\w+), scan=(?P<scan>\d+\.\d\d),"
    r" total=(?P<total>\d+\.\d\d), tests=(?P<tests>.*)$"
)


def logged(host: Host, queue_id: str) -> dict[str, str]:
    """Return what the filter's syslog line says of a message."""
    line = host.syslog.wait_for(f"{queue_id}: from=")
    found = LINE.search(line)
    assert found, line
    return found.groupdict()


@pytest.mark.parametrize(
    ("name", "text"),
    [("clean", "(ham 0.0/5.0; 1 reinjected)"), ("gtube", "(spam 1000.0/5.0, tagged; 1 reinjected)")],
)
def test_postfix_log_shows_the_verdict(mailhost: Host, name: str, text: str) -> None:
    """Postfix puts the filter's line into parentheses."""
    line = mailhost.postfix.wait_log(mailhost.put(name), "relay=spamcheck", "status=sent")
    assert line.endswith(f"status=sent (delivered via spamcheck service {text})")


def test_postfix_log_shows_the_number_of_recipients(mailhost: Host) -> None:
    line = mailhost.postfix.wait_log(mailhost.put("clean", [JANE, SAM]), "relay=spamcheck", "status=sent")
    assert line.endswith("(ham 0.0/5.0; 2 reinjected))")


def test_syslog_line_has_the_queue_id_that_the_client_was_told(mailhost: Host) -> None:
    queue_id = mailhost.put("clean")
    assert logged(mailhost, queue_id)["id"] == queue_id


def test_syslog_line_of_spam(mailhost: Host) -> None:
    """It has the envelope, user, score, required score, tests and what was done."""
    found = logged(mailhost, mailhost.put(scoring(8), [JANE], SENDER))
    for name in ("id", "size", "scan", "total"):
        found.pop(name)
    assert found == {
        "from": SENDER, "to": f"<{JANE}>", "user": JANE, "score": "8.0", "required": "5.0",
        "verdict": "spam", "action": "reinjected", "tests": "T_8",
    }  # fmt: skip


def test_syslog_line_of_ham_for_two(mailhost: Host) -> None:
    """Several recipients have no user."""
    found = logged(mailhost, mailhost.put("clean", [JANE, SAM], ""))
    assert (found["from"], found["to"], found["user"]) == ("", f"<{JANE}>,<{SAM}>", "")
    assert (found["verdict"], found["score"], found["tests"]) == ("ham", "0.0", "none")


def test_syslog_line_has_the_seconds_of_the_scan_and_of_all(mailhost: Host) -> None:
    with mailhost.spamd.paused():
        queue_id = mailhost.put("clean")
        mailhost.wait_filter("spamc")
        time.sleep(0.3)
    found = logged(mailhost, queue_id)
    assert 0.3 <= float(found["scan"]) <= float(found["total"]) < 30


def test_syslog_line_comes_with_priority_mail_info(mailhost: Host) -> None:
    queue_id = mailhost.put("clean")
    assert re.match(r"<22>.* pf-spamfilt\[\d+\]: ", mailhost.syslog.wait_for(queue_id))


def test_syslog_line_of_deferred_mail_says_why(mailhost: Host) -> None:
    mailhost.servers(f"127.0.0.1:{free_port()}")
    line = mailhost.syslog.wait_for(f"{mailhost.put('clean')}: from=")
    assert re.search(r"action=deferred, .*, reason=4\.4\.1 spamc cannot connect to spamd", line), line
    assert line.startswith("<20>")


def test_log_file_has_the_same_line(mailhost: Host) -> None:
    """As Postfix writes it: time, host, program and process before it."""
    folder = mailhost.directory / "filterlog"
    folder.mkdir()
    folder.chmod(0o777)
    mailhost.configured(f'[log]\nfile = "{folder}/log"\n')
    queue_id = mailhost.put("gtube")
    line = mailhost.syslog.wait_for(f"{queue_id}: from=")
    (written,) = (folder / "log").read_text(encoding="utf-8").splitlines()
    assert written.partition("]: ")[2] == line.partition("]: ")[2]
    assert re.match(r"\w{3} [ \d]\d \d\d:\d\d:\d\d \S+ pf-spamfilt\[\d+\]: ", written), written


def test_log_file_that_cannot_be_written_hinders_nothing(mailhost: Host) -> None:
    mailhost.configured('[log]\nfile = "/nonexistent/log"\n')
    mailhost.deliver("clean")


def test_syslog_may_be_switched_off(mailhost: Host) -> None:
    mailhost.configured("[log]\nsyslog = false\n")
    queue_id = mailhost.put("clean")
    mailhost.once(1)
    assert mailhost.syslog.lines(queue_id) == []


def test_postfix_log_names_no_bounce_and_no_warning_of_the_filter(mailhost: Host) -> None:
    """Nothing of a plain delivery is worth a warning."""
    before = len(mailhost.postfix.log_lines())
    mailhost.deliver("clean")
    lines = mailhost.postfix.log_lines()[before:]
    assert [line for line in lines if "warning" in line or "bounced" in line] == []
