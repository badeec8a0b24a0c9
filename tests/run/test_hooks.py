"""The forms for local delivery: what comes on stdout, what the command gets, and the status, whatever goes wrong."""

import fcntl
import os
import pty
import resource
import shutil
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from lab.tools import wait_until

MESSAGE = b"""\
From jane@example.com  Mon Nov 23 05:15:16 2026
Return-Path: <jane@example.com>
Received: from client.example by mx.example (Postfix) id 4cDR2f5x
X-Spam-Flag: NO
Subject: hi

body
"""
FLAG = b"X-Spam-Flag: YES\n"
# As SpamAssassin: its fields after the mbox line.
SPAMC = """
cat >"$0.in"
printf '%s\\n' "$@" >"$0.argv"
[ -e "$0.status" ] && exit "$(cat "$0.status")"
sed -n '/^From /p;q' "$0.in"
printf 'X-Spam-Flag: YES\\nX-Spam-Status: Yes, score=15.3 required=5.0 tests=GTUBE\\n'
sed '1{/^From /d}' "$0.in"
exit 1
"""
SENDMAIL = 'printf "%s\\n" "$@" >> "$0.argv"; cat > "$0.queued"'
TAKE = 'cat >"$MAIL_CONFIG/taken"; printf "%s\\n" "$@" >"$MAIL_CONFIG/words"'
KILL = "[policy]\nkill_level = 10\n"


def marked(message=MESSAGE):
    """Return the message as the stub of spamc makes it."""
    mbox, _, rest = message.replace(b"X-Spam-Flag: NO\n", b"").partition(b"\n")
    return mbox + b"\n" + FLAG + b"X-Spam-Status: Yes, score=15.3 required=5.0 tests=GTUBE\n" + rest


class Done:
    """How a run ended: status, stdout and stderr."""

    def __init__(self, status, stdout, stderr):
        self.status, self.stdout, self.stderr = status, stdout, stderr.decode()

    def __repr__(self):
        return f"status {self.status}, {len(self.stdout)} bytes, {self.stderr}"


@pytest.fixture
def site(make_site, tmp_path):
    return make_site(SPAMC, SENDMAIL, f'file = "{tmp_path}/log"\nlevel = 1\n')


@pytest.fixture
def settings(make_site, tmp_path):
    """Add lines to the settings."""
    return lambda more: make_site(SPAMC, SENDMAIL, f'file = "{tmp_path}/log"\n{more}')


