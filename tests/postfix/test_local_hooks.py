"""Local delivery by the examples as they are: procmailrc, forward, mailfilter, and each line of main.cf.local.

A real local(8), spamd, procmail and maildrop; only the path of pf-spamfilt is another.
"""

from collections.abc import Iterator
from email import message_from_bytes
from email.message import Message

import pytest
from proving import MESSAGES, Host, changed, scoring

from lab import setups
from lab.local_users import DOMAIN, INSTALLED, User, messages
from lab.setups import Way
from lab.tools import wait_until


def two_procmailrcs(user: User) -> None:
    """As /etc/procmailrc and the user's own: the second has nothing to say."""
    setups.WAYS["procmail with the procmailrc"].prepare(user)
    user.write(".second", "# nothing\n")


def forward_to_stdout(user: User) -> None:
    """As the example, but with the other form."""
    user.example("forward", ".forward")
    file = user.home / ".forward"
    user.write(".forward", file.read_text().replace("--pipe-to /usr/bin/procmail -t", "--stdout"))


WAYS = {
    **setups.WAYS,
    "procmail with the procmailrc, and another after it": Way(
        f"{setups.PROCMAIL} .procmailrc .second", two_procmailrcs
    ),
}
MISTAKES = {
    "--stdout for mailbox_command": Way(f"mailbox_command = {INSTALLED} --stdout"),
    "--stdout for mailbox_command, by a shell": Way(f'mailbox_command = {INSTALLED} --stdout "$SENDER" "$RECIPIENT"'),
    "--stdout in the forward": Way("", forward_to_stdout),
}

# The users' own rules file spam.
FILING = ("procmail with the procmailrc", "procmail with the procmailrc, and another after it",
          "maildrop with the mailfilter")  # fmt: skip


class Site:
    """The mail host, delivering in one way to jane and sam."""

    def __init__(self, host: Host, users: dict[str, User], way: Way) -> None:
        self.host = host
        self.jane, self.sam = users["jane"], users["sam"]
        self._way = way

    def begin(self) -> None:
        """Let the users have no mail, and in their home directories only what they need."""
        for user in (self.jane, self.sam):
            user.forget()
            self._way.prepare(user)

    def log(self) -> str:
        """Return the end of Postfix's log, and what the filter says."""
        return "\n".join([self.host.postfix.log_tail(10), *self.host.syslog.lines("pf-spamfilt")[-5:]])

    def send(self, message: bytes | str, *names: str, sender: str = "sender@client.example") -> str:
        """Send a message to these users, of whom jane is one, without a filter in the queue."""
        recipients = [f"{name}@{DOMAIN}" for name in names or ("jane",)]
        return self.host.put(message, recipients, sender, filtered=False)

    def deliver(self, message: bytes | str, *names: str, sender: str = "sender@client.example") -> str:
        """Send a message, wait until Postfix has delivered it, and return its queue id."""
        queue_id = self.send(message, *names, sender=sender)
        self.host.postfix.wait_idle()
        return queue_id

    def outcome(self, queue_id: str, status: str) -> str:
        """Wait for Postfix's word on a message."""
        return self.host.postfix.wait_log(queue_id, "relay=local", f"status={status}")


def inbox(user: User) -> list[Message]:
    """Return the messages in a user's inbox, an mbox file or a Maildir."""
    found = messages(user.inbox) + messages(user.home / "Maildir")
    return [message_from_bytes(message) for message in found]


def spam(user: User) -> list[bytes]:
    """Return the messages in a user's folder for spam, whichever format it has."""
    return messages(user.home / "spam")


@pytest.fixture(scope="module", params=WAYS)
def running(request: pytest.FixtureRequest, module_mailhost: Host) -> Iterator[Site]:
    """The mail host, delivering in one of the ways."""
    way = (WAYS | MISTAKES)[request.param]
    with setups.local_delivery(module_mailhost, way, "jane", "sam") as users:
        yield Site(module_mailhost, users, way)


@pytest.fixture
def site(running: Site, mailhost: Host) -> Site:
    """The same, as new: the users have nothing but what the way asks for."""
    running.begin()
    return running


