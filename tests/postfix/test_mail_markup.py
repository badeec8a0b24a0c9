"""Spam, marked in every way that a user's preferences may ask SpamAssassin for: the original is always there, whole.

All message files are sent to users for whom everything is spam, and once without the filter, to NAME@plain.example.
"""

import pytest
from proving import MESSAGES, Host, by_recipient, is_mark, sent_fields

from lab.mailbox import Copy

SPAM = "required_score -100\nreport_safe 0\n"
PLAIN = "plain.example"
WRAPPED = {
    "attached": SPAM + "report_safe 1\n",
    "attached-as-text": SPAM + "report_safe 2\n",
    "attached-and-renamed": SPAM + "report_safe 1\nrewrite_header Subject [SPAM]\nrewrite_header From SPAM\n",
}
IN_PLACE = {
    "marked": SPAM,
    "renamed": SPAM + "rewrite_header Subject [SPAM]\nrewrite_header From SPAM\nrewrite_header To SPAM\n",
    "without-marks": SPAM + "clear_headers\n",
}
Delivered = dict[str, list[Copy]]


@pytest.fixture(scope="module")
def delivered(module_mailhost: Host) -> Delivered:
    """What arrived for whom; a domain is a way of marking."""
    ways = WRAPPED | IN_PLACE
    for name in MESSAGES:
        for way, preferences in ways.items():
            module_mailhost.spamd.preferences(f"{name}@{way}.example", preferences)
            module_mailhost.put(name, [f"{name}@{way}.example"])
        module_mailhost.put(name, [f"{name}@{PLAIN}"], filtered=False)
    return by_recipient(module_mailhost.once((len(ways) + 1) * len(MESSAGES), timeout=60))


def original(delivered: Delivered, name: str) -> Copy:
    """Return the copy of a message that was not filtered."""
    (copy,) = delivered[f"{name}@{PLAIN}"]
    return copy


@pytest.mark.parametrize("way", WRAPPED)
@pytest.mark.parametrize("name", MESSAGES)
def test_wrapped_spam_has_the_whole_original_inside(delivered: Delivered, name: str, way: str) -> None:
    """With report_safe it is an attachment: header without forged fields, and body, in one piece."""
    (copy,) = delivered[f"{name}@{way}.example"]
    plain = original(delivered, name)
    header = b"".join(field for field in sent_fields(plain) if not is_mark(field))
    assert copy.message.get_content_type() == "multipart/mixed", copy.head
    assert header + plain.raw.removeprefix(plain.head) in copy.body


@pytest.mark.parametrize("way", IN_PLACE)
@pytest.mark.parametrize("name", MESSAGES)
def test_marked_spam_keeps_its_body(delivered: Delivered, name: str, way: str) -> None:
    (copy,) = delivered[f"{name}@{way}.example"]
    assert copy.body == original(delivered, name).body


def test_rewritten_fields_come_through(delivered: Delivered) -> None:
    """SpamAssassin's rewrite_header may change three fields."""
    (copy,) = delivered["gtube@renamed.example"]
    assert copy.header("Subject") == "[SPAM] Test of a spam filter", copy.head
    assert str(copy.header("From")).startswith("(SPAM) Somebody"), copy.head
    assert str(copy.header("To")).startswith("(SPAM) jane"), copy.head


def test_verdict_holds_without_a_score(mailhost: Host) -> None:
    """A user who wants no fields of SpamAssassin has none: the log knows it was spam, and no score."""
    mailhost.spamd.preferences("plain@example.com", "clear_headers\n")
    queue_id = mailhost.put("gtube", ["plain@example.com"])
    line = mailhost.postfix.wait_log(queue_id, "relay=spamcheck", "status=sent")
    assert line.endswith("(spam, tagged; 1 reinjected))")