@pytest.fixture
def run(command, site):
    """Run the command with arguments and environment, the message in a pipe."""

    def run(*arguments, message=MESSAGE, stdout=subprocess.PIPE, setup=None, **environment):
        environment = {"PATH": "/usr/bin:/bin", "MAIL_CONFIG": str(site), "USER": "joe"} | environment
        done = subprocess.run(
            [command, *arguments],
            input=message,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env={name: value for name, value in environment.items() if value is not None},
            preexec_fn=setup,
            timeout=60,
        )
        return Done(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def pipe_to(run, site):
    """Run `--pipe-to` with a shell script."""

    def pipe_to(script=TAKE, *words, **options):
        (site / "agent").write_text(f"#!/bin/sh\n{script}\n")
        (site / "agent").chmod(0o755)
        return run("--pipe-to", str(site / "agent"), *words, **options)

    return pipe_to


@pytest.fixture
def log(site):
    """Return the filter's log."""
    return lambda: (site / "log").read_text()


def test_the_whole_message_is_on_stdout_and_nothing_else(run):
    done = run("--stdout")
    assert (done.status, done.stdout, done.stderr) == (0, marked(), "")


@pytest.mark.parametrize("environment", [{}, {"MAIL_CONFIG": "/etc/postfix"}])
def test_what_postfix_would_log_instead_of_delivering_is_a_deferral(command, site, environment):
    """One pipe is stdout and stderr: local(8) logs what it reads there, and takes status 0 for a delivery.

    maildrop, between the two, takes MAIL_CONFIG away.
    """
    done = subprocess.run(
        [command, "--config", site / "pf-spamfilt.toml", "--stdout"],
        input=MESSAGE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": "/usr/bin:/bin"} | environment,
        start_new_session=True,
    )
    assert done.returncode == 75
    assert done.stdout == b"4.3.5 --stdout delivers nothing if Postfix itself reads it: use --pipe-to\n"


def test_what_a_person_sends_through_one_pipe_is_written(command, site):
    """As in `... 2>&1 | less` at a terminal: nobody takes status 0 for a delivery there."""
    master, slave = pty.openpty()
    done = subprocess.run(
        [command, "--config", site / "pf-spamfilt.toml", "--stdout"],
        input=MESSAGE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={"PATH": "/usr/bin:/bin"},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(slave, termios.TIOCSCTTY, 0),
    )
    os.close(master)
    os.close(slave)
    assert (done.returncode, done.stdout) == (0, marked())


def test_the_mbox_line_stays_on_top(run):
    assert run("--stdout").stdout.startswith(b"From jane@example.com  Mon Nov 23 05:15:16 2026\nX-Spam-Flag: YES\n")


@pytest.mark.parametrize(
    "more",
    [
        "[policy]\ntag2_level = 20\n",
        "[policy]\nsubject_tag = '[SPAM]'\n",
        "[policy]\ntag_level = 20\n",
        "[spamc]\n",
    ],
)
def test_the_mbox_line_stays_on_top_of_what_is_changed_here(run, settings, more):
    settings(more.replace("[spamc]\n", ""))
    assert run("--stdout").stdout.startswith(b"From jane@example.com  Mon Nov 23 05:15:16 2026\n")


def test_the_mbox_line_stays_on_top_of_what_was_not_scanned(run, site):
    text = (site / "pf-spamfilt.toml").read_text()
    (site / "pf-spamfilt.toml").write_text(text.replace("[spamc]\n", '[spamc]\non_failure = "pass"\n'))
    (site / "spamc.status").write_text("69")
    done = run("--stdout")
    assert done.stdout.startswith(b"From jane@example.com  Mon Nov 23 05:15:16 2026\nX-Spam-Unscanned: "), done


def test_a_message_without_an_mbox_line_gets_none(run):
    done = run("--stdout", message=b"Subject: hi\n\nbody\n")
    assert done.stdout.startswith(b"X-Spam-Flag: YES\n"), done
    assert done.stdout.endswith(b"\nSubject: hi\n\nbody\n"), done


def test_nothing_is_on_stdout_if_the_scan_fails(run, site):
    (site / "spamc.status").write_text("69")
    done = run("--stdout")
    assert (done.status, done.stdout) == (75, b"")
    assert done.stderr.startswith("4.4.1 ")


@pytest.mark.parametrize("message", [b"", b"Subject: hi\n\nbody\n" * 100])
def test_nothing_is_on_stdout_if_settings_are_wrong(run, site, message):
    (site / "pf-spamfilt.toml").write_text("nonsense = 1\n")
    done = run("--stdout", message=message)
    assert (done.status, done.stdout, done.stderr[:6]) == (75, b"", "4.3.5 ")


def test_nothing_is_on_stdout_if_the_interpreter_is_gone(command, site, run, prefix):
    main = next((prefix / "lib/pf-spamfilt/lib").glob("python3*/site-packages/pf_spamfilt"))
    main.rename(main.with_name("away"))
    try:
        done = run("--stdout")
    finally:
        main.with_name("away").rename(main)
    assert (done.status, done.stdout, done.stderr[:6]) == (75, b"", "4.3.0 ")


def test_a_link_that_cannot_be_followed_is_a_deferral(command, tmp_path):
    """Nothing beside the working directory is run instead."""
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to(command)
    main = tmp_path / "lib/pf-spamfilt/lib/python3/site-packages/pf_spamfilt/__main__.py"
    main.parent.mkdir(parents=True)
    main.touch()
    python = tmp_path / "lib/pf-spamfilt/bin/python3"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\nexit 100\n")
    python.chmod(0o755)
    done = subprocess.run(
        [tmp_path / "link", "--stdout"], input=MESSAGE, capture_output=True, cwd=tmp_path / "here", env={"PATH": ""}
    )
    assert (done.returncode, done.stdout) == (75, b"")
    assert b"4.3.0 pf-spamfilt: cannot find what the link " in done.stderr


def test_an_empty_message_is_none(run):
    done = run("--stdout", message=b"")
    assert (done.status, done.stdout) == (75, b"")


@pytest.mark.parametrize("destiny", ["discard", "bounce", "pass"])
def test_spam_is_written_whatever_the_settings_say(run, settings, log, destiny):
    """A filter that writes nothing and succeeds would lose the message for its caller."""
    settings(f'{KILL}destiny = "{destiny}"\n')
    assert run("--stdout").stdout == marked()
    assert "action=written" in log()


def test_quarantine_is_as_usual(run, settings, site):
    settings(f'{KILL}destiny = "discard"\nquarantine = "mbox:{site}/kept"\n')
    assert run("--stdout").stdout == marked()
    assert (
        b"X-Envelope-From: <jane@example.com>\nX-Quarantine-User: joe\nX-Envelope-To: <joe>"
        in (site / "kept").read_bytes()
    )


def test_what_nobody_reads_is_not_kept(run, settings, site):
    """Its caller has the message, and may try again."""
    settings(f'{KILL}quarantine = "mbox:{site}/kept"\n')
    with open("/dev/full", "wb") as full:
        assert run("--stdout", stdout=full).status == 75
    assert (site / "kept").read_bytes() == b""


def sent_to(site):
    """Return what spamc's user was."""
    return [word for word in (site / "spamc.argv").read_text().split() if word.startswith("--username=")]


@pytest.mark.parametrize(
    ("environment", "user"),
    [
        ({}, "joe"),
        ({"USER": None, "LOGNAME": "ann"}, "ann"),
        ({"USER": "", "LOGNAME": "ann"}, "ann"),
        ({"RECIPIENT": "someone@example.net"}, "joe"),
    ],
)
def test_the_account_is_spamcs_user(run, site, environment, user):
    run("--stdout", **environment)
    assert sent_to(site) == [f"--username={user}"]


def test_no_user_is_the_recipient(run, site):
    run("--stdout", USER=None, RECIPIENT="someone@example.net")
    assert sent_to(site) == ["--username=someone@example.net"]


def test_settings_that_want_no_user_get_none(run, site):
    text = (site / "pf-spamfilt.toml").read_text()
    (site / "pf-spamfilt.toml").write_text(text.replace("[spamc]\n", '[spamc]\nuser = ""\n'))
    run("--stdout")
    assert sent_to(site) == []


@pytest.mark.parametrize("user", ["joe\nX: y", "joe\tx"])
def test_an_account_with_control_characters_is_no_user(run, site, user):
    run("--stdout", USER=user)
    assert sent_to(site) == []


@pytest.mark.parametrize(
    ("environment", "shown"),
    [
        ({"SENDER": "ann@example.org"}, "from=<ann@example.org>, to=<joe>"),
        ({"SENDER": ""}, "from=<>, to=<joe>"),
        ({"SENDER": "MAILER-DAEMON"}, "from=<>, to=<joe>"),
        ({}, "from=<jane@example.com>, to=<joe>"),
        ({"RECIPIENT": "joe+x@example.net", "EXTENSION": "y"}, "to=<joe+x@example.net>"),
        ({"DOMAIN": "example.net"}, "to=<joe@example.net>"),
        ({"DOMAIN": "example.net", "EXTENSION": "lists"}, "to=<joe+lists@example.net>"),
        ({"USER": None}, "to=<>,"),
    ],
)
@pytest.mark.parametrize("form", ["--stdout", "--pipe-to"])
def test_the_envelope_is_in_the_environment(run, log, form, environment, shown):
    run(form, *(["true"] if form == "--pipe-to" else []), **environment)
    assert shown in log()


@pytest.mark.parametrize(
    ("top", "sender"),
    [
        (b"Return-Path: <ann@example.org>\n", "ann@example.org"),
        (b"Return-Path: <>\n", ""),
        (b"Return-Path: <MAILER-DAEMON>\n", ""),
        (b"From ann@example.org  Mon Nov 23 05:15:16 2026\n", "ann@example.org"),
        (b"From MAILER-DAEMON  Mon Nov 23 05:15:16 2026\n", ""),
        (b"From MAILER-DAEMON@example.org  Mon Nov 23 05:15:16 2026\n", "MAILER-DAEMON@example.org"),
        (b"From ann@example.org Mon Nov 23\nReturn-Path: <>\n", ""),
        (b'From "a b"@example.org  Mon Nov 23 05:15:16 2026\n', '"a b"@example.org'),
        (b'From "a\\" b"@example.org  Mon Nov 23 05:15:16 2026\n', '"a\\" b"@example.org'),
        (b"Received: by x\nReturn-Path: <forged@example.org>\n", ""),
        (b"From : x\n", ""),
        (b"From \n", ""),
        (b'From "a b\n', '"a b'),
        (b"", ""),
    ],
)
def test_a_sender_that_is_not_told_is_on_top_of_the_message(run, log, top, sender):
    run("--stdout", message=top + b"Subject: hi\n\nbody\n")
    assert f": from=<{sender}>, to=" in log()


@pytest.mark.parametrize(
    ("shown", "sender"),
    [
        ("o_brien@example.org", "o'brien@example.org"),
        ("o-brien@example.org", "o-brien@example.org"),
        ("o__brien@example.org", "o__brien@example.org"),
        ("", ""),
    ],
)
def test_a_sender_whom_local_does_not_show_in_full_is_on_top_of_the_message(run, log, shown, sender):
    """A notice would go to somebody else."""
    run("--stdout", message=b"Return-Path: <o'brien@example.org>\nSubject: hi\n\nbody\n", SENDER=shown)
    assert f": from=<{sender}>, to=" in log()


def test_a_sender_who_is_an_argument_is_taken_as_he_is(run, log):
    message = b"Return-Path: <o'brien@example.org>\nSubject: hi\n\nbody\n"
    run("--stdout", "o_brien@example.org", "joe@example.net", message=message)
    assert ": from=<o_brien@example.org>, to=" in log()


def test_a_sender_to_whom_nothing_can_be_sent_is_nobody(pipe_to, settings, site):
    settings(f"{KILL}warn_sender = true\n")
    assert pipe_to(SENDER="a\tb@example.com").status == 0
    assert not (site / "sendmail.queued").exists()


def test_sender_and_recipients_may_be_arguments(run, log):
    assert run("--stdout", "ann@example.org", "a@example.net", "b@example.net", SENDER="x@y").status == 0
    assert "from=<ann@example.org>, to=<a@example.net>,<b@example.net>" in log()


@pytest.mark.parametrize("separator", [(), ("--",)])
@pytest.mark.parametrize("sender", ["", "<>", "-x@example.org"])
def test_any_sender_may_be_an_argument(run, separator, sender):
    assert run("--stdout", *separator, sender, "joe@example.net").status == 0


def test_settings_for_the_recipient_hold(run, settings):
    settings('[[recipients]]\nmatch = ["joe@example.net"]\nsubject_tag = "[SPAM]"\n')
    assert b"Subject: [SPAM] hi" in run("--stdout", RECIPIENT="joe+x@example.net").stdout
    assert b"Subject: hi" in run("--stdout", RECIPIENT="ann@example.net").stdout


def test_settings_for_the_recipient_hold_with_another_delimiter(run, site, log):
    text = '[[recipients]]\nmatch = ["joe@example.net"]\nsubject_tag = "[SPAM]"\n'
    file = site / "pf-spamfilt.toml"
    file.write_text(f'recipient_delimiter = "-+"\n{file.read_text()}{text}')
    assert b"Subject: [SPAM] hi" in run("--stdout", DOMAIN="example.net", EXTENSION="lists").stdout
    assert "to=<joe-lists@example.net>" in log()


def test_without_a_delimiter_there_is_no_extension(run, site, log):
    file = site / "pf-spamfilt.toml"
    file.write_text(f'recipient_delimiter = ""\n{file.read_text()}')
    run("--stdout", DOMAIN="example.net", EXTENSION="lists")
    assert "to=<joe@example.net>" in log()


@pytest.mark.parametrize("form", [("--stdout",), ("--pipe-to", "true")])
def test_a_recipient_with_a_line_break_writes_no_header(run, settings, site, form):
    settings(f'{KILL}quarantine = "mbox:{site}/kept"\n')
    assert run(*form, RECIPIENT="joe\nX-Injected: yes\n\nx").status == 0
    assert b"\nX-Envelope-To: <joe_X-Injected: yes__x>\n" in (site / "kept").read_bytes()


def test_recipients_whose_copies_differ_cannot_share_one(run, settings):
    settings('[[recipients]]\nmatch = ["joe@example.net"]\nsubject_tag = "[SPAM]"\n')
    done = run("--stdout", "jane@example.com", "joe@example.net", "ann@example.net")
    assert (done.status, done.stdout, done.stderr[:6]) == (75, b"", "4.3.5 ")
    assert "name one recipient" in done.stderr


def test_a_message_that_root_released_is_not_scanned(run, site):
    released = (
        b"Received: by mx.example (Postfix, from userid 0)\n\tid 4cDR\nX-Quarantine-Released: x\nSubject: hi\n\ny\n"
    )
    assert run("--stdout", message=released).stdout == released
    assert not (site / "spamc.in").exists()


@pytest.mark.parametrize("form", [("--stdout",), ("--pipe-to", "true")])
def test_there_is_no_mail_loop(run, form):
    """What was reinjected by this account, from a cron job as often as not, is delivered to it."""
    hop = b"Received: by mx.example (Postfix, from userid %d)\n\tid 4cDR; now\n" % os.getuid()
    assert run(*form, message=3 * hop + MESSAGE.partition(b"\n")[2]).status == 0


@pytest.mark.parametrize("form", ["--stdout", "--pipe-to"])
@pytest.mark.parametrize("option", [("--config", "file"), ("--help",), ("-x",)])
def test_options_after_the_form_are_wrong(run, form, option):
    done = run(form, *option)
    assert (done.status, done.stdout) == (75, b"") if form == "--stdout" else done.status == 75
    assert f"4.3.5 usage: pf-spamfilt [--config FILE] {form}" in done.stderr + done.stdout.decode()


@pytest.mark.parametrize("form", ["--stdout", "--pipe-to"])
def test_the_form_stands_first(run, form):
    done = run("--explain", form, "true", "jane@example.com", "joe@example.net")
    assert (done.status, done.stdout, done.stderr[:6]) == (75, b"", "4.3.5 ")
    assert f"{form} stands first, or after --config FILE" in done.stderr


@pytest.mark.parametrize(
    "arguments", [("--stdout", "jane@example.com"), ("--pipe-to",), ("--pipe-to", "--"), ("--pipe-to", "")]
)
def test_wrong_usage_from_a_pipe_defers(run, arguments):
    done = run(*arguments)
    assert (done.status, b"4.3.5 usage: " in done.stdout + done.stderr.encode()) == (75, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("a@b.example", "--stdout"),
        ("a@b.example", "--pipe-to", "cat"),
        ("--config=/etc/x@y.toml", "--stdout"),
        ("--stdout=x",),
    ],
)
def test_a_form_that_is_not_the_first_word_is_no_address(run, site, arguments):
    """Who reads stdout, of which nothing is the message, must not take the status for a success."""
    done = run(*arguments)
    assert (done.status, done.stdout) == (75, b"")
    assert done.stderr.startswith("4.3.5 ")
    assert "stand" in done.stderr or "does not take a value" in done.stderr
    assert not (site / "sendmail.argv").exists()


