"""Mail by SMTP through examples/master.cf as it is: to one and many recipients, from somebody and from nobody."""

import pytest
from proving import JANE, SAM, Host, marks, scoring

from lab import smtp

NO_NULL_SENDER = " null_sender="


def test_clean_mail_is_delivered_as_such(mailhost: Host) -> None:
    """It has SpamAssassin's fields, and none that says spam."""
    (copy,) = mailhost.deliver("clean")
    assert str(copy.header("X-Spam-Status")).startswith("No, score=0.0 required=5.0"), copy.head
    assert copy.header("X-Spam-Flag") is None, copy.head


def test_gtube_is_delivered_with_a_mark(mailhost: Host) -> None:
    """Spam is not held back; its header says what it is."""
    (copy,) = mailhost.deliver("gtube")
    assert copy.header("X-Spam-Flag") == "YES", copy.head
    assert str(copy.header("X-Spam-Status")).startswith("Yes, score=1000.0 required=5.0"), copy.head


def test_two_recipients_have_a_copy_each(mailhost: Host) -> None:
    copies = mailhost.deliver("two-recipients", [JANE, SAM])
    assert sorted(copy.recipient for copy in copies) == [JANE, SAM], mailhost.postfix.log_tail()


def test_fifty_recipients_of_a_domain_cost_one_scan(mailhost: Host) -> None:
    recipients = [f"user{number}@many.example" for number in range(50)]
    before = len(mailhost.scans())
    copies = mailhost.deliver("clean", recipients)
    assert sorted(copy.recipient for copy in copies) == sorted(recipients), mailhost.postfix.log_tail()
    assert len(mailhost.scans()) == before + 1


def test_more_recipients_than_one_command_takes_have_a_copy_each(mailhost: Host) -> None:
    """Postfix starts the filter for 50 recipients at a time."""
    recipients = [f"user{number}@many.example" for number in range(120)]
    copies = mailhost.deliver("clean", recipients)
    assert sorted(copy.recipient for copy in copies) == sorted(recipients), mailhost.postfix.log_tail()


def test_recipients_of_two_domains_have_a_copy_each(mailhost: Host) -> None:
    recipients = [JANE, SAM, "jane@example.net", "sam@example.net"]
    copies = mailhost.deliver("clean", recipients)
    assert sorted(copy.recipient for copy in copies) == sorted(recipients), mailhost.postfix.log_tail()
    assert all(marks(copy) for copy in copies)


def test_one_recipient_is_spamds_user(mailhost: Host) -> None:
    """That user's preferences hold."""
    mailhost.spamd.preferences("strict@example.com", "required_score 3.5\n")
    (copy,) = mailhost.deliver(scoring(4), ["strict@example.com"])
    assert mailhost.scans("user=strict@example.com,", "required_score=3.5")
    assert copy.header("X-Spam-Flag") == "YES", copy.head


def test_several_recipients_are_not_spamds_users(mailhost: Host) -> None:
    """Nobody's preferences hold for another; those of the filter's account do."""
    for user in ("strict@example.com", "alike@example.com"):
        mailhost.spamd.preferences(user, "required_score 3.5\n")
    before = mailhost.scans()
    copies = mailhost.deliver(scoring(4), ["strict@example.com", "alike@example.com"])
    assert [copy.header("X-Spam-Flag") for copy in copies] == [None, None]
    (scan,) = mailhost.scans()[len(before) :]
    assert "user=spamfilt," in scan


def test_spamds_user_is_what_the_settings_make_of_the_recipient(mailhost: Host) -> None:
    mailhost.configured('user = "${user} at ${domain}"\n')
    mailhost.deliver("clean", ["jane+lists@example.com"])
    assert mailhost.scans("user=jane at example.com,")


@pytest.mark.parametrize("sender", [smtp.SENDER, ""], ids=["a sender", "the null sender"])
@pytest.mark.parametrize("recipients", [[JANE], [JANE, SAM]], ids=["one recipient", "two recipients"])
def test_sender_survives(mailhost: Host, sender: str, recipients: list[str]) -> None:
    """Return-Path is what the client said, also when that is <>."""
    copies = mailhost.deliver("bounce", recipients, sender)
    start = f"Return-Path: <{sender}>\n".encode()
    assert [copy.raw.startswith(start) for copy in copies] == [True] * len(recipients), copies[0].head
    assert {copy.head.count(b"Return-Path:") for copy in copies} == {1}, copies[0].head


def test_null_sender_survives_a_transport_that_calls_it_mailer_daemon(mailhost: Host) -> None:
    """Without null_sender= pipe(8) puts MAILER-DAEMON into the command line."""
    wrapper = mailhost.program("for-mailer-daemon", f'[ "$2" = MAILER-DAEMON ] && exec {mailhost.command} "$@"\n')
    transport = mailhost.postfix.transport(str(wrapper))
    assert NO_NULL_SENDER in transport
    with mailhost.postfix.changed(master=transport.replace(NO_NULL_SENDER, "")):
        (copy,) = mailhost.deliver("bounce", [JANE], "")
    assert mailhost.syslog.lines("from=<>, to=<jane@example.com>")
    assert copy.raw.startswith(b"Return-Path: <>\n"), copy.head


def test_mail_comes_through_a_transport_without_flags(mailhost: Host) -> None:
    transport = mailhost.postfix.transport(mailhost.command)
    with mailhost.postfix.changed(master=transport.replace("flags=Rq ", "")):
        (copy,) = mailhost.deliver("clean", ['"a b,c"@example.com'], '"d e"@client.example')
    assert (copy.recipient, copy.sender) == ('"a b,c"@example.com', '"d e"@client.example')
