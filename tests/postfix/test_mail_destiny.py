"""What becomes of handled mail: delivered, discarded, bounced, kept; and who is told of it.

Each case has a domain of its own, NAME.example. Its recipients' names, and its own, say what they want; the sender is
sender@NAME.example, so that bounces and notices to him can be found.
"""

import re
from dataclasses import dataclass

import pytest
from proving import Host, body_is_whole, by_recipient, for_recipients, is_consistent, scoring

from lab.mailbox import Copy

ADMIN, CUSTOMER_ADMIN = "admin@lab.example", "admin@customer.example"
POLICY = f"""
[policy]
kill_level = 10
subject_tag = "[SPAM]"

[[senders]]
match = [".customer.example"]
quarantine = "kept@customer.example"
admin = "{CUSTOMER_ADMIN}"
""" + "".join(
    for_recipients(pattern, keys)
    for pattern, keys in (
        ("/^gone/", 'destiny = "discard"'),
        ("/^bounce/", 'destiny = "bounce"'),
        ("/^silent/", 'destiny = "bounce"\ntag2_level = 30'),
        ("/@.*own-box/", 'quarantine = "${user}+spam@${domain}"'),
        ("/@.*kept/", 'quarantine = "kept@${domain}"'),
        ("/@.*warn/", "warn_sender = true"),
        ("/@.*admin/", f'admin = "{ADMIN}"'),
    )
)


@dataclass(frozen=True)
class Case:
    """A message to these users, and the users at whom something arrives; "" is the sender."""

    users: tuple[str, ...]
    arrives: tuple[str, ...]
    header: bytes = b""
    score: int = 12
    sender: str = "sender@{}.example"


def to(*users: str) -> tuple[str, ...]:
    """Return users; reads better than parentheses."""
    return users


LIST = b"List-Id: Offers <offers.example>\n"
CASES = {
    "below-kill": Case(to("pass", "gone", "bounce"), to("pass", "gone", "bounce"), score=8),
    "pass": Case(to("pass"), to("pass")),
    "gone": Case(to("gone1", "gone2"), to()),
    "bounce": Case(to("bounce1", "bounce2"), to("")),
    "bounce-one": Case(to("bounce"), to("")),
    "some": Case(to("bounce1", "bounce2", "gone", "pass"), to("pass", "")),
    "nobody-gets-it": Case(to("bounce", "gone"), to("")),
    "unmarked": Case(to("silent"), to("")),
    "two-reasons": Case(to("bounce", "pass", "silent"), to("pass", "")),
    "kept-pass": Case(to("pass1", "pass2"), to("pass1", "pass2", "kept")),
    "kept-gone": Case(to("gone1", "gone2"), to("kept")),
    "kept-bounce": Case(to("bounce"), to("kept", "")),
    "kept-some": Case(to("bounce", "gone", "pass"), to("pass", "kept", "")),
    "own-box": Case(to("gone+lists", "gone.sam", "pass"), to("gone+spam", "gone.sam+spam", "pass+spam", "pass")),
    "null": Case(to("bounce1", "bounce2"), to(), sender=""),
    "null-some": Case(to("bounce", "pass"), to("pass"), sender=""),
    "null-kept": Case(to("bounce"), to("kept"), sender=""),
    "list": Case(to("bounce1", "bounce2"), to(), LIST),
    "list-some": Case(to("bounce", "pass"), to("pass"), LIST),
    "list-kept": Case(to("bounce"), to("kept"), LIST),
    "unsubscribe": Case(to("bounce"), to(), b"LIST-UNSUBSCRIBE: <https://offers.example/>\n"),
    "bulk": Case(to("bounce"), to(), b"Precedence: bulk\n"),
    "junk": Case(to("bounce", "pass"), to("pass"), b"Precedence: Junk\n"),
    "automatic": Case(to("bounce"), to(), b"Auto-Submitted: auto-replied\n"),
    "automatic-some": Case(to("bounce", "pass"), to("pass"), b"Auto-Submitted: auto-generated; why=because\n"),
    "not-automatic": Case(to("bounce"), to(""), b"Auto-Submitted: no\n"),
    "first-class": Case(to("bounce"), to(""), b"Precedence: first-class\n"),
    "warn-gone": Case(to("gone"), to("")),
    "warn-pass": Case(to("pass"), to("pass", "")),
    "warn-bounce": Case(to("bounce"), to("")),
    "warn-some": Case(to("bounce", "gone", "pass"), to("pass", "", "")),
    "warn-null": Case(to("gone"), to(), sender=""),
    "warn-list": Case(to("gone"), to(), LIST),
    "warn-below-kill": Case(to("gone"), to("gone"), score=8),
    "admin": Case(to("gone", "pass"), to("pass")),
    "admin-kept": Case(to("bounce1", "bounce2", "gone"), to("kept", "")),
    "admin-bounce": Case(to("bounce1", "bounce2"), to("")),
    "admin-below-kill": Case(to("gone"), to("gone"), score=8),
    "admin-null": Case(to("bounce"), to(), sender=""),
    "kept-admin-of-customer": Case(to("gone"), to(), sender="john@shop.customer.example"),
    "many-gone": Case(to(*(f"gone{number}" for number in range(12))), to()),
}
each_case = pytest.mark.parametrize("name", CASES)