def test_mail_is_scanned_for_the_account_and_delivered_whole(site: Site) -> None:
    """The account is spamd's user: its own preferences hold."""
    site.host.spamd.preferences("jane", "required_score 50\n")
    before = len(site.host.scans("user=jane,", "required_score=50.0"))
    site.deliver(scoring(20))
    (copy,) = inbox(site.jane)
    assert copy["X-Spam-Status"].startswith("No, score=20.0 required=50.0"), site.log()
    assert copy.get_payload().rstrip("\n") == MESSAGES["clean"].partition(b"\n\n")[2].decode().rstrip("\n")
    assert len(site.host.scans("user=jane,", "required_score=50.0")) == before + 1


def test_two_accounts_are_scanned_each_with_his_own_preferences(site: Site) -> None:
    site.host.spamd.preferences("jane", "required_score 50\n")
    site.host.spamd.preferences("sam", "required_score 40\n")
    site.deliver(scoring(20), "jane", "sam")
    told = [copy["X-Spam-Status"].split()[2] for user in (site.jane, site.sam) for copy in inbox(user)]
    assert told == ["required=50.0", "required=40.0"], site.log()


def test_settings_for_his_address_hold(site: Site) -> None:
    """Where the delivery agent tells only the account, the domain is from the user's file: that of the example."""
    site.host.configured(f'[[recipients]]\nmatch = ["jane@{DOMAIN}", "jane@example.com"]\ntag2_level = 3\n')
    site.deliver(scoring(4))
    (copy,) = [*spam(site.jane), *(bytes(copy) for copy in inbox(site.jane))]
    assert b"X-Spam-Flag: YES\n" in copy, site.log()


def test_spam_is_marked(site: Site) -> None:
    site.deliver("gtube")
    (copy,) = [*spam(site.jane), *(bytes(copy) for copy in inbox(site.jane))]
    assert b"\nX-Spam-Flag: YES\n" in copy, site.log()


@pytest.mark.parametrize("running", FILING, indirect=True)
def test_the_rules_of_the_example_file_spam(site: Site) -> None:
    site.deliver("gtube")
    assert (len(spam(site.jane)), inbox(site.jane)) == (1, []), site.log()


def test_a_forged_mark_is_none(site: Site) -> None:
    site.deliver(b"X-Spam-Flag: YES\n" + MESSAGES["clean"])
    (copy,) = inbox(site.jane)
    assert copy["X-Spam-Flag"] is None, site.log()
    assert spam(site.jane) == []


def test_mail_waits_for_spamd(site: Site) -> None:
    """Nothing is delivered without a scan; the next queue run delivers it once."""
    site.host.spamd.kill()
    line = site.outcome(site.send("clean"), "deferred")
    assert (inbox(site.jane), spam(site.jane)) == ([], []), line
    site.host.spamd.start()
    site.host.postfix.flush()
    site.host.postfix.wait_idle()
    (copy,) = inbox(site.jane)
    assert copy["X-Spam-Status"].startswith("No, "), site.log()


def test_mail_for_an_extension_is_delivered(site: Site) -> None:
    """And settings for it hold, where the delivery agent is told."""
    queue_id = site.deliver("clean", "jane+lists")
    assert [copy["Subject"] for copy in inbox(site.jane)], site.log()
    assert site.host.syslog.wait_for(queue_id, "user=jane,", "to=<jane+lists@")


@pytest.mark.parametrize("sender", ["sender@client.example", "", "o'brien@client.example"])
def test_the_sender_is_known(site: Site, sender: str) -> None:
    """From the message too: in the environment local(8) has replaced what a shell might read."""
    queue_id = site.deliver("bounce", sender=sender)
    assert len(inbox(site.jane)) == 1, site.log()
    assert site.host.syslog.lines(queue_id, f"from=<{sender}>"), site.log()


def test_a_message_that_looks_like_a_mailbox_is_one_message(site: Site) -> None:
    """Lines that begin with "From " end a message in an mbox file."""
    message = MESSAGES["clean"] + b"\nFrom here on it is a trap.\n\nFrom jane@example.com  Mon Nov 23 05:15:16 2026\n"
    site.deliver(message)
    (copy,) = inbox(site.jane)
    assert "here on it is a trap." in copy.get_payload(), site.log()


