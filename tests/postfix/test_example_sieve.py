"""Dovecot's Sieve by the files of examples/sieve as they are, on a real local(8), dovecot-lda and spamd."""

from collections.abc import Iterator

import pytest
from proving import MESSAGES, Host

from lab import setups
from lab.local_users import DOMAIN, User, messages

SENDER = "sender@client.example"
FORGED = b"X-Spam-Flag: YES\n" + MESSAGES["clean"]
OWN_RULE = 'require ["fileinto", "mailbox"];\nif exists "X-Spam-Status" { fileinto :create "scanned"; }\n'


@pytest.fixture(scope="module")
def running(module_mailhost: Host) -> Iterator[dict[str, User]]:
    """The mail host, delivering to jane by Dovecot."""
    with setups.local_delivery(module_mailhost, setups.SIEVE, "jane") as users:
        yield users


@pytest.fixture
def jane(running: dict[str, User], mailhost: Host) -> User:
    """An account without mail."""
    running["jane"].forget()
    return running["jane"]


def deliver(host: Host, message: bytes | str) -> str:
    """Send a message, wait until Postfix has delivered it, and return its queue id."""
    queue_id = host.put(message, [f"jane@{DOMAIN}"], SENDER, filtered=False)
    host.postfix.wait_idle()
    return queue_id


def mail(user: User) -> dict[str, list[bytes]]:
    """Return the messages of each folder that has any; the inbox has no name."""
    folders = sorted(folder.parent for folder in (user.home / "Maildir").glob("**/new"))
    found = {folder.name.removeprefix("Maildir").removeprefix("."): messages(folder) for folder in folders}
    return {name: kept for name, kept in found.items() if kept}


def test_mail_is_scanned_and_in_the_inbox(jane: User, mailhost: Host) -> None:
    deliver(mailhost, "clean")
    ((name, (copy,)),) = mail(jane).items()
    assert name == ""
    assert b"\nX-Spam-Status: No, score=0.0 " in copy
    assert copy.endswith(MESSAGES["clean"].partition(b"\n\n")[2])


def test_spam_is_filed(jane: User, mailhost: Host) -> None:
    deliver(mailhost, "gtube")
    ((name, (copy,)),) = mail(jane).items()
    assert name == "Junk"
    assert b"\nX-Spam-Flag: YES\n" in copy


def test_a_forged_mark_is_none(jane: User, mailhost: Host) -> None:
    deliver(mailhost, FORGED)
    ((name, (copy,)),) = mail(jane).items()
    assert name == ""
    assert b"X-Spam-Flag" not in copy


def test_the_user_of_spamd_is_the_account_and_the_envelope_is_known(jane: User, mailhost: Host) -> None:
    mailhost.spamd.preferences("jane", "required_score 50\n")
    before = len(mailhost.scans("user=jane,", "required_score=50.0"))
    queue_id = deliver(mailhost, "clean")
    assert len(mailhost.scans("user=jane,", "required_score=50.0")) == before + 1
    assert mailhost.syslog.wait_for(queue_id, f"from=<{SENDER}>, to=<jane@{DOMAIN}>, ", "action=written")


def test_the_users_own_rules_see_what_was_scanned(jane: User, mailhost: Host) -> None:
    jane.write(".dovecot.sieve", OWN_RULE)
    deliver(mailhost, FORGED)
    assert list(mail(jane)) == ["scanned"]


def test_what_was_not_scanned_is_apart_from_all_rules(jane: User, mailhost: Host) -> None:
    """As it came, though it says that it is spam."""
    jane.write(".dovecot.sieve", OWN_RULE)
    mailhost.spamd.kill()
    deliver(mailhost, FORGED)
    ((name, (copy,)),) = mail(jane).items()
    assert name == "Unscanned"
    assert copy.endswith(FORGED)


def test_a_user_may_not_run_programs(jane: User, mailhost: Host) -> None:
    """A script of his that wants to is an error, and the mail is in the inbox, scanned once."""
    before = len(mailhost.scans())
    jane.write(".dovecot.sieve", 'require ["vnd.dovecot.filter"];\nfilter "pf-spamfilt" ["--stdout"];\n')
    deliver(mailhost, "clean")
    ((name, (copy,)),) = mail(jane).items()
    assert (name, copy.count(b"X-Spam-Status: ")) == ("", 1)
    assert len(mailhost.scans()) == before + 1
