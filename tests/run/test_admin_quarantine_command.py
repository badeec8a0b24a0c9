"""pf-spamfilt-admin quarantine, installed, where sendmail and spamc fail: a message goes only when it has arrived.

Root's stores belong to another account, as those of the filter do. With real servers see tests/postfix.
"""

import json
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from lab.tools import wait_until

KINDS = ("maildir", "dir", "mbox")
OWNER = 65534
# Keeps argv and message, then does what the test says.
SENDMAIL = """
printf '%s\\n' "$@" > "$MAIL_CONFIG/argv"
cat > "$MAIL_CONFIG/message"
"""
SPAMC = """
printf '%s\\n' "$@" >> "$MAIL_CONFIG/argv"
case " $* " in *" -K "*) exit 0 ;; esac
cat > "$MAIL_CONFIG/message"
"""
ORIGINAL = (
    b"From: a@sender.example\nSubject: \x1b[31mred\nDate: x\n\nFrom here\n>From there\n\x9b31m\xc2\x9b31m\x00%d\n"
)
ENVELOPE = (
    b"X-Envelope-From: <a@sender.example>\nX-Quarantine-User: jane\n"
    b"X-Envelope-To: <jane@example.com>,\n\t<joe@example.com>\n"
)
MARKS = b"X-Spam-Status: Yes, score=%d.5 required=5.0 tests=A\n"


@pytest.fixture
def place():
    """A folder in which the store is, of its owner."""
    folder = Path(tempfile.mkdtemp(prefix="pf-spamfilt-test-"))
    os.chown(folder, OWNER, OWNER)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def site(make_site, place):
    """A site whose quarantine is a store of a kind, with three messages: id0-00000000, id1-00000001 ..."""

    def site(kind="dir", sendmail="", spamc="", count=3):
        folder = make_site(SPAMC + spamc, SENDMAIL + sendmail, f'[policy]\nquarantine = "{kind}:{place}/store"\n')
        for name in ("main.cf", "master.cf"):
            (folder / name).touch()
            os.utime(folder / name, (0, 0))  # Postfix waits until one is more than a second old
        fill(kind, place / "store", [kept(number) for number in range(count)])
        for path in (*place.rglob("*"), place):
            os.chown(path, OWNER, OWNER)
        return folder

    return site


def identifier(number):
    return f"id{number}-0000000{number}"


def kept(number):
    name = identifier(number).encode()
    return b"X-Quarantine-ID: <%b>\n%b%b" % (name, ENVELOPE, MARKS % (10 * number)) + ORIGINAL % number


def fill(kind, store, messages):
    """Put messages into a store as the filter does."""
    if kind == "mbox":
        entries = (re.sub(rb"(?m)^(>*From )", rb">\1", message) for message in messages)
        store.write_bytes(b"".join(b"From MAILER-DAEMON Mon Nov 23 03:49:12 2020\n%b\n" % entry for entry in entries))
        return
    folder = store / "new" if kind == "maildir" else store
    folder.mkdir(parents=True)
    for number, message in enumerate(messages):
        (folder / f"a-file-of-{number}").write_bytes(message)
        os.utime(folder / f"a-file-of-{number}", (time.time() - 3 + number,) * 2)


@pytest.fixture
def admin(command):
    """Run `pf-spamfilt-admin quarantine` for a site."""

    def admin(folder, *words, **options):
        options.setdefault("stdin", subprocess.DEVNULL)
        argv = [command.with_name("pf-spamfilt-admin"), "-c", folder, "quarantine", *words]
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        return subprocess.run(argv, env=environment, capture_output=True, timeout=60, check=False, **options)

    admin.command = command.with_name("pf-spamfilt-admin")
    return admin


def listed(admin, folder):
    done = admin(folder, "list", "--json")
    assert done.returncode == 0, done.stderr
    return [each["id"] for each in json.loads(done.stdout)]


def lines(file):
    return file.read_bytes().splitlines()


ALL = [identifier(number) for number in range(3)]