def test_addresses_of_any_kind_stand_behind_two_hyphens(run, site):
    assert run("--", "a@b.example", "--stdout").status == 0
    assert (site / "sendmail.argv").read_text().split()[-2:] == ["--", "--stdout"]


@pytest.mark.parametrize("arguments", [("--config", ""), ("--config=",)])
def test_an_empty_name_of_the_settings_is_a_deferral(run, site, arguments):
    """As of a variable that is not set."""
    done = run(*arguments, "--pipe-to", "true")
    assert (done.status, done.stdout) == (75, b"")
    assert done.stderr.startswith("4.3.5 --config: the name of the file is empty")


@pytest.mark.parametrize("told", ["", "<>", "MAILER-DAEMON"])
def test_the_null_sender_is_logged_as_nobody(run, log, told):
    assert run("--stdout", SENDER=told, message=b"Subject: hi\n\nbody\n").status == 0
    assert "from=<>" in log()


def test_what_holds_for_everybody_holds_for_an_unknown_recipient(run, settings, log):
    settings('[[recipients]]\nmatch = ["."]\nkill_level = 10\ndestiny = "discard"\n')
    assert run("--pipe-to", "cat", USER=None).status == 0
    assert "action=discarded" in log()


def test_config_names_other_settings(run, site, tmp_path):
    (site / "pf-spamfilt.toml").rename(tmp_path / "other.toml")
    for form in (("--stdout",), ("--pipe-to", "true")):
        assert run("--config", f"{tmp_path}/other.toml", *form).status == 0
        assert run(f"--config={tmp_path}/other.toml", *form).status == 0
        assert run("--config", f"{tmp_path}/none.toml", *form).status == 75


