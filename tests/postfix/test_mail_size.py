"""Messages around max_size and far beyond it: what is not scanned loses forged fields, and nothing else."""

import re

import pytest
from proving import JANE, MESSAGES, Host, by_recipient, fields, is_mark, marks, sent_fields

from lab.mailbox import Copy

MAX_SIZE = 3000
AROUND = range(-20, 21, 4)
LARGE = 20 << 20
FORGED = set(filter(is_mark, fields(MESSAGES["forged"].partition(b"\n\n")[0] + b"\n")))


class Mail:
    """A message of the series around the limit: how large it was without its forged fields, and what became of it."""

    def __init__(self, host: Host, queue_id: str, message: bytes, copy: Copy) -> None:
        self.size = logged_size(host, queue_id) - sum(map(len, FORGED))
        self.message = message
        self.copy = copy

    @property
    def is_scanned(self) -> bool:
        """Tell whether SpamAssassin has seen it."""
        return self.copy.header("X-Spam-Checker-Version") is not None


def padded(message: bytes, size: int) -> bytes:
    """Return a message of this many bytes, with lines of all lengths up to 70 at its end."""
    lines = b"".join(b"%07d %s\n" % (number, b"x" * (number % 63)) for number in range(1 + size // 39))
    return (message + lines)[: size - 1] + b"\n"


def logged_size(host: Host, *texts: str) -> int:
    """Return the size of a message as the filter read it, from its log line."""
    (size,) = re.findall(r" size=(\d+),", host.syslog.wait_for(*texts))
    return int(size)


@pytest.fixture(scope="module")
def around_limit(module_mailhost: Host) -> list[Mail]:
    """Messages of sizes a little below and above max_size, all with forged fields."""
    host = module_mailhost
    host.configured(f"max_size = {MAX_SIZE}\n")
    overhead = logged_size(host, host.put("clean", ["size0@example.com"])) - len(MESSAGES["clean"])
    size = MAX_SIZE - overhead + sum(map(len, FORGED))
    messages = {f"size{more}@example.com": padded(MESSAGES["forged"], size + more) for more in AROUND}
    host.once(1)
    host.mailbox.clear()
    queue_ids = {to: host.put(message, [to]) for to, message in messages.items()}
    copies = by_recipient(host.once(len(messages)))
    return [Mail(host, queue_ids[to], message, *copies[to]) for to, message in messages.items()]


def test_limit_is_the_size_of_what_would_be_scanned(around_limit: list[Mail]) -> None:
    """Up to max_size a message is scanned, above it is not."""
    found = {mail.size: mail.is_scanned for mail in around_limit}
    assert found == {size: size <= MAX_SIZE for size in found}
    assert set(found.values()) == {True, False}


def test_bodies_around_the_limit_are_whole(around_limit: list[Mail]) -> None:
    wrong = [mail.size for mail in around_limit if mail.copy.body != mail.message.partition(b"\n\n")[2]]
    assert wrong == []


def test_forged_marks_are_gone_on_both_sides_of_the_limit(around_limit: list[Mail]) -> None:
    """Above the limit no X-Spam-* field is left; below, all are SpamAssassin's."""
    assert len(FORGED) == 6
    for mail in around_limit:
        assert not FORGED & set(marks(mail.copy)), mail.copy.head
        assert bool(marks(mail.copy)) == mail.is_scanned, mail.copy.head


@pytest.mark.parametrize("name", ["forged", "odd-header", "no-header", "from-lines", "nul-bytes", "no-final-newline"])
def test_nothing_else_of_an_unscanned_message_changes(mailhost: Host, name: str) -> None:
    """Not one byte of body and other fields, compared with the copy that was not filtered."""
    mailhost.configured("max_size = 10\n")
    mailhost.put(name, ["filtered@example.com"], chunked=True)
    mailhost.put(name, ["plain@example.com"], filtered=False, chunked=True)
    copies = by_recipient(mailhost.once(2))
    (filtered,), (plain,) = copies["filtered@example.com"], copies["plain@example.com"]
    assert sent_fields(filtered) == [field for field in sent_fields(plain) if not is_mark(field)]
    assert filtered.body == plain.body


def test_postfix_log_says_that_a_message_was_not_scanned(mailhost: Host) -> None:
    mailhost.configured("max_size = 10\n")
    queue_id = mailhost.put("clean")
    size = logged_size(mailhost, queue_id)
    text = f"status=sent (delivered via spamcheck service (not scanned ({size} bytes); 1 reinjected))"
    assert mailhost.postfix.wait_log(queue_id, text)


@pytest.mark.parametrize("recipients", [[JANE], [JANE, "sam@example.com"]], ids=["one recipient", "two recipients"])
def test_20_megabytes_arrive_whole_and_unscanned(mailhost: Host, recipients: list[str]) -> None:
    message = padded(MESSAGES["forged"], LARGE)
    copies = mailhost.deliver(message, recipients)
    assert [copy.body == message.partition(b"\n\n")[2] for copy in copies] == [True] * len(recipients)
    assert [marks(copy) for copy in copies] == [[]] * len(recipients)


def test_half_a_megabyte_is_scanned_and_arrives_whole(mailhost: Host) -> None:
    """The default limit is 512000 bytes."""
    message = padded(MESSAGES["gtube"], 511000)
    (copy,) = mailhost.deliver(message)
    assert copy.header("X-Spam-Flag") == "YES", copy.head
    assert copy.body == message.partition(b"\n\n")[2]