@pytest.mark.parametrize("kind", KINDS)
def test_released_message_is_the_original_marked(admin, site, kind):
    folder = site(kind)
    done = admin(folder, "release", ALL[1])
    assert done.returncode == 0, done.stderr
    assert (folder / "message").read_bytes() == b"X-Quarantine-Released: <id1-00000001>\n" + ORIGINAL % 1


@pytest.mark.parametrize("kind", KINDS)
def test_released_message_leaves_the_store(admin, site, kind):
    folder = site(kind)
    admin(folder, "release", ALL[1])
    assert listed(admin, folder) == [ALL[0], ALL[2]]


def test_release_has_the_original_envelope(admin, site):
    folder = site()
    admin(folder, "release", ALL[1])
    assert lines(folder / "argv") == [b"-i", b"-f", b"a@sender.example", b"--", b"jane@example.com", b"joe@example.com"]


def test_release_to_another_keeps_the_sender(admin, site):
    folder = site()
    admin(folder, "release", "--to", "me@example.com", ALL[1])
    assert lines(folder / "argv") == [b"-i", b"-f", b"a@sender.example", b"--", b"me@example.com"]


@pytest.mark.parametrize(
    "address",
    ["", "<>", "joe@example.com, jane@example.com", "Joe <joe@example.com>", "joe@", "a b@example.com", "a b"],
)
def test_release_to_what_is_not_one_address_is_wrong_usage(admin, site, address):
    """Of an empty one sendmail makes MAILER-DAEMON, of a list one local part."""
    folder = site()
    done = admin(folder, "release", "--to", address, ALL[1])
    assert done.returncode == 64
    assert b"is not one address" in done.stderr
    assert listed(admin, folder) == ALL


@pytest.mark.parametrize("address", ["joe", "<joe@example.com>", '"a b"@example.com', "jäne@example.com"])
def test_release_to_an_address_in_any_form(admin, site, address):
    folder = site()
    assert admin(folder, "release", "--to", address, ALL[1]).returncode == 0
    assert lines(folder / "argv")[-1] == address.strip("<>").encode()


def test_release_to_several(admin, site):
    folder = site()
    admin(folder, "release", "--to", "joe@example.com", "--to", "jim@example.com", ALL[1])
    assert lines(folder / "argv")[-2:] == [b"joe@example.com", b"jim@example.com"]


def test_what_sendmail_warns_of_is_told(admin, site):
    """As when Postfix is down: the message waits in maildrop."""
    folder = site(sendmail="echo 'postdrop: warning: unable to look up public/pickup' >&2")
    done = admin(folder, "release", ALL[1])
    assert done.returncode == 0
    assert (
        done.stderr == b"id1-00000001: sendmail took it, and said: postdrop: warning: unable to look up public/pickup\n"
    )


def test_release_of_which_nobody_reads_delivers_nothing_twice(admin, site):
    """As with `| head`: what was delivered is removed, and what is kept was not delivered."""
    folder = site(sendmail='echo x >> "$MAIL_CONFIG/calls"')
    read_end, write_end = os.pipe()
    os.close(read_end)
    argv = [admin.command, "-c", folder, "quarantine", "release", "--yes", *ALL]
    subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=write_end, stderr=subprocess.DEVNULL, timeout=60, check=False)
    os.close(write_end)
    assert len(lines(folder / "calls")) + len(listed(admin, folder)) == len(ALL)


def test_store_with_two_spellings_is_one(admin, site, place):
    folder = site()
    with (folder / "pf-spamfilt.toml").open("a") as file:
        file.write(f'[[recipients]]\nmatch = ["."]\nquarantine = "dir:{place}//store/"\n')
    assert listed(admin, folder) == ALL
    assert admin(folder, "expire", "--days", "0").returncode == 0


def test_file_that_cannot_be_read_is_told_with_its_remedy(admin, site, place):
    folder = site()
    os.chmod(place / "store" / "a-file-of-1", 0)
    done = admin(folder, "list")
    assert done.returncode == 1
    remedy = "run this as root" if os.geteuid() else "chown"
    assert f"Error: dir:{place}/store: 1 file cannot be read: {remedy}" in done.stderr.decode()


