"""Policies in the installed command, where programs fail: each recipient gets one copy, or the log says why not.

sendmail is a stub that keeps each call in a file of its own; with real servers see tests/postfix.
"""

import subprocess

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

BODY = b"body\n"
MESSAGE = b"Received: by mx.example (Postfix) id 4cDR2f5x\nFrom: x@sender.example\nSubject: hi\n\n" + BODY
SPAMC = """
printf 'X-Spam-Flag: YES\\nX-Spam-Status: Yes, score=6.0 required=5.0 tests=A\\nX-Spam-Level: ******\\n'
cat
exit 1
"""
# Fails once for a recipient or a sender that asks for it: the status is his name.
SENDMAIL = """
for status in 65 75; do
    case "$*" in *"fail$status@"*) exit $status ;; esac
done
calls=$(ls "$MAIL_CONFIG" | grep -c '^call')
printf '%s\\n' "$@" > "$MAIL_CONFIG/call$calls.argv"
cat > "$MAIL_CONFIG/call$calls.message"
"""
POLICY = """
[policy]
kill_level = 6
[[recipients]]
match = ["tagged.example"]
kill_level = "never"
subject_tag = "[SPAM]"
[[recipients]]
match = ["plain.example"]
kill_level = "never"
tag2_level = 9
[[recipients]]
match = ["discard.example"]
destiny = "discard"
[[recipients]]
match = ["bounce.example"]
destiny = "bounce"
[[recipients]]
match = ["kept.example"]
destiny = "discard"
quarantine = "quarantine@here.example"
[[recipients]]
match = ["bypass.example"]
bypass = true
[[recipients]]
match = ["path.example"]
quarantine = "dir:/none/spam"
"""


@pytest.fixture
def site(make_site, tmp_path):
    return make_site(SPAMC, SENDMAIL, f'file = "{tmp_path}/log"\n{POLICY}')


@pytest.fixture
def run(command, site):
    """Run the command; return its status, its output, and argv and message of every call of sendmail that took it."""

    def run(*recipients, sender="jane@sender.example", message=MESSAGE):
        for file in [*site.glob("call*"), *site.glob("log")]:
            file.unlink()
        done = subprocess.run(
            [command, sender, *recipients],
            input=message,
            capture_output=True,
            env={"PATH": "/usr/bin:/bin", "MAIL_CONFIG": str(site)},
        )
        calls = sorted(site.glob("call*.argv"), key=lambda file: int(file.stem[4:]))
        sent = [(file.read_text().split(), file.with_suffix(".message").read_bytes()) for file in calls]
        return done.returncode, done.stdout.decode(), [(argv[argv.index("-f") + 1 :], text) for argv, text in sent]

    return run


def recipients_of(argv):
    return argv[argv.index("--") + 1 :]


def test_recipients_with_the_same_copy_share_one_sendmail(run):
    status, output, sent = run("a@tagged.example", "b@plain.example", "c@tagged.example", "d@bypass.example")
    assert status == 0
    assert [recipients_of(argv) for argv, _ in sent] == [
        ["a@tagged.example", "c@tagged.example"],
        ["b@plain.example"],
        ["d@bypass.example"],
    ]
    assert b"Subject: [SPAM] hi" in sent[0][1]
    assert b"X-Spam-Status: No, score=6.0 required=9.0" in sent[1][1]
    assert sent[2][1] == MESSAGE
    assert output == "spam 6.0/5.0, tagged for 2; 4 reinjected\n"


def test_a_message_that_all_discard_is_in_the_log_with_every_recipient(run, site):
    recipients = [f"r{number}@discard.example" for number in range(12)]
    status, output, sent = run(*recipients)
    assert (status, output, sent) == (0, "spam 6.0/5.0; 12 discarded\n", [])
    log = (site / "log").read_text()
    assert all(f"<{recipient}>" in log for recipient in recipients)
    assert log.count("from=<jane@sender.example>") == log.count("action=discarded") == 3


def test_what_all_refuse_is_bounced_by_postfix(run):
    status, output, sent = run("a@bounce.example", "b@bounce.example")
    assert (status, output, sent) == (69, "5.7.1 the message looks like spam (score 6.0, 6.0 required)\n", [])


@pytest.mark.parametrize("sender", ["", "<>", "MAILER-DAEMON"])
def test_the_null_sender_gets_no_bounce(run, sender):
    assert run("a@bounce.example", sender=sender)[:2] == (0, "spam 6.0/5.0; 1 discarded\n")


@pytest.mark.parametrize("field", [b"List-Id: <x>", b"Precedence: bulk", b"Auto-Submitted: auto-replied"])
def test_lists_and_automatic_mail_get_no_bounce(run, field):
    assert run("a@bounce.example", message=field + b"\n" + MESSAGE)[:2] == (0, "spam 6.0/5.0; 1 discarded\n")