class Sent:
    """All cases' messages: queue ids, and what arrived by recipient."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.ids = {name: self._put(name, case) for name, case in CASES.items()}
        self.copies = by_recipient(host.settled())

    def _put(self, name: str, case: Case) -> str:
        users = [f"{user}@{name}.example" for user in case.users]
        return self.host.put(message_of(name), users, case.sender.format(name))

    def at(self, name: str, user: str) -> list[Copy]:
        """Return what arrived for a case at this user."""
        return self.copies.get(f"{user or 'sender'}@{name}.example", [])

    def of_admin(self, name: str, admin: str = ADMIN) -> Copy:
        """Return the notice to the administrator for a case."""
        (copy,) = [copy for copy in self.copies.get(admin, []) if self.ids[name].encode() in copy.body]
        return copy

    def lines(self, name: str) -> list[str]:
        """Return the filter's lines for a case."""
        return self.host.syslog.lines(f"{self.ids[name]}: from=")

    def summary(self, name: str) -> str:
        """Return what Postfix logs of a case."""
        return self.host.postfix.log_lines(self.ids[name], "relay=spamcheck")[0]


def message_of(name: str) -> bytes:
    """Return a case's message."""
    return CASES[name].header + scoring(CASES[name].score)


@pytest.fixture(scope="module")
def sent(module_mailhost: Host) -> Sent:
    """What became of all cases, for whom SpamAssassin wraps and renames spam."""
    wrapping = "report_safe 1\nrewrite_header Subject [SA]\n"
    module_mailhost.spamd.preferences("spamfilt", wrapping)
    for name in ("kept-bounce", "list-kept"):
        module_mailhost.spamd.preferences(f"bounce@{name}.example", wrapping)
    module_mailhost.configured(POLICY)
    return Sent(module_mailhost)


def failed(notice: Copy) -> list[str]:
    """Return the recipients that a bounce is about, and check that each is said to have failed."""
    groups = [part for part in notice.message.walk() if part["Final-Recipient"]]
    assert {(part["Action"], part["Status"]) for part in groups} == {("failed", "5.7.1")}
    return [str(part["Final-Recipient"]).partition(";")[2].strip() for part in groups]


def is_bounce(copy: Copy) -> bool:
    """Tell whether a copy is a bounce (RFC 3464)."""
    kind = (copy.message.get_content_type(), copy.message.get_param("report-type"))
    return kind == ("multipart/report", "delivery-status")


@each_case
def test_exactly_this_arrives(sent: Sent, name: str) -> None:
    arrived = [copy.recipient for copies in sent.copies.values() for copy in copies]
    expected = [f"{user or 'sender'}@{name}.example" for user in CASES[name].arrives]
    assert sorted(address for address in arrived if address.endswith(f"@{name}.example")) == sorted(expected)


