"""examples/pool as it is: two filtering and two spamd hosts share the work; one of each may be killed under load."""

import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from proving import MESSAGES, Host, body_is_whole, by_recipient

from lab import setups, smtp
from lab.mailbox import Copy
from lab.mailhost import program_name
from lab.setups import Pool
from lab.spamd import Spamd
from lab.tools import wait_until

DEADLINE = 900  # the default
LOAD = 40  # messages to each filtering host: that none of them begins with one given spamd has a chance of 2 ** -80


@pytest.fixture
def pool(mailhost: Host) -> Iterator[Pool]:
    """All four hosts."""
    with setups.pool(mailhost) as found:
        yield found


def recipients(which: str) -> list[str]:
    """Return the recipients of the load for one filtering host, one for each message."""
    return sorted(f"{which}{number}@example.com" for number in range(LOAD))


def load(host: Host, pool: Pool, part: slice = slice(LOAD)) -> None:
    """Give each filtering host its messages, or a part of them."""
    for first, second in zip(recipients("first")[part], recipients("second")[part], strict=True):
        smtp.send(host.postfix.port, MESSAGES["gtube"], [first], smtp.SENDER)
        smtp.send(pool.second.port, MESSAGES["gtube"], [second], smtp.SENDER)


def arrived(host: Host, pool: Pool) -> tuple[list[Copy], list[Copy]]:
    """Return what has arrived by either filtering host when all mail has come to its end."""
    host.mailbox.wait_for(LOAD, 120)
    pool.second.mailbox.wait_for(LOAD, 120)
    pool.second.wait_idle()
    return host.settled(), pool.second.mailbox.copies()


def assert_all_whole_and_scanned(copies: list[Copy], which: str) -> None:
    assert sorted(copy.recipient for copy in copies) == recipients(which)
    assert_whole_and_scanned(copies)


def assert_whole_and_scanned(copies: list[Copy]) -> None:
    assert {copy.header("X-Spam-Flag") for copy in copies} == {"YES"}
    assert {body_is_whole(copy, MESSAGES["gtube"]) for copy in copies} == {True}


def asking(host: Host, spamd: Spamd) -> bool:
    """Tell whether a spamc is asking this spamd."""
    port = f"\0-p\0{spamd.port}\0".encode()
    for pid in host.filter_processes("spamc"):
        try:
            if port in Path(f"/proc/{pid}/cmdline").read_bytes():
                return True
        except OSError:  # it has ended meanwhile
            continue
    return False


def at_work(pool: Pool) -> bool:
    """Tell whether a filter of the second filtering host is having a message scanned."""
    return "spamc" in map(program_name, pool.second.processes())


def test_every_host_has_its_share(pool: Pool, mailhost: Host) -> None:
    """Both spamd hosts scan, each message once."""
    before = len(mailhost.spamd.scans())
    load(mailhost, pool)
    first, second = arrived(mailhost, pool)
    assert_all_whole_and_scanned(first, "first")
    assert_all_whole_and_scanned(second, "second")
    shares = len(mailhost.spamd.scans()) - before, len(pool.spamd.scans())
    assert sum(shares) == 2 * LOAD
    assert min(shares) > 0


def test_spamd_host_that_dies_under_load_costs_no_message_and_no_scan(pool: Pool, mailhost: Host) -> None:
    """Killed while it is asked, and not started again: the other scans the rest, and nothing is even deferred."""
    before = mailhost.postfix.log_lines("status=deferred")
    load(mailhost, pool, slice(10))
    assert wait_until(lambda: bool(pool.spamd.scans()), 30)
    with pool.spamd.paused():
        scanned = len(pool.spamd.scans())
        load(mailhost, pool, slice(10, LOAD))
        assert wait_until(lambda: asking(mailhost, pool.spamd), 30)
        pool.spamd.kill()
    first, second = arrived(mailhost, pool)
    assert_all_whole_and_scanned(first, "first")
    assert_all_whole_and_scanned(second, "second")
    assert len(pool.spamd.scans()) == scanned
    assert (mailhost.postfix.log_lines("status=deferred"), pool.second.log_lines("status=deferred")) == (before, [])


def test_filtering_host_that_dies_under_load_loses_nothing(pool: Pool, mailhost: Host) -> None:
    """Killed as by power failure, with filters at work: the first goes on, and the queue is there when it is back.

    What it was just doing is done again, so that a copy may come twice; nothing else may.
    """
    load(mailhost, pool, slice(10))
    pool.second.mailbox.wait_for(1)
    with pool.spamd.paused():
        load(mailhost, pool, slice(10, LOAD))
        assert wait_until(lambda: at_work(pool), 30)
        pool.second.lose_power()
    assert len(pool.second.queued()) > 0
    with pytest.raises(ConnectionRefusedError):
        smtp.send(pool.second.port, MESSAGES["gtube"], recipients("second")[:1], smtp.SENDER)
    mailhost.mailbox.wait_for(LOAD, 120)
    assert_all_whole_and_scanned(mailhost.settled(), "first")
    pool.second.start()
    pool.second.wait_idle(120)
    copies = pool.second.mailbox.copies()
    assert sorted(by_recipient(copies)) == recipients("second")
    assert_whole_and_scanned(copies)


def test_mail_waits_on_both_filtering_hosts_while_both_spamd_hosts_are_dead(pool: Pool, mailhost: Host) -> None:
    pool.spamd.kill()
    mailhost.spamd.kill()
    mailhost.deferred(mailhost.put("gtube"), "dsn=4.4.1")
    smtp.send(pool.second.port, MESSAGES["gtube"], ["jane@example.com"], smtp.SENDER)
    pool.second.wait_log("relay=spamcheck", "status=deferred", "dsn=4.4.1")
    assert pool.second.mailbox.count() == 0
    pool.spamd.start()
    pool.second.flush()
    copies = [*mailhost.retry(1), *pool.second.mailbox.wait_for(1)]
    assert [copy.header("X-Spam-Flag") for copy in copies] == ["YES", "YES"]


def test_all_spamd_hosts_can_be_asked_before_the_filter_has_to_end(pool: Pool, mailhost: Host) -> None:
    """The example does not change the deadline."""
    settings = tomllib.loads((mailhost.postfix.configuration / "pf-spamfilt.toml").read_text())
    assert list(settings) == ["spamc"]
    assert len(settings["spamc"]["servers"]) * settings["spamc"]["timeout"] < DEADLINE


def test_check_finds_nothing_wrong(pool: Pool, mailhost: Host) -> None:
    assert mailhost.check() == []