def test_forged_fields_do_not_hide_that_it_is_automatic_mail(run):
    """It is larger than max_size with them, and is scanned, as without them it is not."""
    received, _, rest = MESSAGE.partition(b"\n")
    forged = (b"X-Spam-Forged: " + b"y" * 60 + b"\n") * 9000
    message = received + b"\n" + forged + b"Auto-Submitted: auto-replied\n" + rest
    assert run("a@bounce.example", message=message)[:2] == (0, "spam 6.0/5.0; 1 discarded\n")


def test_a_header_that_is_larger_than_any_other_stays_as_it_is(run):
    """Of a message that is not scanned: local(8) takes a Delivered-To wherever it is."""
    top = b"".join(b"X-Field-%d: %b\n" % (number, b"y" * 60) for number in range(4500))
    message = top + b"Delivered-To: old@remote.example\n" + MESSAGE + b"line\n" * 100_000
    status, _, sent = run("a@plain.example", message=message)
    assert status == 0
    assert sent[0][1] == message


def test_some_refuse_and_the_sender_is_told_of_those(run):
    status, output, sent = run("a@bounce.example", "b@tagged.example", "c@bounce.example")
    assert (status, output) == (0, "spam 6.0/5.0, tagged; 1 reinjected, 2 bounced\n")
    assert [recipients_of(argv) for argv, _ in sent] == [["b@tagged.example"], ["jane@sender.example"]]
    assert sent[1][1].count(b"\nFinal-Recipient: rfc822; ") == 2


def test_quarantine_comes_first_and_once_for_all_who_share_it(run):
    status, _, sent = run("a@tagged.example", "b@kept.example", "c@kept.example")
    assert status == 0
    (argv, kept), (_, delivered) = sent
    assert recipients_of(argv) == ["quarantine@here.example"]
    assert b"X-Envelope-From: <jane@sender.example>\nX-Envelope-To: <b@kept.example>,\n\t<c@kept.example>\n" in kept
    assert kept.endswith(MESSAGE)
    assert delivered.endswith(BODY)


def test_a_store_that_cannot_be_written_to_defers_before_anything_is_delivered(run):
    status, output, sent = run("a@tagged.example", "b@path.example")
    assert (status, sent) == (75, [])
    assert output == '4.3.5 quarantine "dir:/none/spam": cannot be made: No such file or directory\n'


@pytest.mark.parametrize("destination", ["fail75@here.example", "fail65@here.example"])
def test_a_quarantine_that_cannot_be_reached_defers_before_anything_is_delivered(run, site, destination):
    file = site / "pf-spamfilt.toml"
    file.write_text(file.read_text().replace("quarantine@here.example", destination))
    status, output, sent = run("a@tagged.example", "b@kept.example")
    assert (status, sent) == (75, [])
    assert output.startswith("4.3.0 ")


def test_a_copy_that_fails_for_now_defers_them_all(run):
    status, output, _ = run("a@plain.example", "fail75@tagged.example")
    assert status == 75
    assert output.startswith("4.3.0 sendmail exited with status 75")


def test_a_copy_that_is_rejected_is_bounced_without_the_others(run):
    status, output, sent = run("a@plain.example", "fail65@tagged.example")
    assert (status, output) == (0, "spam 6.0/5.0; 1 reinjected, 1 bounced\n")
    assert [recipients_of(argv) for argv, _ in sent] == [["a@plain.example"], ["jane@sender.example"]]
    assert b"Final-Recipient: rfc822; fail65@tagged.example\nAction: failed\nStatus: 5.6.0\n" in sent[1][1]


def test_what_sendmail_rejects_is_not_said_to_be_spam(run):
    status, output, sent = run("fail65@tagged.example", "b@bounce.example")
    assert (status, output) == (0, "spam 6.0/5.0; 2 bounced\n")
    assert sorted(code for _, text in sent for code in (b"5.6.0", b"5.7.1") if b"Status: " + code in text) == [
        b"5.6.0",
        b"5.7.1",
    ]


def test_what_is_rejected_with_nobody_to_tell_is_in_the_log_with_what_was_done(run, site):
    status, _, sent = run("a@plain.example", "fail65@tagged.example", "c@discard.example", sender="")
    assert status == 65
    assert [recipients_of(argv) for argv, _ in sent] == [["a@plain.example"]]
    log = (site / "log").read_text()
    assert "to=<a@plain.example>" in log
    assert "not taken for <fail65@tagged.example>" in log
    assert "action=discarded" in log


def test_what_is_rejected_for_all_is_bounced_by_postfix(run):
    status, output, sent = run("fail65@plain.example", "fail65@tagged.example")
    assert (status, sent) == (65, [])
    assert output.startswith("5.6.0 sendmail exited with status 65")