def test_a_file_gets_the_whole_message(run, tmp_path):
    with (tmp_path / "out").open("wb") as out:
        assert run("--stdout", stdout=out).status == 0
    assert (tmp_path / "out").read_bytes() == marked()


def limit_files():
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))


def test_a_file_that_has_no_room_keeps_what_it_had(run, tmp_path):
    """Some blocks of the message are written before the disk is full."""
    before = b"what was here\n" * 700
    (tmp_path / "out").write_bytes(before)
    with (tmp_path / "out").open("ab") as out:
        done = run("--stdout", message=MESSAGE + b"x\n" * 9000, stdout=out, setup=limit_files)
    assert (done.status, done.stderr) == (75, "4.3.1 cannot write to stdout: File too large\n")
    assert (tmp_path / "out").read_bytes() == before


@pytest.fixture
def noticing(make_site, tmp_path):
    """Let spam be told to an administrator by this shell script, which runs after the message is written."""
    text = f'file = "{tmp_path}/log"\n{KILL}admin = "postmaster@example.com"\n'
    return lambda sendmail: make_site(SPAMC, sendmail, text)


@pytest.mark.parametrize("sendmail", ["exit 75", "exit 65", "kill -9 $$", "exit 0"])
def test_a_notice_that_cannot_be_sent_defers_nothing(run, noticing, log, sendmail):
    """The message was handed over: another try would deliver it again, and a user may never be allowed to send."""
    noticing(sendmail)
    done = run("--stdout")
    assert (done.status, done.stdout) == (0, marked())
    assert "no notice to <postmaster@example.com>: sendmail " in log()
    assert run("--pipe-to", "/bin/true").status == 0