@each_case
def test_delivered_copies_are_marked_and_whole(sent: Sent, name: str) -> None:
    for user in set(CASES[name].users) & set(CASES[name].arrives):
        (copy,) = sent.at(name, user)
        assert copy.header("X-Spam-Flag") == "YES"
        assert is_consistent(copy, "[SPAM]"), copy.head
        assert message_of(name) in copy.body or body_is_whole(copy, message_of(name))
        assert copy.sender == CASES[name].sender.format(name)


def test_log_line_of_discarded_mail_names_sender_recipients_and_score(sent: Sent) -> None:
    """With priority notice."""
    (line,) = sent.lines("gone")
    assert line.startswith("<21>"), line
    start = "from=<sender@gone.example>, to=<gone1@gone.example>,<gone2@gone.example>, "
    assert start in line
    assert re.search(r" score=12\.0, .*, verdict=spam, action=discarded, ", line), line


def test_log_names_each_of_many_recipients_of_discarded_mail(sent: Sent) -> None:
    found = re.findall(r"<(gone\d+)@many-gone\.example>", "".join(sent.lines("many-gone")))
    assert sorted(found) == sorted(CASES["many-gone"].users)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pass", "(spam 12.0/5.0, tagged; 1 reinjected)"),
        ("gone", "(spam 12.0/5.0; 2 discarded)"),
        ("many-gone", "(spam 12.0/5.0; 12 discarded)"),
        ("some", "(spam 12.0/5.0, tagged; 1 reinjected, 1 discarded, 2 bounced)"),
        ("kept-gone", "(spam 12.0/5.0; 2 quarantined)"),
        ("kept-pass", "(spam 12.0/5.0, tagged; 2 reinjected)"),
        ("kept-some", "(spam 12.0/5.0, tagged; 1 reinjected, 1 quarantined, 1 bounced)"),
        ("null", "(spam 12.0/5.0; 2 discarded)"),
        ("null-kept", "(spam 12.0/5.0; 1 quarantined)"),
    ],
)
def test_postfix_log_tells_what_became_of_how_many(sent: Sent, name: str, text: str) -> None:
    assert sent.summary(name).endswith(f"dsn=2.0.0, status=sent (delivered via spamcheck service {text})")


@pytest.mark.parametrize(
    "name", ["bounce", "bounce-one", "kept-bounce", "warn-bounce", "not-automatic", "admin-bounce"]
)
def test_what_all_recipients_refuse_is_bounced_by_postfix(sent: Sent, name: str) -> None:
    (bounce,) = sent.at(name, "")
    assert is_bounce(bounce), bounce.head
    assert "dsn=5.7.1, status=bounced" in sent.summary(name)
    assert failed(bounce) == [f"{user}@{name}.example" for user in CASES[name].users]
    assert b"the message looks like spam (score 12.0, 10.0 required)" in re.sub(rb"\s+", b" ", bounce.body)


@pytest.mark.parametrize("name", ["some", "nobody-gets-it", "kept-some", "admin-kept"])
def test_what_some_recipients_refuse_is_bounced_by_the_filter_for_these(sent: Sent, name: str) -> None:
    """By RFC 3464, from the null sender, and marked as automatic."""
    (bounce,) = sent.at(name, "")
    assert is_bounce(bounce), bounce.head
    assert failed(bounce) == [f"{user}@{name}.example" for user in CASES[name].users if user.startswith("bounce")]
    assert bounce.sender == ""
    assert str(bounce.header("From")).endswith("<MAILER-DAEMON@lab.example>")
    assert bounce.header("Auto-Submitted") == "auto-replied"
    assert sent.ids[name].encode() in bounce.body
    assert b"Hello Jane" not in bounce.body


@pytest.mark.parametrize("name", ["bounce", "some", "unmarked", "two-reasons"])
def test_bounce_does_not_contradict_itself(sent: Sent, name: str) -> None:
    """The score that it tells has reached what it calls required."""
    for bounce in sent.at(name, ""):
        found = re.search(rb"score\s+(\S+),\s+(\S+)\s+required", bounce.body)
        assert found, bounce.body
        assert float(found[1]) >= float(found[2]), found[0]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.sender])
