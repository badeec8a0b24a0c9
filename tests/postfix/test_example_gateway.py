"""examples/gateway as it is: two Postfix instances, mail for the inner server is filtered once, on its way in only."""

import smtplib
from collections.abc import Iterator

import pytest
from proving import JANE, MESSAGES, SAM, Host, body_is_whole, changed, marks

from lab import setups, smtp
from lab.mailbox import Copy
from lab.setups import Gateway
from lab.tools import run

# Put into the gateway's list of recipients, but the inner server does not have it.
LEFT = "left@example.com"
FRIEND = "friend@outside.example"


@pytest.fixture(scope="module")
def running(module_mailhost: Host) -> Iterator[Gateway]:
    """Both servers."""
    with setups.gateway(module_mailhost) as found:
        table = module_mailhost.postfix.configuration / "relay_recipients"
        table.write_text(f"{table.read_text()}{LEFT} x\n")
        run(["postmap", table])
        yield found


@pytest.fixture
def gateway(running: Gateway, session_mailhost: Host) -> Gateway:
    """Both servers, with empty mailboxes; the gateway's stands for the world outside."""
    session_mailhost.configured("")
    session_mailhost.mailbox.clear()
    running.inner.mailbox.clear()
    return running


def inside(gateway: Gateway, host: Host, count: int) -> list[Copy]:
    """Return what arrives on the inner server when all mail has come to its end; nothing comes out."""
    gateway.inner.mailbox.wait_for(count)
    assert host.settled() == []
    gateway.inner.wait_idle()
    copies = gateway.inner.mailbox.copies()
    assert len(copies) == count
    return copies


def test_mail_for_the_inner_domain_is_filtered_once_and_arrives_there(gateway: Gateway, session_mailhost: Host) -> None:
    before = len(session_mailhost.scans())
    queue_id = session_mailhost.put("gtube", [JANE, SAM])
    copies = inside(gateway, session_mailhost, 2)
    assert sorted(copy.recipient for copy in copies) == [JANE, SAM]
    assert [copy.message.get_all("X-Spam-Flag") for copy in copies] == [["YES"], ["YES"]]
    assert [body_is_whole(copy, MESSAGES["gtube"]) for copy in copies] == [True, True]
    assert len(session_mailhost.scans()) == before + 1
    assert len(session_mailhost.postfix.log_lines(f"{queue_id}: to=", "relay=spamcheck")) == 2
    assert gateway.inner.log_lines("relay=spamcheck") == []


def test_unknown_recipient_is_refused_by_the_gateway(gateway: Gateway, session_mailhost: Host) -> None:
    with pytest.raises(smtp.Refused, match=r"RCPT TO:<nobody@example\.com>: 550 .*User unknown in relay recipient"):
        session_mailhost.put("clean", ["nobody@example.com"])


def test_stranger_cannot_send_to_the_world(gateway: Gateway, session_mailhost: Host) -> None:
    """Through the outside address nobody can, even those in mynetworks."""
    with pytest.raises(smtp.Refused, match=r"554 .*Relay access denied"):
        session_mailhost.put("clean", [FRIEND])


def test_what_the_inner_server_refuses_is_bounced_by_the_gateway(gateway: Gateway, session_mailhost: Host) -> None:
    """Whoever is in relay_recipients, and not inside; the bounce is not scanned."""
    before = len(session_mailhost.scans())
    session_mailhost.put("clean", [LEFT], FRIEND)
    (bounce,) = session_mailhost.once(1)
    assert (bounce.recipient, bounce.sender) == (FRIEND, "")
    assert b"User unknown in virtual mailbox table" in bounce.body
    assert marks(bounce) == []
    assert len(session_mailhost.scans()) == before + 1
    assert gateway.inner.mailbox.count() == 0


def test_mail_waits_on_the_gateway_for_the_inner_server_after_one_scan(
    gateway: Gateway, session_mailhost: Host
) -> None:
    before = len(session_mailhost.scans())
    gateway.inner.stop()
    session_mailhost.put("gtube", ["sam@example.com"])
    session_mailhost.postfix.wait_log("to=<sam@example.com>", "relay=none", "status=deferred", "Connection refused")
    setups.start_inner(gateway)
    session_mailhost.postfix.flush()
    (copy,) = inside(gateway, session_mailhost, 1)
    assert copy.header("X-Spam-Flag") == "YES"
    assert len(session_mailhost.scans()) == before + 1