def test_a_file_that_is_only_read_is_a_deferral(run, tmp_path):
    (tmp_path / "out").write_bytes(b"what was here\n")
    with (tmp_path / "out").open("rb") as out:
        done = run("--stdout", stdout=out)
    assert (done.status, done.stderr) == (75, "4.3.0 cannot write to stdout: Bad file descriptor\n")


@pytest.fixture
def tampered(command, site, tmp_path):
    """Run `--stdout` into a file, strace(1) tampering with the system calls on a path; return status and stderr."""

    def tampered(path, call, injection, message=MESSAGE):
        (tmp_path / "message").write_bytes(message)
        words = ["strace", "-f", "-qq", "-o", "/dev/null", "-P", path, "-e", f"inject={call}:{injection}"]
        with (tmp_path / "message").open("rb") as stdin, (tmp_path / "out").open("wb") as out:
            environment = {"PATH": "/usr/bin:/bin", "MAIL_CONFIG": str(site)}
            done = subprocess.run(
                [*words, command, "--stdout"], stdin=stdin, stdout=out, stderr=subprocess.PIPE, env=environment
            )
        return done.returncode, done.stderr

    return tampered


def test_a_file_gets_the_message_in_one_piece(tampered, tmp_path):
    """Other filters may write to it at the same time."""
    assert tampered(tmp_path / "out", "write", "error=EIO:when=2", message=MESSAGE + b"x\n" * 9000) == (0, b"")
    assert (tmp_path / "out").read_bytes() == marked(MESSAGE + b"x\n" * 9000)


def test_a_file_for_which_there_was_no_room_in_the_end_is_a_deferral(tampered, tmp_path):
    """NFS says so when the file is closed or synchronized."""
    done = tampered(tmp_path / "out", "fsync", "error=EDQUOT")
    assert done == (75, b"4.3.1 cannot write to stdout: Disk quota exceeded\n")
    assert (tmp_path / "out").read_bytes() == b""


def test_what_others_have_written_to_the_file_stays(tampered, tmp_path):
    """They write while this one waits to hear that there is no room."""
    other = threading.Thread(target=append_when_there_is_something, args=[tmp_path / "out"])
    other.start()
    done = tampered(tmp_path / "out", "fsync", "error=EDQUOT:delay_enter=1000000")
    other.join()
    assert done[0] == 75
    assert (tmp_path / "out").read_bytes().endswith(b"from another\n")


def append_when_there_is_something(file):
    """Be another program that writes to a file that somebody has begun to write to."""
    for _ in range(1000):
        if file.exists() and file.stat().st_size:
            with file.open("ab") as out:
                out.write(b"from another\n")
            return
        time.sleep(0.01)


def test_a_signal_after_the_file_is_written_changes_nothing(tampered, tmp_path):
    """It comes while the log is written."""
    assert tampered(tmp_path / "log", "write", "signal=TERM") == (0, b"")
    assert (tmp_path / "out").read_bytes() == marked()


def test_a_full_disk_is_a_deferral(run):
    with open("/dev/full", "wb") as full:
        done = run("--stdout", stdout=full)
    assert (done.status, done.stderr) == (75, "4.3.1 cannot write to stdout: No space left on device\n")


def test_a_closed_stdout_is_a_deferral(run):
    done = run("--stdout", setup=lambda: os.close(1))
    assert (done.status, done.stderr) == (75, "4.3.0 cannot write to stdout: Bad file descriptor\n")


def test_that_nobody_reads_is_a_deferral(run):
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as out:
        assert run("--stdout", stdout=out).status == 75


@pytest.fixture
def into_pipe(command, site):
    """Start `--stdout` with a large message in a file, and a small pipe as stdout; return process and pipe."""
    started = []

    def into_pipe(deadline=900, blocking=True):
        with (site / "pf-spamfilt.toml").open("a") as file:
            file.write(f"[limits]\ndeadline = {deadline}\n")
        (site / "message").write_bytes(MESSAGE + b"x" * 200_000 + b"\n")
        read, write = os.pipe()
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 8192)
        os.set_blocking(write, blocking)
        with (site / "message").open("rb") as stdin:
            environment = {"PATH": "/usr/bin:/bin", "MAIL_CONFIG": str(site)}
            process = subprocess.Popen(
                [command, "--stdout"], stdin=stdin, stdout=write, stderr=subprocess.PIPE, env=environment
            )
        os.close(write)
        started.append((process, read))
        return process, read

    yield into_pipe
    for process, read in started:
        os.close(read)
        process.communicate()


@pytest.mark.parametrize("blocking", [True, False])
def test_a_slow_reader_gets_all(into_pipe, site, blocking):
    process, read = into_pipe(blocking=blocking)
    found = b""
    while piece := os.read(read, 5000):
        found += piece
        time.sleep(0.005)
    assert process.wait() == 0
    assert found == marked((site / "message").read_bytes())