DOMAINS = ["tagged", "plain", "discard", "bounce", "kept", "bypass", "elsewhere"]


@given(st.lists(st.sampled_from(DOMAINS), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_recipient_gets_what_his_policy_says_once(run, domains):
    recipients = [f"r{number}@{domain}.example" for number, domain in enumerate(domains)]
    status, output, sent = run(*recipients)
    if set(domains) == {"bounce"}:
        assert status == 69
        return
    assert status == 0
    delivered = [each for argv, _ in sent for each in recipients_of(argv) if each in recipients]
    assert sorted(delivered) == sorted(
        each for each in recipients if not each.split("@")[1].startswith(("d", "bo", "k"))
    )
    counts = [int(word) for word in output.rpartition("; ")[2].replace(",", " ").split() if word.isdigit()]
    assert sum(counts) == len(recipients)


def failing_postmap(site, script):
    (site / "postmap").write_text(f"#!/bin/sh\n{script}\n")
    (site / "postmap").chmod(0o755)
    with (site / "pf-spamfilt.toml").open("a") as file:
        file.write(f'[tables]\ncommand = ["{site}/postmap"]\nrecipients = ["pgsql:/etc/postfix/policy.cf"]\n')


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("exit 2", "exited with status 2"),
        ("kill -9 $$", "was killed by signal 9"),
        ("echo 'postmap: fatal: no server' >&2; exit 1", "postmap: fatal: no server"),
        ("echo 'postmap: fatal: query error' >&2; echo 'a@plain.example\tbypass=t'; exit 0", "fatal: query error"),
        ("cat /dev/zero", "wrote without end"),
        ("seq 5000 >&2; echo 'postmap: fatal: open database' >&2; exit 1", "postmap: fatal: open database"),
    ],
)
def test_a_table_that_fails_defers_and_is_named(run, site, script, text):
    failing_postmap(site, script)
    status, output, sent = run("a@plain.example")
    assert (status, sent) == (75, [])
    assert output.startswith("4.3.0 ")
    assert "pgsql:/etc/postfix/policy.cf" in output
    assert text in output


def test_a_table_with_a_wrong_answer_defers_and_names_table_and_key(run, site):
    failing_postmap(site, "cat >/dev/null; echo '@plain.example\tkil_level=3'")
    status, output, _ = run("a@plain.example")
    assert status == 75
    assert output.startswith(
        "4.3.5 table pgsql:/etc/postfix/policy.cf, key @plain.example: kil_level: there is no such key"
    )


@pytest.mark.parametrize(
    "answer",
    [
        "a@plain.example\\tbypass=t\\n@plain.example\\tbypass=f\\n@plain.example\\tbypass=t",
        "a@plain.example\\tbypass=t\\nx",
        "@other.example\\tbypass=t",
    ],
)
def test_a_line_break_in_a_result_is_nobodys_entry(run, site, answer):
    failing_postmap(site, f"cat >/dev/null; printf '{answer}\\n'")
    status, output, _ = run("a@plain.example")
    assert status == 75
    assert output.startswith("4.3.5 table pgsql:/etc/postfix/policy.cf: there is a line break in a result")


def test_a_recipient_cannot_choose_his_own_settings(run, site):
    """Where a table makes its result of the key, as pcre: with $1, a name could be read as settings."""
    answer = r"""printf '%s\tquarantine=%s\n' "$key" "$key";;"""
    failing_postmap(site, f"while read -r key; do case $key in *=*) {answer} esac; done; exit 1")
    assert run('"x spam_lover=yes y"@kept.example')[1] == "spam 6.0/5.0; 1 quarantined\n"


def test_an_unusable_quarantine_of_one_recipient_defers_before_anything_is_sent(run, site):
    status, _, sent = run("a@kept.example", "b@path.example")
    assert (status, sent) == (75, [])


def test_a_notice_from_another_host_like_this_tells_no_administrator(run, site):
    with (site / "pf-spamfilt.toml").open("a") as file:
        file.write('[[senders]]\nmatch = ["."]\nadmin = "admin@here.example"\n')
    notice = b"Auto-Submitted: auto-generated\n" + MESSAGE
    assert [recipients_of(argv) for argv, _ in run("a@discard.example")[2]] == [["admin@here.example"]]
    assert run("a@discard.example", sender="", message=notice)[1:] == ("spam 6.0/5.0; 1 discarded\n", [])


def test_postmap_is_not_started_where_no_table_is_named(run, site):
    failing_postmap(site, "exit 2")
    file = site / "pf-spamfilt.toml"
    file.write_text(file.read_text().replace('recipients = ["pgsql:/etc/postfix/policy.cf"]', ""))
    assert run("a@plain.example")[0] == 0