def test_store_that_is_a_symbolic_link_is_told_of(admin, site, place):
    os.symlink("store", place / "link")
    done = admin(site(), "list", "--store", f"dir:{place}/link")
    assert done.returncode == 1
    assert b"is a symbolic link or no folder: name the folder itself" in done.stderr


def test_message_that_is_too_large_hinders_no_other(admin, site, place):
    """The filter's account can make a file of any size, which takes no room."""
    folder = site()
    os.truncate(place / "store" / "a-file-of-0", 1 << 40)
    limit = 1 << 30, 1 << 30
    done = admin(folder, "release", ALL[0], ALL[1], preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, limit))
    assert done.returncode == 1
    assert b"Error: id0-00000000: is too large" in done.stderr
    assert sorted(listed(admin, folder)) == [ALL[0], ALL[2]]


def test_error_has_nothing_that_acts_on_a_terminal(admin, site, place):
    folder = site()
    file = place / "store" / "a-file-of-1"
    file.write_bytes(file.read_bytes().replace(b"<a@sender.example>", b"<a@sender\x1b[31m.example>"))
    done = admin(folder, "release", ALL[1])
    assert done.returncode == 1
    assert b"a@sender?[31m.example" in done.stderr


def test_release_can_keep_the_message(admin, site):
    folder = site()
    admin(folder, "release", "--keep", ALL[1])
    assert listed(admin, folder) == ALL


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["exit 1", "exit 65", "exit 69", "exit 75", "kill -9 $$", "kill -15 $$"])
def test_message_that_sendmail_does_not_take_stays(admin, site, kind, end):
    folder = site(kind, sendmail=f"echo 'no such thing'\n{end}")
    done = admin(folder, "release", ALL[1])
    assert done.returncode == 1
    assert b"no such thing" in done.stderr
    assert listed(admin, folder) == ALL


def test_message_that_sendmail_does_not_read_stays(admin, site):
    folder = site()
    (folder / "sendmail").write_text("#!/bin/sh\nexit 0\n")
    done = admin(folder, "release", ALL[1])
    assert done.returncode == 1
    assert b"did not read the whole message" in done.stderr
    assert listed(admin, folder) == ALL


def test_sendmail_that_is_not_there_is_named(admin, site):
    folder = site()
    (folder / "sendmail").unlink()
    assert (
        f"cannot run {folder}/sendmail: No such file or directory" in admin(folder, "release", ALL[1]).stderr.decode()
    )
    assert listed(admin, folder) == ALL


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_release_that_is_stopped_loses_nothing(command, admin, site, number):
    folder = site(sendmail='touch "$MAIL_CONFIG/started"\nsleep 30')
    argv = [command.with_name("pf-spamfilt-admin"), "-c", folder, "quarantine", "release", ALL[1]]
    with subprocess.Popen(
        argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    ) as running:
        assert wait_until((folder / "started").exists, 20)
        running.send_signal(number)
        assert running.wait(20) != 0
        os.killpg(running.pid, signal.SIGKILL)  # what sendmail was doing
    assert listed(admin, folder) == ALL


def test_others_are_released_when_one_fails(admin, site):
    folder = site(sendmail='grep -q "<id1-" "$MAIL_CONFIG/message" && exit 75')
    # The last command's status is the script's: grep finds nothing.
    (folder / "sendmail").write_text((folder / "sendmail").read_text() + "\nexit 0\n")
    assert admin(folder, "release", *ALL).returncode == 1
    assert listed(admin, folder) == [ALL[1]]


@pytest.mark.parametrize("verb", [("release",), ("delete",), ("learn", "ham")])
def test_id_that_is_not_there_hinders_no_other(admin, site, verb):
    folder = site()
    done = admin(folder, *verb, "other-00000000", ALL[1])
    assert done.returncode == 1
    assert b"Error: other-00000000: not in dir:" in done.stderr
    assert ALL[1].encode() in done.stdout or verb == ("delete",)


