"""The forms of the installed command, and its statuses: for a person at a terminal, and from a pipe."""

import subprocess

import pytest
from terminal import at_terminal

from pf_spamfilt import __version__

MESSAGE = b"Received: by mx.example (Postfix) id 4cDR2f5x\nX-Spam-Flag: NO\nSubject: hi\n\nbody\n"
SPAMC = """
printf 'X-Spam-Status: Yes, score=15.3 required=5.0\\n\\ttests=GTUBE,OTHER autolearn=no\\n'
cat
exit 1
"""
SENDMAIL = """
printf '%s\\n' "$@" > "$MAIL_CONFIG/argv"
cat > "$MAIL_CONFIG/queued"
"""


@pytest.fixture
def site(make_site, tmp_path):
    """A configuration directory whose settings name a spamc that finds spam and a sendmail that takes it."""
    return make_site(SPAMC, SENDMAIL, f'file = "{tmp_path}/log"\n')


@pytest.fixture
def run(command, site):
    """Run the command with arguments, a message in a pipe."""

    def run(*arguments, message=MESSAGE, **environment):
        done = subprocess.run(
            [command, *arguments],
            input=message,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"PATH": "/usr/bin:/bin", "MAIL_CONFIG": str(site)} | environment,
        )
        return done.returncode, done.stdout.decode()

    return run


@pytest.mark.parametrize("separator", [(), ("--",)])
def test_a_message_is_scanned_and_given_to_sendmail_with_its_envelope(run, site, separator):
    status, said = run(*separator, "jane@example.com", "joe@example.net", "-x@example.net")
    assert (status, said) == (0, "spam 15.3/5.0, tagged; 2 reinjected\n")
    assert (site / "argv").read_text().split() == [
        *("-i", "-f", "jane@example.com"),
        *("--", "joe@example.net", "-x@example.net"),
    ]
    assert (site / "queued").read_bytes().endswith(MESSAGE.replace(b"X-Spam-Flag: NO\n", b""))
    assert (
        "4cDR2f5x: from=<jane@example.com>, to=<joe@example.net>,<-x@example.net>, size=" in (site / "log").read_text()
    )


@pytest.mark.parametrize(
    "sender", ["--help@example.com", "--config=/x@example.com", "-h@example.com", "--@example.com"]
)
def test_a_sender_is_never_an_option(run, site, sender):
    assert run(sender, "joe@example.net")[0] == 0
    assert sender in (site / "argv").read_text().split()


@pytest.mark.parametrize(
    "arguments", [(), ("jane@example.com",), ("--",), ("--", "jane@example.com"), ("--nonsense",), ("-x", "a@b", "c@d")]
)
def test_wrong_usage_from_a_pipe_defers_and_queues_nothing(run, site, arguments):
    status, said = run(*arguments)
    assert status == 75
    assert said.startswith("4.3.5 ")
    assert "--help" in said
    assert not (site / "queued").exists()


@pytest.mark.parametrize("arguments", [(), ("jane@example.com",), ("--nonsense",)])
def test_wrong_usage_at_a_terminal_is_status_64_and_shows_usage(command, arguments):
    status, screen = at_terminal(command, *arguments)
    assert status == 64
    assert "usage: pf-spamfilt" in screen.lower().replace("pf_spamfilt", "pf-spamfilt")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_teaches(run, option):
    status, said = run(option)
    assert status == 0
    for word in ("SENDER", "RECIPIENT", "--explain", "--config FILE", "Exit status", "Examples", "man pf-spamfilt"):
        assert word in said


@pytest.mark.parametrize("option", ["-h", "--help", "--version"])
def test_help_with_addresses_is_no_success(run, option):
    """In master.cf it would lose all mail, as would a sender of that name."""
    status, said = run(option, "joe@example.net")
    assert (status, said[:6]) == (75, "4.3.5 ")


@pytest.mark.parametrize("arguments", [("--version",), ("--help",), ("--explain",)])
def test_that_nobody_reads_is_no_crash(command, site, arguments):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([command, *arguments], input=MESSAGE, stdout=full, stderr=subprocess.PIPE, env={})
    assert done.returncode == 75
    assert b"Traceback" not in done.stderr


def test_version_is_the_packages(run):
    assert run("--version") == (0, f"pf-spamfilt {__version__}\n")


def test_config_names_other_settings(run, site, tmp_path):
    (site / "pf-spamfilt.toml").rename(tmp_path / "other.toml")
    assert run("--config", f"{tmp_path}/other.toml", "-jane@example.com", "joe@example.net")[0] == 0
    assert run(f"--config={tmp_path}/other.toml", "--", "jane@example.com", "joe@example.net")[0] == 0
    assert run("--explain", "--config", f"{tmp_path}/other.toml", "-jane@example.com", "joe@example.net")[0] == 0
    status, said = run("--config", f"{tmp_path}/none.toml", "jane@example.com", "joe@example.net")
    assert (status, said) == (75, f"4.3.5 {tmp_path}/none.toml: No such file or directory\n")


def test_wrong_settings_defer_and_name_file_and_key(run, site):
    (site / "pf-spamfilt.toml").write_text("[spamc]\ntimout = 3\n")
    status, said = run("jane@example.com", "joe@example.net")
    assert status == 75
    assert said.startswith(
        f'4.3.5 {site}/pf-spamfilt.toml: [spamc] timout: there is no such key; did you mean "timeout"?'
    )