def test_nothing_is_bounced_to_nobody(sent: Sent, name: str) -> None:
    """Postfix sees success, and no double bounce comes out of it."""
    assert "status=sent" in sent.summary(name)


KEPT = {name: "kept" for name, case in CASES.items() if "kept" in case.arrives} | {"own-box": "gone+spam"}


@pytest.mark.parametrize("name", KEPT)
def test_kept_copy_is_the_original_with_its_envelope(sent: Sent, name: str) -> None:
    """Unwrapped, not renamed and not tagged, with SpamAssassin's fields on top; sent by nobody."""
    (copy,) = sent.at(name, KEPT[name])
    users = [f"{user}@{name}.example" for user in CASES[name].users]
    users = users[:1] if name == "own-box" else users
    assert copy.header("X-Envelope-From") == f"<{CASES[name].sender.format(name)}>"
    assert copy.header("X-Envelope-To") == ", ".join(f"<{user}>" for user in users)
    assert copy.header("Subject") == "Minutes of Tuesday's meeting"
    assert str(copy.header("X-Spam-Status")).startswith("Yes, score=12.0 required=5.0 ")
    assert copy.sender == ""
    assert body_is_whole(copy, message_of(name))
    assert CASES[name].header in copy.head


@pytest.mark.parametrize("name", KEPT)
def test_log_says_where_it_is_kept(sent: Sent, name: str) -> None:
    (copy,) = sent.at(name, KEPT[name])
    quarantine_id = str(copy.header("X-Quarantine-ID"))
    assert quarantine_id.startswith(f"<{sent.ids[name]}-"), copy.head
    place = f"quarantine=<{KEPT[name]}@{name}.example>/{quarantine_id[1:-1]}, "
    lines = sent.lines(name)
    assert any(place in line for line in lines), lines
    assert all(line.startswith("<22>") for line in lines)


def test_recipients_of_different_quarantines_have_an_id_each(sent: Sent) -> None:
    ids = {sent.at("own-box", f"{user}+spam")[0].header("X-Quarantine-ID") for user in ("gone", "gone.sam", "pass")}
    assert len(ids) == 3


def test_sender_chooses_quarantine_and_admin(sent: Sent) -> None:
    """[[senders]] wins over what holds for the recipient."""
    name = "kept-admin-of-customer"
    (copy,) = sent.copies["kept@customer.example"]
    assert copy.header("X-Envelope-To") == f"<gone@{name}.example>"
    notice = sent.of_admin(name, CUSTOMER_ADMIN)
    assert b"kept@customer.example" in notice.body


ADMINS = {
    "admin": {"gone": "discarded", "pass": "delivered"},
    "admin-kept": dict.fromkeys(("bounce1", "bounce2"), "bounced") | {"gone": "quarantined"},
    "admin-bounce": {"bounce1": "bounced", "bounce2": "bounced"},
    "admin-null": {"bounce": "discarded"},
}


@pytest.mark.parametrize("name", ADMINS)
def test_admin_is_told_what_became_of_each_recipient(sent: Sent, name: str) -> None:
    notice = sent.of_admin(name)
    text = notice.message.get_payload(0).get_payload()  # type: ignore[union-attr]
    for user, fate in ADMINS[name].items():
        assert re.search(rf"<{user}@{name}\.example> +{fate}\b", text), text
    assert notice.sender == ""
    assert notice.header("Auto-Submitted") == "auto-generated"
    assert "12.0/10.0" in str(notice.header("Subject"))


def test_admin_is_told_where_it_is_kept(sent: Sent) -> None:
    (copy,) = sent.at("admin-kept", "kept")
    place = f"<kept@admin-kept.example>/{str(copy.header('X-Quarantine-ID'))[1:-1]}"
    assert sent.of_admin("admin-kept").body.count(place.encode()) == 3


def test_admin_hears_nothing_of_mail_that_was_not_handled(sent: Sent) -> None:
    told = b"".join(copy.body for copy in sent.copies[ADMIN])
    assert sent.ids["admin-below-kill"].encode() not in told
    assert len(sent.copies[ADMIN]) == len(ADMINS)