@pytest.mark.parametrize("verb", [("release",), ("delete",), ("learn", "ham")])
def test_nothing_is_done_to_all_messages_unasked(admin, site, verb):
    folder = site()
    done = admin(folder, *verb)
    assert done.returncode == 64
    assert b"give ids, or a filter" in done.stderr
    assert listed(admin, folder) == ALL


@pytest.mark.parametrize("verb", ["release", "delete"])
def test_dry_run_changes_nothing(admin, site, verb):
    folder = site()
    done = admin(folder, verb, "--dry-run", "--score-min", "10")
    assert f"would {verb}: 2 messages".encode() in done.stdout
    assert ALL[1].encode() in done.stdout
    assert listed(admin, folder) == ALL
    assert not (folder / "argv").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("filters", "left"),
    [
        (["--score-min", "10.5"], [0]),
        (["--score-max", "10.5"], [2]),
        (["--sender", "sender.example"], []),
        (["--sender", "other.example"], [0, 1, 2]),
        (["--recipient", "joe@example.com"], []),
        (["--recipient", "/^JANE@/", "--score-min", "20"], [0, 1]),
        (["--since", "2100-01-01"], [0, 1, 2]),
        (["--until", "2100-01-01"], []),
        (["--until", "2100-01-01", ALL[0], ALL[1]], [2]),
        (["--score-min", "20", ALL[0]], [0, 1, 2]),
    ],
)
def test_filters_select(admin, site, kind, filters, left):
    folder = site(kind)
    assert admin(folder, "delete", *filters).returncode == 0
    assert listed(admin, folder) == [ALL[number] for number in left]


@pytest.mark.parametrize(
    ("option", "value"),
    [("--since", "soon"), ("--sender", "hash:/etc/x"), ("--sender", "*@x"), ("--store", "dir"), ("--store", "x@y.z")],
)
def test_wrong_filter_is_wrong_usage(admin, site, option, value):
    assert admin(site(), "list", option, value).returncode == 64


@pytest.mark.parametrize(("answer", "left"), [(b"n\n", ALL), (b"y\n", [])])
def test_person_is_asked_before_several_are_deleted(admin, site, answer, left):
    folder = site()
    controller, terminal = pty.openpty()
    os.write(controller, answer)
    done = admin(folder, "delete", "--score-min", "0", stdin=terminal)
    assert b"Delete 3 messages?" in done.stderr
    assert listed(admin, folder) == left


def test_with_yes_nobody_is_asked(admin, site):
    folder = site()
    _, terminal = pty.openpty()
    assert admin(folder, "delete", "--yes", "--score-min", "0", stdin=terminal).returncode == 0
    assert listed(admin, folder) == []


@pytest.mark.parametrize("words", [["list"], ["list", "--json"], ["show", ALL[1]], ["delete", "--dry-run", *ALL]])
def test_nothing_of_a_sender_reaches_the_terminal_raw(admin, site, words):
    text = admin(site(), *words).stdout.decode()
    assert "[31mred" in text
    assert all(char.isprintable() or char == "\n" for char in text)


@pytest.mark.parametrize("kind", KINDS)
def test_raw_is_the_original_byte_for_byte(admin, site, kind):
    assert admin(site(kind), "show", "--raw", ALL[1]).stdout == ORIGINAL % 1


def test_json_tells_all(admin, site, place):
    (entry,) = json.loads(admin(site(), "list", "--json", ALL[1]).stdout)
    moment = entry.pop("time")
    assert abs(time.mktime(time.strptime(moment[:19], "%Y-%m-%dT%H:%M:%S")) - time.time()) < 600
    assert entry == {
        "id": ALL[1],
        "score": 10.5,
        "required": "5.0",
        "tests": ["A"],
        "size": len(ORIGINAL % 1),
        "sender": "a@sender.example",
        "recipients": ["jane@example.com", "joe@example.com"],
        "user": "jane",
        "subject": "?[31mred",
        "store": f"dir:{place}/store",
        "path": f"{place}/store/a-file-of-1",
    }