@pytest.mark.parametrize("running", ["the forward"], indirect=True)
def test_a_destination_in_a_line_after_the_command_waits_with_it(site: Site) -> None:
    """In the same line, or before it, it would get a copy at every try."""
    file = site.jane.home / ".forward"
    site.jane.write(file.name, f"{file.read_text()}\n\\jane\n")
    site.host.spamd.kill()
    site.outcome(site.send("clean"), "deferred")
    assert inbox(site.jane) == [], site.log()
    site.host.spamd.start()
    site.host.postfix.flush()
    site.host.postfix.wait_idle()
    assert [copy["X-Spam-Status"] is not None for copy in inbox(site.jane)] == [True, False], site.log()


@pytest.mark.parametrize("running", ["the filter, then procmail"], indirect=True)
@pytest.mark.parametrize(("owner", "count"), [("", 3), ("{owner-staff = sam}", 1)])
def test_an_alias_of_several_needs_an_owner(site: Site, owner: str, count: int) -> None:
    """Without one, local(8) tries them all again while one of them has to wait."""
    site.sam.write(".procmailrc", "EXITCODE=75\n\n:0\n/dev/null\n")
    put_off = "procmail exited with status 75"
    before = len(site.host.postfix.log_lines(put_off))
    with changed(site.host, f"alias_maps = inline:{{ {{staff = jane, sam}} {owner} }}"):
        site.send("clean", "staff")
        assert wait_until(lambda: len(site.host.postfix.log_lines(put_off)) >= before + 3, 60), site.log()
        assert min(len(inbox(site.jane)), 3) == count, site.log()


@pytest.mark.parametrize("running", ["the filter, then procmail"], indirect=True)
@pytest.mark.parametrize(
    ("destiny", "ends"), [("bounce", ("bounced", "dsn=5.7.1")), ("discard", ("sent", "dsn=2.0.0"))]
)
def test_settings_say_what_becomes_of_spam(site: Site, destiny: str, ends: tuple[str, str]) -> None:
    site.host.configured(f'[policy]\nkill_level = 10\ndestiny = "{destiny}"\n')
    queue_id = site.send(scoring(12))
    assert ends[1] in site.outcome(queue_id, ends[0])
    assert inbox(site.jane) == []
    assert site.host.syslog.wait_for(queue_id, "to=<jane@lab.example>", f"action={destiny}")


@pytest.mark.parametrize("running", ["the filter, then maildrop"], indirect=True)
def test_postfix_tries_again_what_the_command_puts_off(site: Site) -> None:
    """With maildrop's status and words in Postfix's log."""
    site.jane.write(".mailfilter", "EXITCODE=75\nexit\n")
    line = site.outcome(site.send("clean"), "deferred")
    assert "maildrop exited with status 75" in line
    site.jane.write(".mailfilter", "")
    site.host.postfix.flush()
    site.host.postfix.wait_idle()
    assert len(inbox(site.jane)) == 1, site.log()


@pytest.mark.parametrize(
    "running", ["procmail with the procmailrc", "the filter, then procmail", "the forward"], indirect=True
)
def test_mail_waits_while_there_is_no_room_for_it(site: Site) -> None:
    """Without -t procmail would have Postfix bounce it."""
    site.jane.write(".procmailrc", "DEFAULT=/dev/full\nORGMAIL=/dev/full\n")
    line = site.outcome(site.send("clean"), "deferred")
    assert "procmail" in line


@pytest.mark.parametrize("running", ["procmail with the procmailrc", "the filter, then procmail"], indirect=True)
def test_procmail_knows_the_extension(site: Site) -> None:
    """By -a; without it $1 is empty, and the message in the inbox."""
    site.jane.write(".procmailrc", "EXTENSION=$1\n\n:0\n* EXTENSION ?? ^^lists^^\n$HOME/lists/\n")
    site.deliver("clean", "jane+lists")
    assert len(messages(site.jane.home / "lists")) == 1, site.log()


@pytest.mark.parametrize("running", MISTAKES, indirect=True)
def test_mail_waits_if_nobody_would_deliver_it(site: Site) -> None:
    """Postfix logs what a command writes, and takes status 0 for a delivery."""
    line = site.outcome(site.send("clean"), "deferred")
    assert "dsn=4.3.5, status=deferred (--stdout delivers nothing" in line
    assert inbox(site.jane) == []


def test_every_setting_of_the_example_is_tried() -> None:
    assert set(setups.LOCAL_SETTINGS) <= {way.setting for way in WAYS.values()}
