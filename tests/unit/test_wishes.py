"""wishes.py: what each recipient wants is gathered, at a cost that no sender can raise."""

import time

import pytest

from pf_spamfilt import headers, patterns, settings, wishes
from pf_spamfilt.envelope import Envelope
from pf_spamfilt.exits import SettingsError
from pf_spamfilt.log import Log

ENVELOPE = Envelope(b"sender@client.example", [b"jane@example.com", b"sam@example.com", b"jane@example.com"])


def gathered(header=b"", **policy):
    chosen = settings.Settings({"policy": policy, "log": {"syslog": False}})
    fields = headers.split(header)[0]
    return wishes.gather(ENVELOPE, fields, chosen, time.monotonic() + 10, Log(chosen.log))


def test_every_recipient_has_his_wishes_in_the_order_of_the_envelope():
    found = gathered(tag2_level=3)
    assert [each.recipient for each in found] == ENVELOPE.recipients
    assert [each["tag2_level"] for each in found] == [3, 3, 3]


@pytest.mark.parametrize("sender", ["client.example", "writer.example", "second.example"])
def test_the_sender_is_known_by_envelope_and_from(sender):
    header = b"From: A <a@writer.example>, b@second.example\nSender: c@other.example\n"
    assert gathered(header, block_senders=patterns.compiled([sender]))[0].blocked
    assert not gathered(header, block_senders=patterns.compiled(["other.example"]))[0].blocked


def test_of_many_addresses_in_from_only_the_first_are_looked_at():
    header = b"".join(b"From: a@n%d.%b\n" % (number, b"a." * 100) for number in range(5000))
    assert not gathered(header, block_senders=patterns.compiled([f".n{4999}"]))[0].blocked
    lookups = wishes._claimed(headers.split(header)[0])
    assert len(lookups) <= 10


def test_a_long_local_part_hides_no_domain():
    header = b"From: " + b"a" * 1000 + b"@b.example\n"
    assert gathered(header, block_senders=patterns.compiled(["b.example"]))[0].blocked


def test_a_regular_expression_that_takes_too_long_is_stopped_and_named(monkeypatch):
    monkeypatch.setattr(wishes, "_PATIENCE", 0.2)
    slow = "^([a-z]+[.-]?)+@shop[.]example$"
    header = b"From: newsletter-bounces-customerservice-newsletter@mail.example\n"
    with pytest.raises(SettingsError, match="takes too long for newsletter-bounces") as caught:
        gathered(header, block_senders=patterns.compiled([f"/{slow}/"]))
    assert f"/{slow}/" in caught.value.text