def test_outgoing_mail_is_not_filtered(gateway: Gateway, session_mailhost: Host) -> None:
    """It goes from the inner server through the gateway's inside address to the world."""
    before = len(session_mailhost.scans())
    sendmail = ["/usr/sbin/sendmail", "-C", str(gateway.inner.configuration), "-i", "-f", JANE, "--", FRIEND]
    assert session_mailhost.as_filter(sendmail, input=MESSAGES["gtube"]).returncode == 0
    (copy,) = session_mailhost.once(1)
    gateway.inner.wait_idle()
    assert gateway.inner.log_lines(f"to=<{FRIEND}>", f":{gateway.inside_port}, ", "status=sent")
    assert (copy.recipient, copy.sender, marks(copy)) == (FRIEND, JANE, [])
    assert body_is_whole(copy, MESSAGES["gtube"])
    assert len(session_mailhost.scans()) == before


@pytest.mark.parametrize("level", ["3.6", "2"])
def test_gateway_without_a_list_of_recipients_asks_the_inner_server(
    gateway: Gateway, session_mailhost: Host, level: str
) -> None:
    """As main.cf says; and nobody else is asked, for mail that goes out or for strangers, as on hosts of old."""
    asking = "smtpd_recipient_restrictions=reject_unauth_destination,reject_unverified_recipient"
    settings = f"compatibility_level = {level}", "relay_recipient_maps =", "unverified_recipient_reject_code = 550"
    with changed(session_mailhost, *settings, service=asking):
        with pytest.raises(smtp.Refused, match=r"554 .*Relay access denied"):
            session_mailhost.put("clean", [FRIEND], FRIEND)
        with pytest.raises(smtp.Refused, match=r"550 .*Recipient address rejected: undeliverable address"):
            session_mailhost.put("clean", [LEFT])
        session_mailhost.put("clean", [JANE])
        inside(gateway, session_mailhost, 1)
        smtp.send(gateway.inside_port, MESSAGES["clean"], [FRIEND], JANE)
        assert [copy.recipient for copy in session_mailhost.once(1)] == [FRIEND]
    assert session_mailhost.postfix.log_lines(f"to=<{FRIEND}>", "status=deliverable") == []


def test_inside_address_takes_mail_from_the_inner_server_only(gateway: Gateway, session_mailhost: Host) -> None:
    """Neither for the world, nor for the inner domain, which would go around the filter."""
    with changed(session_mailhost, setups.XCLIENT):
        for recipient in (FRIEND, JANE):
            assert setups.answer(gateway.inside_port, "203.0.113.9", recipient) == 554
        assert setups.answer(gateway.inside_port, "10.0.0.25", FRIEND) == 250
        assert setups.answer(session_mailhost.postfix.port, "10.0.0.25", FRIEND) == 554
        assert setups.answer(session_mailhost.postfix.port, "203.0.113.9", JANE) == 250


def test_gateway_cannot_send_to_the_world_through_the_inner_server(gateway: Gateway) -> None:
    with pytest.raises(smtp.Refused, match=r"554 .*Relay access denied"):
        smtp.send(gateway.inner.plain_port, MESSAGES["clean"], [FRIEND], smtp.SENDER)


def test_nobody_but_the_gateway_brings_mail_to_the_inner_server(gateway: Gateway) -> None:
    """Another client is refused, by its address."""
    here = ("127.0.0.2", 0)
    with smtplib.SMTP("127.0.0.1", gateway.inner.plain_port, "client.example", source_address=here) as client:
        client.ehlo()
        client.mail("spammer@client.example")
        code, reply = client.rcpt(JANE)
    assert (code, b"Client host rejected" in reply) == (554, True)


def test_check_finds_nothing_wrong(gateway: Gateway, session_mailhost: Host) -> None:
    assert session_mailhost.check() == []