def test_a_reader_that_stands_still_is_a_deferral(into_pipe):
    process, _ = into_pipe(deadline=2)
    assert process.wait(timeout=30) == 75
    assert process.stderr.read() == b"4.3.0 nobody reads what is written to stdout\n"


def test_a_reader_that_goes_away_is_a_deferral(into_pipe):
    process, read = into_pipe()
    os.read(read, 100)
    os.dup2(os.open("/dev/null", os.O_RDONLY), read)
    assert process.wait(timeout=30) == 75


def test_a_signal_while_it_is_written_is_a_deferral(into_pipe):
    process, read = into_pipe()
    os.read(read, 100)
    process.terminate()
    assert process.wait(timeout=30) == 75


def test_the_command_gets_the_whole_message_as_a_file(pipe_to, site):
    done = pipe_to(f'{TAKE}; stat -Lc %F - >"$MAIL_CONFIG/kind"', "a b", "", "$(x)")
    assert (done.status, done.stdout) == (0, b"spam 15.3/5.0, tagged; 1 piped\n")
    assert (site / "taken").read_bytes() == marked()
    assert (site / "words").read_text() == "a b\n\n$(x)\n"
    assert (site / "kind").read_text() == "regular file\n"


def test_the_command_has_the_environment_that_was_here(pipe_to, site):
    pipe_to('env >"$MAIL_CONFIG/env"', EXTENSION="lists", SENDER="ann@example.org")
    words = (site / "env").read_text().split()
    assert {"EXTENSION=lists", "SENDER=ann@example.org", "USER=joe"} <= set(words)


def test_the_command_has_the_variables_that_were_here(run, site):
    """Those that a script would use too: procmail exports all that a .procmailrc sets."""
    names = ("status", "what", "again", "filter", "file", "bin", "python", "main", "version", "code")
    given = {name: f"the caller's {name}" for name in names}
    assert run("--pipe-to", "sh", "-c", 'env >"$MAIL_CONFIG/env"', **given).status == 0
    assert {f"{name}={value}" for name, value in given.items()} <= set((site / "env").read_text().splitlines())


def test_the_command_has_the_files_that_were_open_here(command, site):
    script = 'exec 3>"$MAIL_CONFIG/three" 5>"$MAIL_CONFIG/five"; "$0" --pipe-to sh -c "echo a >&3; echo b >&5"'
    environment = {"PATH": "/usr/bin:/bin", "MAIL_CONFIG": str(site)}
    done = subprocess.run(["sh", "-c", script, command], input=MESSAGE, env=environment, stdout=subprocess.DEVNULL)
    assert (done.returncode, (site / "three").read_text(), (site / "five").read_text()) == (0, "a\n", "b\n")


def test_a_signal_before_the_filter_runs_is_for_nobody_else(command, site, tmp_path):
    """A variable of our caller's may have the name of one of the launcher's."""
    victim = subprocess.Popen(["sleep", "60"])
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "readlink").write_text('#!/bin/sh\nkill -TERM "$PPID"\nexec /bin/readlink "$@"\n')
    (tmp_path / "bin" / "readlink").chmod(0o755)
    (tmp_path / "link").symlink_to(command)
    names = {"filter": str(victim.pid), "_filter": str(victim.pid)}
    environment = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin", "MAIL_CONFIG": str(site)} | names
    subprocess.run([tmp_path / "link", "--stdout"], input=MESSAGE, env=environment, stdout=subprocess.DEVNULL)
    assert victim.poll() is None
    victim.kill()
    victim.wait()


@pytest.mark.parametrize(
    ("given", "locale"), [({}, set()), ({"LANG": "C"}, set()), ({"LC_CTYPE": "POSIX"}, {"LC_CTYPE=POSIX"})]
)
def test_the_command_has_the_locale_that_was_here(run, site, given, locale):
    """The interpreter would give it another: sed(1) and grep(1) take mail for bytes only where the locale is C."""
    assert run("--pipe-to", "sh", "-c", 'cat "/proc/$$/environ" >"$MAIL_CONFIG/env"', **given).status == 0
    words = (site / "env").read_text().split("\0")
    assert {word for word in words if word.startswith("LC_")} == locale


def test_the_command_is_found_in_the_path(run, site, log):
    assert run("--pipe-to", "true").status == 0
    assert run("--pipe-to", "--", "true").status == 0
    assert "action=piped" in log()


@pytest.mark.parametrize("status", range(64, 79))
def test_a_status_that_postfix_knows_is_returned(pipe_to, status):
    done = pipe_to(f"cat >/dev/null; echo no such thing; exit {status}")
    assert done.status == status
    assert f"exited with status {status}: no such thing" in done.stdout.decode()
    assert done.stdout.startswith(b"4." if status in (71, 75) else b"5.")


@pytest.mark.parametrize("status", [1, 2, 63, 79, 126, 127, 128, 255])
def test_a_status_that_postfix_does_not_know_is_75(pipe_to, log, status):
    done = pipe_to(f"cat >/dev/null; exit {status}")
    assert (done.status, done.stdout[:6]) == (75, b"4.3.0 ")
    assert "action=deferred" in log()


def test_words_of_the_command_do_not_decide(pipe_to):
    done = pipe_to("echo 5.1.1 no such user; exit 75")
    assert (done.status, done.stdout[:6]) == (75, b"4.3.0 ")


@pytest.mark.parametrize("status", [1, 64, 67, 73, 75, 77])
@pytest.mark.parametrize("said", ["4.2.2 mailbox full", "4.2.2\n", "4.2.2"])
def test_words_of_the_command_can_defer(pipe_to, status, said):
    """As they do in local(8)."""
    done = pipe_to(f"printf '{said}'; exit {status}")
    assert (done.status, done.stdout[:6]) == (75, b"4.2.2 ")


