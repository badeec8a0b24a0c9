"""spamd down, killed, hanging, one of several, and back again: no mail is lost, doubled, or passed unscanned."""

import socket
from collections.abc import Iterator

import pytest
from proving import JANE, MESSAGES, SAM, Host, body_is_whole, by_recipient, marks

from lab.tools import free_port

STREAM = 20


@pytest.fixture
def dead() -> str:
    """A server that refuses connections."""
    return f"127.0.0.1:{free_port()}"


@pytest.fixture
def silent() -> Iterator[str]:
    """A server that takes connections and never says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("recipients", [[JANE], [JANE, SAM]], ids=["one recipient", "two recipients"])
def test_mail_waits_for_spamd(mailhost: Host, recipients: list[str]) -> None:
    """Deferred while spamd is down; the next queue run delivers it once, whole and scanned."""
    mailhost.spamd.kill()
    queue_id = mailhost.put("gtube", recipients)
    mailhost.deferred(queue_id, "dsn=4.4.1", "cannot connect to spamd")
    mailhost.spamd.start()
    copies = mailhost.retry(len(recipients))
    assert sorted(copy.recipient for copy in copies) == recipients
    assert [body_is_whole(copy, MESSAGES["gtube"]) for copy in copies] == [True] * len(recipients)
    assert {copy.header("X-Spam-Flag") for copy in copies} == {"YES"}


def test_stream_survives_the_death_of_spamd(mailhost: Host) -> None:
    """Killed in the middle of 20 messages and restarted: each arrives once, whole and scanned."""
    recipients = sorted(f"stream{number}@example.com" for number in range(STREAM))
    with mailhost.spamd.paused():
        for recipient in recipients:
            mailhost.put("multipart", [recipient])
    mailhost.mailbox.wait_for(2)
    mailhost.spamd.kill()
    mailhost.postfix.wait_log("to=<stream", "status=deferred", "dsn=4.4.1")
    assert mailhost.mailbox.count() < STREAM
    mailhost.spamd.start()
    copies = mailhost.retry(STREAM)
    assert sorted(by_recipient(copies)) == recipients
    assert [body_is_whole(copy, MESSAGES["multipart"]) for copy in copies] == [True] * STREAM
    assert [bool(marks(copy)) for copy in copies] == [True] * STREAM


def test_hanging_spamd_defers_in_time_and_leaves_no_process(mailhost: Host) -> None:
    mailhost.configured("timeout = 1\n")
    with mailhost.spamd.paused():
        queue_id = mailhost.put("clean")
        mailhost.deferred(queue_id, "dsn=4.4.1")
        mailhost.wait_no_filter()
    (copy,) = mailhost.retry()
    assert marks(copy), copy.head


def test_deadline_holds_for_everything(mailhost: Host) -> None:
    """Far below the limit past which Postfix bounces."""
    mailhost.configured("[limits]\ndeadline = 1\n")
    with mailhost.spamd.paused():
        mailhost.deferred(mailhost.put("clean"), "dsn=4.4.1")
        mailhost.wait_no_filter()
    mailhost.retry()


@pytest.mark.parametrize("name", ["forged", "clean", "no-header", "from-lines"])
def test_mail_may_pass_without_a_scan(mailhost: Host, dead: str, name: str) -> None:
    """With on_failure = "pass" it has X-Spam-Unscanned, and no other X-Spam field, forged ones included."""
    mailhost.servers(dead, more='on_failure = "pass"\n')
    (copy,) = mailhost.deliver(name)
    (mark,) = marks(copy)
    assert mark.startswith(b"X-Spam-Unscanned: spamc cannot connect to spamd"), copy.head
    assert copy.body.endswith(MESSAGES[name].partition(b"\n\n")[2])


def test_passed_mail_is_told_of_in_the_log(mailhost: Host, dead: str) -> None:
    mailhost.servers(dead, more='on_failure = "pass"\n')
    queue_id = mailhost.put("clean")
    assert "not scanned (spamc cannot connect" in mailhost.postfix.wait_log(queue_id, "relay=spamcheck", "status=sent")
    assert "verdict=unscanned" in mailhost.syslog.wait_for(f"{queue_id}: from=")


@pytest.mark.parametrize("order", ["listed", "random"])
@pytest.mark.parametrize("alive_first", [False, True], ids=["dead, alive", "alive, dead"])
def test_one_living_server_is_enough(mailhost: Host, dead: str, alive_first: bool, order: str) -> None:
    """Whichever place it has in the list."""
    servers = sorted([dead, mailhost.spamd.address], key=lambda server: (server == dead) == alive_first)
    mailhost.servers(*servers, more=f'order = "{order}"\n')
    (copy,) = mailhost.deliver("gtube")
    assert copy.header("X-Spam-Flag") == "YES", copy.head


def test_silent_server_is_given_up_for_the_next(mailhost: Host, silent: str) -> None:
    mailhost.servers(silent, mailhost.spamd.address, more="timeout = 1\n")
    (copy,) = mailhost.deliver("gtube")
    assert copy.header("X-Spam-Flag") == "YES", copy.head


def test_spamd_at_a_unix_socket(mailhost: Host) -> None:
    mailhost.servers(str(mailhost.spamd.socket))
    (copy,) = mailhost.deliver("gtube")
    assert copy.header("X-Spam-Flag") == "YES", copy.head


def test_socket_takes_over_from_a_dead_port(mailhost: Host, dead: str) -> None:
    mailhost.servers(dead, "/nonexistent/spamd.socket", str(mailhost.spamd.socket))
    (copy,) = mailhost.deliver("gtube")
    assert copy.header("X-Spam-Flag") == "YES", copy.head


def test_all_servers_dead_defers(mailhost: Host, dead: str) -> None:
    """Failover never ends in mail that nobody has scanned."""
    mailhost.servers(dead, f"127.0.0.1:{free_port()}")
    queue_id = mailhost.put("gtube")
    mailhost.deferred(queue_id, "dsn=4.4.1")
    mailhost.settings()
    (copy,) = mailhost.retry()
    assert copy.header("X-Spam-Flag") == "YES", copy.head


def test_missing_socket_is_a_spamd_that_cannot_be_reached(mailhost: Host) -> None:
    """As with a closed port: a spamd that was stopped has removed its socket."""
    mailhost.servers("/nonexistent/spamd.socket")
    mailhost.deferred(mailhost.put("clean"), "dsn=4.4.1", "cannot connect to spamd")