def test_without_settings_a_store_is_to_be_named(admin, site, place):
    """As after setup --remove, which leaves the mail where it is."""
    folder = site()
    (folder / "pf-spamfilt.toml").unlink()
    done = admin(folder, "list")
    said = f"Error: {folder}/pf-spamfilt.toml does not exist: name a store with --store;"
    assert (done.returncode, done.stderr.decode().startswith(said)) == (1, True)
    assert b"id0-00000000" in admin(folder, "list", "--store", f"dir:{place}/store").stdout


@pytest.mark.parametrize("kind", KINDS)
def test_expire_removes_what_is_older(admin, site, kind):
    folder = site(kind)
    assert admin(folder, "expire", "--days", "36500").stdout == b""
    assert listed(admin, folder) == ALL
    dry_run = admin(folder, "expire", "--days", "0", "--dry-run").stdout
    assert dry_run.startswith(b"would expire: 3 messages, ")
    assert listed(admin, folder) == ALL
    assert admin(folder, "expire", "--days", "0").stdout == dry_run.replace(b"would expire", b"expired")
    assert listed(admin, folder) == []


def test_expire_leaves_what_is_no_kept_message(admin, site, place):
    folder = site()
    other = place / "store" / "other"
    other.write_bytes(b"From: a@sender.example\n\nhello\n")
    os.utime(other, (0, 0))
    admin(folder, "expire", "--days", "0")
    assert other.exists()


def test_expire_counts_temporary_files(admin, site, place):
    folder = site(count=0)
    (place / "store" / ".4cDR2f5x-0123abcd").touch()
    os.utime(place / "store" / ".4cDR2f5x-0123abcd", (0, 0))
    assert admin(folder, "expire", "--days", "1").stdout == b"expired: 0 messages, 0B, 1 temporary file\n"


def test_store_that_is_not_made_yet_is_empty(admin, site, place):
    folder = site()
    shutil.rmtree(place / "store")
    done = admin(folder, "expire", "--days", "1")
    assert (done.returncode, done.stderr) == (0, b"")


def test_store_that_is_named_must_be_there(admin, site):
    done = admin(site(), "list", "--store", "maildir:/nonexistent/store")
    assert done.returncode == 1
    assert b"maildir:/nonexistent/store: No such file or directory" in done.stderr


def test_settings_without_a_store_say_what_to_do(admin, make_site):
    folder = make_site(SPAMC, SENDMAIL, '[policy]\nquarantine = "spam@example.com"\n')
    done = admin(folder, "list")
    assert done.returncode == 1
    assert b"--store" in done.stderr


def test_message_is_learned_for_its_user(admin, site):
    folder = site(spamc="echo Message successfully un/learned")
    done = admin(folder, "learn", "ham", ALL[1])
    assert done.stdout == b"learned as ham: id1-00000001 for jane\n"
    argv = lines(folder / "argv")
    assert argv[argv.index(b"-L") + 1] == b"ham"
    assert b"--username=jane" in argv
    assert (folder / "message").read_bytes() == ORIGINAL % 1


def test_message_that_was_learned_before_is_told(admin, site):
    done = admin(site(spamc="echo Message was already un/learned"), "learn", "spam", ALL[1])
    assert done.returncode == 0
    assert b"nothing new in id1-00000001" in done.stdout


def test_spamd_that_does_not_learn_is_named(admin, site):
    """All that spamc says is that the connection was lost."""
    done = admin(site(spamc="exit 74"), "learn", "spam", ALL[1])
    assert done.returncode == 1
    assert b"--allow-tell" in done.stderr


def test_spamd_that_is_down_is_named(admin, site):
    done = admin(site(spamc="exit 69"), "learn", "spam", ALL[1])
    assert done.returncode == 1
    assert b"Error: id1-00000001: spamc cannot connect to spamd" in done.stderr


def test_learned_message_stays(admin, site):
    folder = site()
    admin(folder, "learn", "spam", ALL[1])
    assert listed(admin, folder) == ALL