def test_words_to_dev_stderr_do_not_take_away_the_first(pipe_to):
    done = pipe_to("echo 4.2.2 mailbox full; echo giving up >/dev/stderr; exit 73")
    assert (done.status, done.stdout) == (75, done.stdout)
    assert done.stdout.endswith(b"4.2.2 mailbox full giving up\n")


@pytest.mark.parametrize("said", ["4.2 full", "4.2.2222 full", "4.x.2 full", "mailbox full 4.2.2", "2.0.0 well"])
def test_other_words_of_the_command_change_nothing(pipe_to, said):
    done = pipe_to(f"echo {said}; exit 73")
    assert (done.status, done.stdout[:6]) == (73, b"5.2.0 ")


def test_words_of_the_command_can_say_why_it_bounces(pipe_to):
    done = pipe_to("echo 5.7.26 forged; exit 77")
    assert (done.status, done.stdout[:7]) == (77, b"5.7.26 ")


@pytest.mark.parametrize(("status", "action"), [(67, "rejected"), (71, "deferred"), (75, "deferred")])
def test_the_log_says_what_the_status_means(pipe_to, log, status, action):
    pipe_to(f"exit {status}")
    assert f"action={action}" in log()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGPIPE])
def test_a_command_that_dies_of_a_signal_is_a_deferral(pipe_to, number):
    done = pipe_to(f"kill -{number} $$")
    assert (done.status, f"killed by signal {number}" in done.stdout.decode()) == (75, True)


@pytest.mark.parametrize("name", ["/no/such/agent", "no-such-agent", "/etc/passwd", "/tmp"])
def test_a_command_that_cannot_run_is_a_deferral(run, name):
    done = run("--pipe-to", name)
    assert done.status == 75
    assert done.stdout.startswith(f"4.3.0 cannot run {name}: ".encode())


def test_a_command_that_writes_galore_and_ends_well_has_the_message(pipe_to):
    assert pipe_to("cat >/dev/null; head -c 500000 /dev/zero").status == 0


def test_a_command_that_writes_without_end_is_a_deferral(pipe_to):
    done = pipe_to("cat >/dev/null; exec cat /dev/zero")
    assert (done.status, "wrote without end" in done.stdout.decode()) == (75, True)


def test_what_the_command_leaves_in_the_background_can_still_say_something(pipe_to, site):
    """Nobody to read it would kill it, and it may be what delivers."""
    delivered = '(sleep 0.5; echo delivering >&2; mv "$MAIL_CONFIG/taken" "$MAIL_CONFIG/delivered")'
    assert pipe_to(f"{TAKE}; {delivered} & exit 0").status == 0
    assert (site / "delivered").read_bytes() == marked()


def test_a_command_that_has_become_another_account_can_open_its_stderr(pipe_to, site):
    script = "setpriv --reuid=65534 --clear-groups sh -c 'echo gone >/dev/stderr'; exit 75"
    assert pipe_to(script).stdout.endswith(b"exited with status 75: gone\n")


def test_a_command_need_not_read_to_the_end(pipe_to):
    """vacation(1) reads the header."""
    assert pipe_to("head -n 1 >/dev/null; exec <&-; exit 0").status == 0


def test_a_command_that_takes_too_long_is_ended(pipe_to, settings, site):
    settings("[limits]\ndeadline = 2\n")
    done = pipe_to('echo $$ >"$MAIL_CONFIG/pid"; exec sleep 60')
    assert (done.status, "took too long" in done.stdout.decode()) == (75, True)
    assert not os.path.exists(f"/proc/{(site / 'pid').read_text().strip()}")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file setuid root")
def test_a_command_that_has_become_another_account_takes_too_long(command):
    """We may not end it then."""
    with TemporaryDirectory(dir="/var/tmp") as name:
        setuid = Path(name, "setpriv")
        shutil.copy(shutil.which("setpriv"), setuid)
        Path(name).chmod(0o755)
        setuid.chmod(0o4755)
        settings = Path(name, "settings")
        settings.write_text("limits.deadline = 2\npolicy.bypass = true\nlog.syslog = false\n")
        done = subprocess.run(
            [command, "--config", settings, "--pipe-to", setuid, "--reuid=0", "--", "sleep", "5"],
            input=MESSAGE, capture_output=True, user=65534, group=65534, extra_groups=[], cwd="/", env={},
        )  # fmt: skip
    assert done.returncode == 75
    assert done.stdout.decode() == f"4.3.0 {setuid} took too long\n"


