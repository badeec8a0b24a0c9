"""What check makes of what SpamAssassin said, and of spamd's command line; and how a check is run as an account."""

import os
import posix

import pytest

from pf_spamfilt import spool, verdict
from pf_spamfilt.admin.account import Account, World
from pf_spamfilt.admin.checks import scanner
from pf_spamfilt.admin.checks.findings import ERROR, OK, WARNING, ok
from pf_spamfilt.admin.checks.scanner import Needs
from pf_spamfilt.admin.checks.steps import findings
from pf_spamfilt.verdict import HAM, SPAM, Scan

BODY = b"\nText.\n"
ORIGINAL = b"From: a@b.example\nSubject: Test\nContent-Type: text/plain\n" + BODY
MARKS = {
    b"X-Spam-Checker-Version": b"SpamAssassin 4.0.1 on host",
    b"X-Spam-Flag": b"YES",
    b"X-Spam-Status": b"Yes, score=1000.0 required=5.0 tests=GTUBE",
}
WRAPPED = b"""\
Subject: Test
X-Spam-Flag: YES
X-Spam-Status: Yes, score=1000.0 required=5.0 tests=GTUBE
Content-Type: multipart/mixed; boundary="b"

--b

It is spam.
--b
Content-Type: message/rfc822; x-spam-type=original

%b
--b--
"""


def answer(text, status=SPAM):
    """Return the scan of an answer of spamc."""
    found = Scan()
    found.answer = spool.from_bytes(text)
    found.verdict = verdict.judge(status, text, ORIGINAL)
    return found


def marked(without=b"", subject=b"Test"):
    marks = b"".join(b"%b: %b\n" % mark for mark in MARKS.items() if mark[0] != without)
    return answer(marks + ORIGINAL.replace(b"Subject: Test", b"Subject: " + subject))


def bad(found, needs=Needs()):  # noqa: B008 - it is a tuple
    return [
        (each.severity, each.id) for each in scanner.about_spam("spamd", found, ORIGINAL, needs) if each.severity != OK
    ]


def test_usual_marks_are_fine_with_any_settings():
    assert bad(marked(), Needs(True, True, True)) == []


def test_gtube_that_is_no_spam_is_an_error():
    assert bad(answer(b"X-Spam-Checker-Version: x\n" + ORIGINAL, HAM)) == [(ERROR, "gtube")]


def test_removed_score_is_an_error_only_with_levels_that_are_numbers():
    found = marked(without=b"X-Spam-Status")
    assert bad(found) == [(WARNING, "spam-status")]
    assert bad(found, Needs(has_numbers=True)) == [(ERROR, "spam-status")]


def test_removed_flag_is_a_warning():
    assert bad(marked(without=b"X-Spam-Flag")) == [(WARNING, "spam-flag")]


def test_wrapped_spam_is_a_warning_only_where_tag2_level_decides():
    found = answer(WRAPPED % ORIGINAL)
    assert bad(found) == []
    assert bad(found, Needs(has_numbers=True)) == []
    assert bad(found, Needs(tag2_differs=True)) == [(WARNING, "report-safe")]


def test_subject_that_is_tagged_twice_is_a_warning():
    found = marked(subject=b"[SPAM] Test")
    assert bad(found) == []
    assert bad(found, Needs(has_subject_tag=True)) == [(WARNING, "subject")]


@pytest.mark.parametrize(
    ("options", "children"),
    [("--max-children 8", 8), ("--max-children=3", 3), ("-m 2", 2), ("-d", 5), ("--max-children x", 0), ("-m", 0)],
)
def test_children_are_read_from_the_command_line_of_spamd(options, children):
    assert scanner.children_option(["/usr/bin/perl", "-T", "-w", "/usr/sbin/spamd", *options.split()]) == children


@pytest.mark.parametrize(
    ("servers", "here"),
    [([], True), (["127.0.0.1:783", "/run/spamd.sock"], True), (["spamd1.example.com"], False), (["[::1]"], True)],
)
def test_servers_of_this_host_are_known(servers, here):
    assert scanner.is_here(servers) == here


def test_test_messages_are_no_spam_in_our_own_source():
    with open(scanner.__file__, encoding="ascii") as file:
        assert scanner._GTUBE.strip() not in file.read()


def world(tmp_path, account=None):
    tmp_path.chmod(0o755)
    return World(account, "/etc/postfix-in", str(tmp_path))


def test_step_runs_in_the_world_of_pipe(tmp_path):
    """Another process, which has pipe(8)'s environment, and leaves ours alone."""

    def step():
        yield ok("it", repr((os.getpid() == parent, os.getcwd(), sorted(posix.environ.items()))))

    parent, before = os.getpid(), dict(posix.environ)
    (found,) = findings(step, world(tmp_path))
    environment = [(b"LANG", b"C"), (b"MAIL_CONFIG", b"/etc/postfix-in"), (b"PATH", b"/usr/bin:/bin")]
    assert found.text == repr((False, str(tmp_path), environment))
    assert dict(posix.environ) == before


def test_step_runs_as_the_account_and_in_no_other_group():
    found = findings(
        lambda: [ok("it", str((os.getresuid(), os.getresgid(), os.getgroups())))], World(Account(7, 8), "", "/")
    )
    assert found[0].text == "((7, 7, 7), (8, 8, 8), [])"


def test_step_that_breaks_is_an_error():
    (found,) = findings(lambda: [1 / 0], World(None, "", "/"))
    assert (found.severity, found.id, "ZeroDivisionError" in found.text) == (ERROR, "check", True)


def test_step_that_is_killed_is_an_error():
    (found,) = findings(lambda: os.kill(os.getpid(), 9), World(None, "", "/"))
    assert (found.severity, found.id) == (ERROR, "check")


def test_directory_that_is_not_there_is_an_error(tmp_path):
    (found,) = findings(lambda: [ok("it", "")], World(None, "", f"{tmp_path}/none"))
    assert (found.severity, found.id) == (ERROR, "directory")