def test_explain_tells_all_and_delivers_nothing(run, site):
    status, said = run("--explain", "<>", "joe@example.net")
    text = " ".join(said.split())
    assert status == 0
    for fact in (
        f"file {site}/pf-spamfilt.toml",
        "sender <> (the null sender)",
        "recipient joe@example.net",
        "queue id 4cDR2f5x",
        f"asked {site}/spamc -x -E -s ",
        "--username=joe@example.net",
        "exited with status 1",
        "verdict spam score 15.3 required 5.0 tests GTUBE, OTHER",
        "- X-Spam-Flag: NO + X-Spam-Status: Yes, score=15.3 required=5.0 tests=GTUBE,OTHER autolearn=no",
        f"run {site}/sendmail -i -f '' -- joe@example.net",
        "status 0",
        "log spam 15.3/5.0, tagged; 1 reinjected",
    ):
        assert fact in text
    assert not (site / "queued").exists()
    assert not (site / "log").exists()


def test_explain_without_addresses_asks_without_a_user(run):
    status, said = run("--explain")
    assert status == 0
    assert "--username" not in said


def test_explain_tells_what_a_failed_scan_would_do(run, site):
    (site / "spamc").write_text("#!/bin/sh\nexit 69\n")
    status, said = run("--explain", "jane@example.com", "joe@example.net")
    assert status == 75
    assert "75: Postfix tries again later" in said
    assert "4.4.1 spamc cannot connect to spamd" in said


def test_a_status_65_of_sendmail_and_no_other_is_a_bounce(run, site):
    for number in (1, 64, 65, 66, 69, 75, 77, 127):
        (site / "sendmail").write_text(f"#!/bin/sh\ncat >/dev/null\necho '5.1.1 user unknown'\nexit {number}\n")
        status, said = run("jane@example.com", "joe@example.net")
        assert status == (65 if number == 65 else 75)
        code = "5.6.0" if number == 65 else "4.3.0"
        assert said == f"{code} sendmail exited with status {number}: 5.1.1 user unknown\n"


def test_mail_config_and_the_environment_reach_sendmail(run, site):
    (site / "sendmail").write_text('#!/bin/sh\nenv > "$MAIL_CONFIG/environment"\ncat >/dev/null\n')
    assert run("jane@example.com", "joe@example.net", EXTRA="spaces and\nlines")[0] == 0
    environment = (site / "environment").read_text()
    assert f"MAIL_CONFIG={site}\n" in environment
    assert "EXTRA=spaces and\nlines\n" in environment


@pytest.mark.parametrize("on_failure", ["defer", "pass"])
def test_a_failed_scan_is_what_on_failure_says(run, site, on_failure):
    (site / "spamc").write_text("#!/bin/sh\nexit 69\n")
    text = (site / "pf-spamfilt.toml").read_text()
    (site / "pf-spamfilt.toml").write_text(text.replace("[spamc]", f'[spamc]\non_failure = "{on_failure}"'))
    status, said = run("jane@example.com", "joe@example.net")
    if on_failure == "defer":
        assert (status, said) == (75, "4.4.1 spamc cannot connect to spamd\n")
        assert not (site / "queued").exists()
    else:
        assert (status, said) == (0, "not scanned (spamc cannot connect to spamd); 1 reinjected\n")
        mark = b"X-Spam-Unscanned: spamc cannot connect to spamd\n"
        assert (site / "queued").read_bytes() == mark + MESSAGE.replace(b"X-Spam-Flag: NO\n", b"")


def test_servers_are_asked_until_one_answers(run, site):
    (site / "spamc").write_text(
        '#!/bin/sh\necho "$*" >> "$MAIL_CONFIG/asked"\ncase "$*" in *"-d third "*) ;; *) exit 69;; esac\n' + SPAMC
    )
    text = (site / "pf-spamfilt.toml").read_text()
    servers = 'servers = ["/run/first", "[2001:db8::1]:1783", "third", "fourth"]'
    (site / "pf-spamfilt.toml").write_text(text.replace("[spamc]", f"[spamc]\n{servers}"))
    assert run("jane@example.com", "joe@example.net")[0] == 0
    asked = (site / "asked").read_text().splitlines()
    assert [line.partition("-n 10 ")[2] for line in asked] == [
        "-U /run/first --username=joe@example.net",
        "-d 2001:db8::1 -p 1783 --username=joe@example.net",
        "-d third --username=joe@example.net",
    ]


def test_random_order_asks_every_server_and_not_always_in_the_same_order(run, site):
    (site / "spamc").write_text('#!/bin/sh\necho "$*" >> "$MAIL_CONFIG/asked"\nexit 69\n')
    text = (site / "pf-spamfilt.toml").read_text()
    (site / "pf-spamfilt.toml").write_text(
        text.replace("[spamc]", '[spamc]\norder = "random"\nservers = ["a", "b", "c", "d"]')
    )
    orders = set()
    for _ in range(8):
        (site / "asked").write_text("")
        assert run("jane@example.com", "joe@example.net")[0] == 75
        order = tuple(line.partition("-d ")[2][0] for line in (site / "asked").read_text().splitlines())
        assert sorted(order) == ["a", "b", "c", "d"]
        orders.add(order)
    assert len(orders) > 1
