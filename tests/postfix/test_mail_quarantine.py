"""Quarantine: the whole original is kept, at an address made of the recipient's, before anything else is done."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from proving import MESSAGES, Host, body_is_whole, by_recipient, for_recipients, is_mark, scoring, sent_fields

from lab.accounts import FILTER_ACCOUNT
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


@pytest.fixture
def kept_in(mailhost: Host) -> Iterator[Path]:
    """A folder of the filter's account."""
    folder = Path(tempfile.mkdtemp(prefix="kept-", dir=mailhost.directory))
    shutil.chown(folder, FILTER_ACCOUNT, FILTER_ACCOUNT)
    yield folder
    shutil.rmtree(folder)


def in_store(folder: Path) -> list[bytes]:
    """Return the files of a store."""
    return [file.read_bytes() for file in folder.rglob("*") if file.is_file()]


@pytest.mark.parametrize("store", ["dir", "maildir", "mbox"])
def test_spam_is_kept_in_a_store_once_for_all_who_share_it(mailhost: Host, kept_in: Path, store: str) -> None:
    mailhost.configured(POLICY.replace("kept@quarantine.example", f"{store}:{kept_in}/spam"))
    queue_id = mailhost.put(scoring(12), ["jane@example.com", "joe@example.com"])
    mailhost.postfix.wait_log(queue_id, "spam 12.0/5.0; 2 quarantined")
    (kept,) = in_store(kept_in)
    assert b"X-Envelope-From: <sender@client.example>\n" in kept
    assert b"X-Envelope-To: <jane@example.com>,\n\t<joe@example.com>\n" in kept
    assert b"\nX-Spam-Status: Yes, score=12.0 required=5.0" in kept
    body = scoring(12).partition(b"\n\n")[2]
    assert kept.endswith(body.replace(b"\nFrom ", b"\n>From ") + b"\n" if store == "mbox" else body)
    assert re.search(
        rf"quarantine=<{store}:{kept_in}/spam>/{queue_id}-\w{{8}},", mailhost.syslog.wait_for(f"{queue_id}: from=")
    )


def test_each_recipient_has_his_own_store(mailhost: Host, kept_in: Path) -> None:
    mailhost.configured(
        POLICY.replace("kept@quarantine.example", f"dir:{kept_in}/spam")
        + for_recipients("joe@example.com", f'quarantine = "maildir:{kept_in}/joe"')
    )
    mailhost.put(scoring(12), ["jane@example.com", "joe@example.com"])
    mailhost.postfix.wait_idle()
    for folder, recipient in (("spam", b"jane"), ("joe", b"joe")):
        (kept,) = in_store(kept_in / folder)
        assert b"\nX-Envelope-To: <" + recipient + b"@example.com>\n" in kept


def test_store_that_is_not_safe_defers_before_anything_is_delivered(mailhost: Host, kept_in: Path) -> None:
    kept_in.chmod(0o777)
    more = POLICY.replace("kept@quarantine.example", f"mbox:{kept_in}/spam")
    mailhost.configured(more + for_recipients("sam@example.com", "spam_lover = true"))
    queue_id = mailhost.put(scoring(12), ["jane@example.com", "sam@example.com"])
    mailhost.deferred(queue_id, "dsn=4.3.5", f"{kept_in} can be written to by others (mode 0777): chmod go-w")
    kept_in.chmod(0o700)
    (copy,) = mailhost.retry()
    assert copy.recipient == "sam@example.com"
    assert len(in_store(kept_in)) == 1


def test_store_hinders_nobody_whose_mail_is_not_handled(mailhost: Host) -> None:
    mailhost.configured(POLICY.replace("kept@quarantine.example", "dir:/none/spam"))
    mailhost.deliver(scoring(8))


def test_what_was_kept_is_taken_back_when_the_message_is_deferred(mailhost: Host, kept_in: Path) -> None:
    """Otherwise each try would keep it once more."""
    more = POLICY.replace("kept@quarantine.example", f"dir:{kept_in}/spam")
    more += for_recipients("sam@example.com", "spam_lover = true")
    mailhost.configured(mailhost.refusing("sam@example.com", 75) + more)
    queue_id = mailhost.put(scoring(12), ["jane@example.com", "sam@example.com"])
    mailhost.deferred(queue_id, "dsn=4.3.0")
    assert in_store(kept_in) == []
    mailhost.configured(more)
    mailhost.retry()
    assert len(in_store(kept_in)) == 1


@pytest.mark.parametrize(("account", "released"), [("root", True), (FILTER_ACCOUNT, True), ("nobody", False)])
def test_message_that_was_released_is_not_handled_again(mailhost: Host, account: str, released: bool) -> None:
    """With the filter where it should not be, on pickup: what another account submits is no release.

    What the filter lets pass comes back to it there, as all mail does, until it sees that it runs in circles.
    """
    mailhost.configured(POLICY)
    message = b"X-Quarantine-Released: <4cDR2f5x-01234567>\n" + scoring(12)
    recipient = f"released-by-{account}@example.com"
    with mailhost.postfix.changed(main="content_filter = spamcheck:\n"):
        command = [
            "runuser",
            "-u",
            account,
            "--",
            "/usr/sbin/sendmail",
            "-G",
            "-i",
            "-f",
            "a@b.example",
            recipient,
        ]
        subprocess.run(command, input=message, check=True)
        mailhost.postfix.wait_log(recipient, "mail loop" if released else "1 quarantined")
        assert bool(mailhost.postfix.log_lines(recipient, "not scanned (bypass)")) == released
        assert bool(mailhost.postfix.log_lines(recipient, "1 quarantined")) != released
    mailhost.postfix.discard_queue()