@pytest.mark.parametrize("name", ["warn-gone", "warn-pass", "warn-some"])
def test_sender_is_warned_of_what_was_not_bounced(sent: Sent, name: str) -> None:
    (notice,) = [copy for copy in sent.at(name, "") if not is_bounce(copy)]
    assert notice.sender == ""
    assert notice.header("Auto-Submitted") == "auto-replied"
    assert str(notice.header("From")).endswith("<postmaster@lab.example>")
    for user in CASES[name].users:
        assert (f"<{user}@{name}.example>".encode() in notice.body) == (not user.startswith("bounce")), notice.body


NOTICES = {
    "admin": ('admin = "told@lab.example"', "told@lab.example"),
    "warning": ("warn_sender = true", "sender@client.example"),
    "bounce": ('destiny = "bounce"', "sender@client.example"),
}
each_notice = pytest.mark.parametrize(("keys", "told"), NOTICES.values(), ids=NOTICES)


@each_notice
def test_notice_that_sendmail_cannot_take_defers_and_comes_later(mailhost: Host, keys: str, told: str) -> None:
    """What was done before may be done twice, but nothing is lost."""
    more = "[policy]\nkill_level = 10\n" + for_recipients("jane@example.com", keys)
    mailhost.configured(mailhost.refusing(told, 75) + more)
    queue_id = mailhost.put(scoring(12), ["jane@example.com", "sam@example.com"])
    mailhost.postfix.wait_log(queue_id, "relay=spamcheck", "dsn=4.3.0, status=deferred", "no such thing")
    mailhost.configured(more)
    mailhost.postfix.flush()
    copies = by_recipient(mailhost.settled())
    assert len(copies[told]) == 1
    assert copies["sam@example.com"]


@each_notice
def test_notice_that_sendmail_never_takes_delivers_nothing_twice(mailhost: Host, keys: str, told: str) -> None:
    """It is only logged; but that of a bounce is left to Postfix: better that it says too much than nothing."""
    mailhost.configured(
        mailhost.refusing(told, 65) + "[policy]\nkill_level = 10\n" + for_recipients("jane@example.com", keys)
    )
    queue_id = mailhost.put(scoring(12), ["jane@example.com", "sam@example.com"])
    if "bounce" in keys:
        mailhost.postfix.wait_log(queue_id, "relay=spamcheck", "dsn=5.6.0, status=bounced")
        arrived = ["sam@example.com", told]
    else:
        assert mailhost.syslog.wait_for(f"{queue_id}: no notice to <{told}>: sendmail exited with status 65")
        arrived = ["jane@example.com", "sam@example.com"]
    assert sorted(copy.recipient for copy in mailhost.settled()) == arrived


@pytest.mark.parametrize("sender", ["sender@client.example", ""], ids=["a sender", "the null sender"])
def test_copy_that_sendmail_never_takes_hinders_no_other_copy(mailhost: Host, sender: str) -> None:
    """It is bounced, if there is a sender."""
    more = for_recipients("jane@example.com", 'subject_tag = "[SPAM]"')
    mailhost.configured(mailhost.refusing("jane@example.com", 65) + more)
    mailhost.put("gtube", ["jane@example.com", "sam@example.com"], sender)
    copies = by_recipient(mailhost.settled())
    assert set(copies) == {"sam@example.com"} | {sender} - {""}
    assert len(copies["sam@example.com"]) == 1


def test_bounce_of_what_sendmail_never_takes_names_only_whom_it_was_for(mailhost: Host) -> None:
    more = for_recipients("jane@example.com", 'subject_tag = "[SPAM]"')
    mailhost.configured(mailhost.refusing("jane@example.com", 65) + more)
    mailhost.put("gtube", ["jane@example.com", "sam@example.com"])
    (bounce,) = by_recipient(mailhost.once(2))["sender@client.example"]
    (group,) = [part for part in bounce.message.walk() if part["Final-Recipient"]]
    assert (group["Final-Recipient"], group["Status"]) == ("rfc822; jane@example.com", "5.6.0")
