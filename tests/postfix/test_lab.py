"""The private mail host itself: what the other tests here take for granted."""

import subprocess
from collections.abc import Callable

import pytest

from lab import postfix
from lab.mailhost import MailHost
from lab.tools import LabError, run

Message = Callable[[str], bytes]


@pytest.mark.parametrize("name", ["clean", "gtube", "bounce", "utf8", "forged", "multipart"])
def test_unfiltered_mail_arrives_whole(mailhost: MailHost, message: Message, name: str) -> None:
    """By the port without a filter, Postfix only adds lines above the message."""
    sender = "" if name == "bounce" else "anna@client.example"
    mailhost.send(message(name), ["jane@example.com"], sender, filtered=False)
    (copy,) = mailhost.mailbox.wait_for(1)
    assert copy.raw.endswith(b"\n" + message(name))
    assert (copy.recipient, copy.sender) == ("jane@example.com", sender)


def test_every_recipient_has_a_copy(mailhost: MailHost, message: Message) -> None:
    """Any recipient of any domain is accepted, odd ones too."""
    recipients = ["jane@example.com", "-f@sub.example.org", '"a b"@example.net', "jürgen@müller.example"]
    mailhost.send(message("clean"), recipients, "-x@client.example", filtered=False)
    copies = mailhost.mailbox.wait_for(len(recipients))
    assert sorted(copy.recipient for copy in copies) == sorted(recipients)
    assert {copy.sender for copy in copies} == {"-x@client.example"}


@pytest.mark.parametrize(("name", "status"), [("clean", 0), ("gtube", 1)])
def test_spamd_judges_as_expected(mailhost: MailHost, message: Message, name: str, status: int) -> None:
    """A spamc -E of the filter's account reaches the lab's spamd, which knows GTUBE as spam."""
    done = ask_spamd(mailhost, message(name))
    assert (done.returncode, b"X-Spam-Flag: YES\n" in done.stdout) == (status, status == 1)


def test_message_scores_what_it_asks_for(mailhost: MailHost, message: Message) -> None:
    """The field X-Test-Score chooses the score."""
    done = ask_spamd(mailhost, b"X-Test-Score: -5\n" + message("clean"))
    assert b"X-Spam-Status: No, score=-5.0 required=5.0 tests=T_MINUS_5" in done.stdout


def test_user_may_have_preferences(mailhost: MailHost, message: Message) -> None:
    """What is written for a user of spamd holds for that user."""
    mailhost.spamd.preferences("jane@example.com", "required_score 3.5\n")
    text = b"X-Test-Score: 4\n" + message("clean")
    assert ask_spamd(mailhost, text).returncode == 0
    assert ask_spamd(mailhost, text, "--username=jane@example.com").returncode == 1


def test_stopped_spamd_is_unreachable_and_comes_back(mailhost: MailHost, message: Message) -> None:
    """After kill() nothing answers; start() brings it back at the same address."""
    mailhost.spamd.kill()
    assert ask_spamd(mailhost, message("gtube"), "--connect-retries=1").returncode == 69
    mailhost.spamd.start()
    assert ask_spamd(mailhost, message("gtube")).returncode == 1


def test_syslog_is_the_labs_own(mailhost: MailHost) -> None:
    """What the filter's account logs by syslog(3) is in the lab, and never in the host's log."""
    mailhost.as_filter(["logger", "-p", "mail.info", "-t", "somebody", "a line to find"])
    assert mailhost.syslog.wait_for("somebody", "a line to find").startswith("<22>")


def test_no_line_that_was_logged_is_missing(mailhost: MailHost) -> None:
    """The processes that write the two logs are behind those who log; who reads the lines does not notice."""
    for number in range(30):
        run(["postlog", f"postlog {number}."])
        assert len(mailhost.postfix.log_lines(f"postlog {number}.")) == 1
        run(["logger", f"logger {number}."])
        assert len(mailhost.syslog.lines(f"logger {number}.")) == 1


def test_what_is_logged_while_postfix_is_stopped_is_in_its_log(mailhost: MailHost) -> None:
    """Nobody but postlogd(8) writes the log while it runs, and postlog(1) itself when it does not."""
    mailhost.postfix.stop()
    run(["postlog", "it stands still"])
    assert len(mailhost.postfix.log_lines("it stands still")) == 1


def test_filter_transport_can_be_exchanged(mailhost: MailHost, message: Message) -> None:
    """Inside changed() another command is the filter: here one that makes Postfix keep the mail."""
    with mailhost.postfix.changed(master=mailhost.postfix.transport("/bin/no-such-command")):
        queue_id = mailhost.send(message("clean"))
        assert "status=deferred" in mailhost.postfix.wait_log(queue_id, "relay=spamcheck")
    assert mailhost.postfix.queued() == [f"deferred/{queue_id}"]


def test_changed_example_is_refused() -> None:
    """An examples/master.cf that no longer says what the lab expects is an error, not another test."""
    text = postfix.example().replace("-o content_filter=spamcheck:", "-o content_filter=other:")
    with pytest.raises(LabError, match="content_filter"):
        postfix.example_entries(text, "/bin/true", 25)


def ask_spamd(mailhost: MailHost, message: bytes, *options: str) -> "subprocess.CompletedProcess[bytes]":
    """Run spamc as the filter's account would."""
    port = str(mailhost.spamd.port)
    return mailhost.as_filter(["spamc", "-x", "-E", "-d", "127.0.0.1", "-p", port, *options], input=message)
