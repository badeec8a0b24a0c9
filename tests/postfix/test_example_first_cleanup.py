"""What the first cleanup leaves to the second, as examples/master.cf and examples/before-rewriting say: all of it.

That is each of the rewritings, and blind copies, of which there would be too many otherwise. And header checks, which
both do.
"""

import pytest
from proving import JANE, SAM, Host, for_recipients

from lab import setups

ARCHIVE = "archive@archive.example"
ALWAYS = f"always_bcc = {ARCHIVE}\n"
OF_ONE = f"recipient_bcc_maps = inline:{{a@one.example={ARCHIVE}}}\n"
OF_SENDERS = f"sender_bcc_maps = static:{ARCHIVE}\n"
HERE, ELSEWHERE = ["a@one.example", "b@one.example"], ["a@one.example", "b@two.example"]
# A set-up, main.cf, recipients, and how many blind copies there are.
CASES = {
    "not as master.cf says": ("master.cf", "", ALWAYS, HERE, 3),  # the first of them was filtered, and copied too
    "master.cf, with its option": ("master.cf", "no_address_mappings", ALWAYS, HERE, 1),
    "before-rewriting": ("before-rewriting/master.cf", "", ALWAYS, HERE, 1),
    "before-rewriting, two domains": ("before-rewriting/master.cf", "", ALWAYS, ELSEWHERE, 2),
    "before-rewriting, of one recipient": ("before-rewriting/master.cf", "", OF_ONE, ELSEWHERE, 1),
    "pre-cleanup": ("before-rewriting/pre-cleanup.cf", "", ALWAYS, HERE, 1),
    "pre-cleanup, of one sender": ("before-rewriting/pre-cleanup.cf", "", OF_SENDERS, HERE, 1),
    "pre-cleanup, of one recipient": ("before-rewriting/pre-cleanup.cf", "", OF_ONE, ELSEWHERE, 1),
}


@pytest.mark.parametrize("case", CASES)
def test_blind_copies_are_as_many_as_the_examples_say(case: str, mailhost: Host) -> None:
    name, option, main, recipients, count = CASES[case]
    entries = setups.master(name, mailhost, {"smtp": mailhost.postfix.port})
    if option:
        entries += f"    -o receive_override_options={option}\n"
    with mailhost.postfix.changed(main, entries):
        mailhost.put("clean", recipients)
        copies = mailhost.once(len(recipients) + count)
    assert sorted(copy.recipient for copy in copies) == sorted([*recipients, *[ARCHIVE] * count])


CHECKS = "header_checks = regexp:{{/^Subject:/ PREPEND X-Seen: yes}}\n"


@pytest.mark.parametrize(("option", "times"), [("", 2), ("    -o receive_override_options=no_header_body_checks\n", 1)])
def test_header_checks_see_filtered_mail_again_unless_pickup_leaves_them_out(
    option: str, times: int, mailhost: Host
) -> None:
    with mailhost.postfix.changed(CHECKS, f"pickup unix n - y 60 1 pickup\n{option}"):
        (copy,) = mailhost.deliver()
    assert copy.message.get_all("X-Seen") == ["yes"] * times


def test_header_check_that_rejects_marked_mail_bounces_it(mailhost: Host) -> None:
    """The sender is told, who is nearly always forged."""
    with mailhost.postfix.changed("header_checks = regexp:{{/^X-Spam-Flag: YES/ REJECT}}\n"):
        mailhost.put("gtube", [JANE], SAM)
        (bounce,) = mailhost.once(1)
    assert (bounce.sender, bounce.recipient) == ("", SAM)


def test_one_blind_copy_is_made_of_each_message_that_comes_back(mailhost: Host) -> None:
    """Also if there are two because the recipients' policies differ."""
    entries = setups.master("master.cf", mailhost, {"smtp": mailhost.postfix.port})
    with mailhost.postfix.changed(ALWAYS, f"{entries}    -o receive_override_options=no_address_mappings\n"):
        mailhost.configured(for_recipients(JANE, 'subject_tag = "[SPAM]"'))
        mailhost.put("gtube", [JANE, SAM])
        copies = mailhost.once(4)
    assert sorted(copy.recipient for copy in copies) == [ARCHIVE, ARCHIVE, JANE, SAM]


ANNA, SHORT = "anna@mail.client.example", "anna@client.example"
REWRITINGS = {
    "sender_canonical_maps": (f"inline:{{{ANNA}={SHORT}}}", SHORT, JANE),
    "recipient_canonical_maps": (f"inline:{{{JANE}={SAM}}}", ANNA, SAM),
    "masquerade_domains": ("client.example", SHORT, JANE),
}


@pytest.mark.parametrize("setting", REWRITINGS)
@pytest.mark.parametrize("name", ["master.cf", "pre-cleanup.cf"])
def test_envelope_is_rewritten_after_the_filter(name: str, setting: str, mailhost: Host) -> None:
    value, sender, recipient = REWRITINGS[setting]
    with mailhost.postfix.changed(f"{setting} = {value}\n", setups.before_rewriting(mailhost, name)):
        queue_id = mailhost.put("clean", [JANE], ANNA)
        (copy,) = mailhost.once(1)
    assert (copy.sender, copy.recipient) == (sender, recipient)
    assert f"from=<{ANNA}>, to=<{JANE}>, " in mailhost.syslog.wait_for(f"{queue_id}: from=")