def test_a_signal_does_not_end_the_filter_before_the_command(command, site):
    """It is known then what became of the message."""
    (site / "agent").write_text('#!/bin/sh\ncat >/dev/null; : >"$MAIL_CONFIG/begun"; sleep 1\n')
    (site / "agent").chmod(0o755)
    environment = {"PATH": "/usr/bin:/bin", "MAIL_CONFIG": str(site)}
    words = [command, "--pipe-to", site / "agent"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
        process.stdin.write(MESSAGE)
        process.stdin.close()
        while not (site / "begun").exists():
            time.sleep(0.01)
        process.terminate()
        assert process.wait() == 0


def test_what_is_discarded_ends_with_0_and_is_not_piped(pipe_to, settings, site):
    settings(f'{KILL}destiny = "discard"\n')
    done = pipe_to()
    assert (done.status, done.stdout) == (0, b"spam 15.3/5.0; 1 discarded\n")
    assert not (site / "taken").exists()


def test_what_is_bounced_ends_with_69_and_is_not_piped(pipe_to, settings, site):
    settings(f'{KILL}destiny = "bounce"\n')
    done = pipe_to(SENDER="jane@example.com")
    assert (done.status, done.stdout) == (69, b"5.7.1 the message looks like spam (score 15.3, 10.0 required)\n")
    assert not (site / "taken").exists()
    assert not (site / "sendmail.queued").exists()


NO_SENDER = b"Received: by x\nSubject: hi\n\nbody\n"


@pytest.mark.parametrize(
    ("message", "environment", "status"),
    [
        (NO_SENDER, {}, 69),
        (NO_SENDER, {"SENDER": "a\tx@example.com"}, 69),
        (NO_SENDER, {"SENDER": ""}, 0),
        (NO_SENDER, {"SENDER": "MAILER-DAEMON"}, 0),
        (b"Return-Path: <>\n" + NO_SENDER, {}, 0),
        (b"From MAILER-DAEMON  Mon Nov 23 05:15:16 2026\n" + NO_SENDER, {}, 0),
        (b"List-Id: x\n" + NO_SENDER, {}, 0),
    ],
)
def test_what_is_to_be_bounced_is_discarded_only_if_its_sender_is_known_to_be_nobody(
    pipe_to, settings, message, environment, status
):
    """The caller writes the bounce, and knows to whom."""
    settings(f'{KILL}destiny = "bounce"\n')
    assert pipe_to(message=message, **environment).status == status


def test_what_is_quarantined_is_not_piped(pipe_to, settings, site):
    settings(f'{KILL}destiny = "discard"\nquarantine = "mbox:{site}/kept"\n')
    done = pipe_to()
    assert (done.status, done.stdout) == (0, b"spam 15.3/5.0; 1 quarantined\n")
    assert not (site / "taken").exists()
    assert b"X-Envelope-To: <joe>" in (site / "kept").read_bytes()


def test_what_is_put_off_is_not_kept(pipe_to, settings, site):
    settings(f'{KILL}quarantine = "mbox:{site}/kept"\n')
    assert pipe_to("exit 75").status == 75
    assert (site / "kept").read_bytes() == b""


def test_the_scan_fails_before_the_command_is_started(pipe_to, site):
    (site / "spamc.status").write_text("74")
    assert pipe_to().status == 75
    assert not (site / "taken").exists()


@pytest.mark.parametrize("form", [("--stdout",), ("--pipe-to", "true")])
def test_a_message_is_cut_if_who_feeds_it_is_gone(command, site, form, log):
    """Its shell dies while it writes: nothing is done with what came."""
    environment = {"PATH": "/usr/bin:/bin", "MAIL_CONFIG": str(site)}
    script = (
        '"$0" "$@" <"$MAIL_CONFIG/fifo" & exec 3>"$MAIL_CONFIG/fifo"; echo "Subject: hi" >&3; sleep 0.5; kill -9 $$'
    )
    os.mkfifo(site / "fifo")
    words = ["/bin/sh", "-c", script, command, *form]
    subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environment)
    assert "the process that feeds this filter, or reads its output, is gone" in log()
    assert not (site / "spamc.in").exists()


# As local(8) starts a command; it dies when the filter has read what there is so far.
LOCAL = """
import array, fcntl, os, signal, sys, termios, time
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    os.dup2(read, 0)
    os.close(write)
    os.execv("/bin/sh", ["sh", "-c", *sys.argv[1:]])
os.write(write, b"Subject: hi\\n\\nhalf of it")
unread = array.array("i", [1])
while unread[0]:
    time.sleep(0.01)
    fcntl.ioctl(read, termios.FIONREAD, unread)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize(
    "script",
    [
        '"$0" --pipe-to true >/dev/null 2>&1 || exit 75',
        '("$0" --stdout >"$MAIL_CONFIG/out" 2>/dev/null && true) || exit 75',
        'sh -c "$0 --pipe-to true >/dev/null; :"; :',
    ],
)
def test_a_message_is_cut_if_who_feeds_the_shells_between_is_gone(command, site, log, script):
    """As local(8) is, by a crash; they cannot tell."""
    environment = {"PATH": "/usr/bin:/bin", "MAIL_CONFIG": str(site)}
    subprocess.run([sys.executable, "-c", LOCAL, script, command], env=environment, stdin=subprocess.DEVNULL)
    assert wait_until((site / "log").exists, 10)
    assert "the process that feeds this filter, or reads its output, is gone" in log()
    assert not (site / "spamc.in").exists()


def test_what_is_between_the_feeder_and_the_filter_may_end(command, site, log):
    """As procmail does before its clone, and a shell before a job in the background: the message is whole."""
    (site / "message").write_bytes(MESSAGE)
    (site / "clone").write_text(f'{{ cat "$MAIL_CONFIG/message"; sleep 1; }} | {command} --pipe-to true; :\n')
    (site / "between").write_text('sh "$MAIL_CONFIG/clone" & sleep 0.5\n')
    (site / "leader").write_text('sh "$MAIL_CONFIG/between"; sleep 2\n')
    environment = {"PATH": "/usr/bin:/bin", "MAIL_CONFIG": str(site)}
    subprocess.run(["sh", site / "leader"], env=environment, start_new_session=True)
    assert "action=piped" in log()


@pytest.mark.parametrize("form", ["--stdout", "--pipe-to"])
def test_wrong_usage_at_a_terminal_is_status_64(command, form):
    master, slave = pty.openpty()
    words = [command, form, *(["jane@example.com"] if form == "--stdout" else [])]
    done = subprocess.run(words, stdin=slave, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env={})
    os.close(master)
    os.close(slave)
    assert (done.returncode, done.stdout[:7]) == (64, b"usage: ")
