"""Quarantine: the whole original is kept, at an address made of the recipient's, before anything else is done."""

import pytest
from proving import MESSAGES, Host, body_is_whole, by_recipient, for_recipients, is_mark, scoring, sent_fields

from lab.mailbox import Copy

POLICY = """
[policy]
kill_level = 10
destiny = "discard"
quarantine = "kept@quarantine.example"
"""


@pytest.mark.parametrize("name", MESSAGES)
def test_any_message_is_kept_whole(kept: dict[str, Copy], name: str) -> None:
    """Its body, and its header without forged fields."""
    plain, copy = kept[f"{name}@plain.example"], kept[f"{name}@quarantine.example"]
    assert copy.body == plain.body
    assert sent_fields(copy)[-len(original_fields(plain)) :] == original_fields(plain) or not original_fields(plain)


def original_fields(copy: Copy) -> list[bytes]:
    """Return the fields that the sender has written, without forged ones."""
    return [field for field in sent_fields(copy) if not is_mark(field)]


@pytest.fixture(scope="module")
def kept(module_mailhost: Host) -> dict[str, Copy]:
    """All message files as they were kept, and as they are without the filter."""
    host = module_mailhost
    host.configured('[policy]\nkill_level = "always"\ndestiny = "discard"\nquarantine = "${user}@quarantine.example"\n')
    for name in MESSAGES:
        host.put(name, [f"{name}@example.com"])
        host.put(name, [f"{name}@plain.example"], filtered=False)
    return {copy.recipient: copy for copy in host.once(2 * len(MESSAGES))}


@pytest.mark.parametrize(
    ("recipient", "quarantine"),
    [
        ("jane@example.com", "jane+spam@example.com"),
        ("jane+lists@example.com", "jane+spam@example.com"),
        ("Jane@Example.COM", "Jane+spam@Example.COM"),
        ('"jane doe"@example.com', '"jane doe+spam"@example.com'),
        ('"jane doe+lists"@example.com', '"jane doe+spam"@example.com'),
        ("jäne@example.com", "jäne+spam@example.com"),
    ],
)
def test_quarantine_address_is_made_of_the_recipient(mailhost: Host, recipient: str, quarantine: str) -> None:
    mailhost.configured(POLICY.replace("kept@quarantine.example", "${user}+spam@${domain}"))
    (copy,) = mailhost.deliver(scoring(12), [recipient])
    assert copy.recipient == quarantine


def test_message_with_an_mbox_line_is_kept_with_its_header(mailhost: Host) -> None:
    """A transport with flags=F puts the line before the header, which it must not end."""
    mailhost.configured(POLICY)
    transport = mailhost.postfix.transport(mailhost.command)
    with mailhost.postfix.changed(master=transport.replace("flags=Rq ", "flags=FRq ")):
        (copy,) = mailhost.deliver(scoring(12))
    assert copy.header("Subject") == "Minutes of Tuesday's meeting", copy.head
    assert body_is_whole(copy, scoring(12))


@pytest.mark.parametrize("status", [1, 65, 69, 75])
def test_quarantine_that_sendmail_refuses_defers_before_anything_is_delivered(mailhost: Host, status: int) -> None:
    """Whatever sendmail says, the message waits; then it is kept once, and delivered once to whom it is for."""
    more = POLICY + for_recipients("sam@example.com", "spam_lover = true")
    mailhost.configured(mailhost.refusing("kept@quarantine.example", status) + more)
    queue_id = mailhost.put(scoring(12), ["jane@example.com", "sam@example.com"])
    mailhost.deferred(queue_id, "dsn=4.3.0", "no such thing")
    mailhost.configured(more)
    assert set(by_recipient(mailhost.retry(2))) == {"kept@quarantine.example", "sam@example.com"}


def test_quarantine_store_of_a_later_version_defers(mailhost: Host) -> None:
    mailhost.configured(POLICY.replace("kept@quarantine.example", "dir:/var/spam"))
    queue_id = mailhost.put(scoring(12))
    mailhost.deferred(queue_id, "dsn=4.3.5", 'quarantine "dir:/var/spam": not in this version')
    mailhost.configured(POLICY)
    mailhost.retry()


def test_quarantine_store_of_a_later_version_hinders_nobody_whose_mail_is_not_handled(mailhost: Host) -> None:
    mailhost.configured(POLICY.replace("kept@quarantine.example", "dir:/var/spam"))
    mailhost.deliver(scoring(8))
