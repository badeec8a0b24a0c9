"""pf-spamfilt-admin policy, run by root beside a real Postfix: what holds for addresses, and who says so."""

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from policies import PLACE, named
from proving import JANE, SAM, Host, for_recipients, moved, scoring

from lab.tools import ENVIRONMENT, PROJECT, run

FILE = "/etc/postfix/pf-spamfilt.toml"
SENDER = "jim@block.example"
STRANGER = "ann@stranger.example"
JOE = "joe+lists@example.com"
POLICY = (
    """
[policy]
kill_level = 10
quarantine = "${user}+spam@example.com"
block_senders = ["block.example", "a.example", "b.example", "c.example", "d.example", "x.example"]

[[senders]]
match = ["block.example"]
admin = "postmaster@block.example"
"""
    + for_recipients(JANE, 'kill_level = "never"\nwelcome_senders = ["stranger.example"]')
    + for_recipients("sam@example.com", "bypass = true")
)

LIST = "['a.example', 'b.example', 'block.example', 'c.example', 'd.example'] and 1 more, from [policy]"


class Told(dict[str, dict[str, str]]):
    """The rows for each recipient, and those of the settings."""

    def __init__(self, text: str) -> None:
        for line in text.splitlines():
            if not line.startswith(" "):
                rows = self.setdefault(line.removeprefix("Recipient "), {})
            elif line.startswith("   "):
                name, said = rows.popitem()
                rows[name] = f"{said} {line.strip()}"
            else:
                name, _, said = line.strip().partition("  ")
                rows[name] = said.strip()


def ask(host: Host, *arguments: str, **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run the command as root."""
    admin = Path(host.command).with_name("pf-spamfilt-admin")
    return subprocess.run(  # type: ignore[no-any-return,call-overload]
        [admin, "policy", *arguments],
        env=ENVIRONMENT, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, **options,
    )  # fmt: skip


def told(host: Host, *arguments: str) -> Told:
    """Return what the command prints for people."""
    done = ask(host, *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return Told(done.stdout)


def in_json(host: Host, *arguments: str) -> Any:
    """Return what the command prints for programs."""
    done = ask(host, "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


@pytest.fixture
def tables(mailhost: Host) -> Path:
    """The example's table of recipients, in use."""
    folder = Path(PLACE)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    folder.chmod(0o755)
    for name in ("recipients", "welcome"):
        (folder / name).write_bytes((PROJECT / "examples/policy" / name).read_bytes())
        run(["postmap", named(f"hash:{name}")])
    mailhost.configured(f'[tables]\nrecipients = ["{named("hash:recipients")}"]\n{POLICY}')
    return folder


def test_every_key_that_something_sets_is_shown_with_its_source(mailhost: Host) -> None:
    """That a block sets the default is shown, too: it hides what [policy] says."""
    mailhost.configured(POLICY)
    assert told(mailhost, SENDER, JANE)[JANE] == {
        "kill_level": "'never', from [[recipients]] 1",
        "quarantine": "'${user}+spam@example.com', from [policy]",
        "welcome_senders": "['stranger.example'], from [[recipients]] 1",
        "block_senders": LIST,
        "admin": "'postmaster@block.example', from [[senders]] 1",
        "kept in": "jane+spam@example.com",
        "sender": "is on the block list of [policy]",
        "spamd user": JANE,
    }


def test_all_shows_the_defaults_too(mailhost: Host) -> None:
    mailhost.configured(POLICY)
    found = told(mailhost, "--all", SENDER, JANE)[JANE]
    assert found["tag2_level"] == "'required', from default"
    assert found["warn_sender"] == "false, from default"
    assert found["admin"] == "'postmaster@block.example', from [[senders]] 1"


def test_root_asks_as_the_account_in_master_cf(mailhost: Host) -> None:
    assert told(mailhost, SENDER, JANE)["Settings"] == {"file": FILE, "asked as": "spamfilt"}


def test_without_such_an_account_root_asks_and_says_so(mailhost: Host) -> None:
    master = mailhost.postfix.configuration / "master.cf"
    before = master.read_text()
    master.write_text(before.replace("user=spamfilt", "user=nosuchaccount"))
    try:
        done = ask(mailhost, SENDER, JANE)
    finally:
        master.write_text(before)
    assert "asked as root: the filter's account may not be able to read all" in done.stderr
    assert Told(done.stdout)["Settings"]["asked as"] == "root"


def test_settings_that_the_filter_may_not_read_are_an_error(mailhost: Host) -> None:
    os.chmod(FILE, 0o600)
    try:
        done = ask(mailhost, SENDER, JANE)
    finally:
        os.chmod(FILE, 0o644)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: {FILE}: Permission denied\nThis was asked as spamfilt.\n"


def test_wrong_settings_are_an_error(mailhost: Host) -> None:
    mailhost.configured("[policy]\nkil_level = 5\n")
    done = ask(mailhost, SENDER, JANE)
    assert done.returncode == 1
    assert f'{FILE}: [policy] kil_level: there is no such key; did you mean "kill_level"?' in done.stderr


def test_what_a_table_says_is_shown_with_table_and_key(mailhost: Host, tables: Path) -> None:
    found = told(mailhost, SENDER, JANE)[JANE]
    (line,) = [line for line in (tables / "recipients").read_text().splitlines() if line.startswith(JANE)]
    level = line.partition("tag2_level=")[2].split()[0]
    assert found["tag2_level"] == f"{float(level)}, from {named('hash:recipients')}, key {JANE}"


def test_table_that_the_filter_may_not_read_is_an_error_though_root_could(mailhost: Host, tables: Path) -> None:
    (tables / "recipients.db").chmod(0o600)
    done = ask(mailhost, SENDER, JANE)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"Error: table {named('hash:recipients')}: postmap exited with status 1")
    assert "Permission denied" in done.stderr
    assert done.stderr.endswith("\nThis was asked as spamfilt.\n")


def test_sender_is_known_by_envelope_and_from(mailhost: Host) -> None:
    mailhost.configured(POLICY)
    assert told(mailhost, "bounce@mailer.example", JANE)[JANE]["sender"] == "is on no list"
    found = told(mailhost, "--from", f"Ann <{STRANGER}>", "bounce@mailer.example", JANE)[JANE]
    assert found["sender"] == "is on the welcome list of [[recipients]] 1"


def test_from_needs_an_address(mailhost: Host) -> None:
    done = ask(mailhost, "--from", "Ann", SENDER, JANE)
    assert done.returncode == 64
    assert "--from: is no address" in done.stderr


@pytest.mark.parametrize("null", ["", "<>", "MAILER-DAEMON"])
def test_null_sender_is_on_a_list_by_its_pattern(mailhost: Host, null: str) -> None:
    mailhost.configured('[policy]\nblock_senders = ["<>"]\n')
    assert told(mailhost, null, JANE)[JANE]["sender"] == "is on the block list of [policy]"


@pytest.mark.parametrize(
    ("recipients", "per_recipient", "users"),
    [
        ([JOE], False, [JOE]),
        ([JOE, JANE], False, ["none: the preferences of the filter's account"] * 2),
        ([JOE, JANE], True, [JOE, JANE]),
        ([SAM], False, ["not scanned: bypass"]),
    ],
)
def test_name_for_spamd_is_the_one_of_a_scan(
    mailhost: Host, recipients: Sequence[str], per_recipient: bool, users: list[str]
) -> None:
    mailhost.configured(f"per_recipient = {str(per_recipient).lower()}\n{POLICY}")
    found = told(mailhost, STRANGER, *recipients)
    assert [found[recipient]["spamd user"] for recipient in recipients] == users


def test_quarantine_is_shown_as_it_will_be(mailhost: Host) -> None:
    mailhost.configured(POLICY)
    assert told(mailhost, SENDER, JOE)[JOE]["kept in"] == "joe+spam@example.com"


def test_json_has_every_key_and_whole_lists(mailhost: Host) -> None:
    mailhost.configured(POLICY)
    found = in_json(mailhost, SENDER, JANE, SAM)
    assert (found["settings"], found["account"]) == (FILE, "spamfilt")
    jane, sam = found["recipients"]
    assert jane["policy"]["kill_level"] == {"value": "never", "source": "[[recipients]] 1"}
    assert jane["policy"]["tag2_level"] == {"value": "required", "source": "default"}
    assert len(jane["policy"]["block_senders"]["value"]) == 6
    assert jane["sender"] == {"list": "block", "source": "[policy]"}
    assert (jane["recipient"], jane["quarantine"], jane["spamd_user"]) == (JANE, "jane+spam@example.com", "")
    assert (sam["recipient"], sam["policy"]["bypass"]["value"], sam["spamd_user"]) == (SAM, True, None)


def test_json_without_a_settings_file_says_null(mailhost: Host) -> None:
    with moved(Path(FILE)):
        found = in_json(mailhost, SENDER, JANE)
    assert found["settings"] is None
    assert {each["source"] for each in found["recipients"][0]["policy"].values()} == {"default"}


@pytest.mark.parametrize("option", ["--all", "--json"])
def test_address_of_any_bytes_is_no_error(mailhost: Host, option: str) -> None:
    mailhost.configured(POLICY)
    done = ask(mailhost, option, "a\udcff@example.com", "b\udcfe@example.com", errors="replace")
    assert (done.returncode, done.stderr) == (0, "")


def test_another_settings_file_can_be_tried(mailhost: Host) -> None:
    other = mailhost.directory / "other.toml"
    other.write_text("[policy]\nkill_level = 7\n")
    admin = Path(mailhost.command).with_name("pf-spamfilt-admin")
    said = run([admin, "--config", other, "policy", SENDER, JANE])
    assert Told(said)[JANE]["kill_level"] == "7, from [policy]"


def test_policy_says_what_explain_says(mailhost: Host, tables: Path) -> None:
    """The same keys from the same sources, for a message with these addresses."""
    found = told(mailhost, STRANGER, JANE)[JANE]
    message = b"From: " + STRANGER.encode() + b"\n" + scoring(4)
    done = mailhost.as_filter([mailhost.command, "--explain", STRANGER, JANE], input=message)
    explained = Told(done.stdout.decode())[JANE]
    assert {key: value.replace(f" in {FILE}", "") for key, value in explained.items() if key != "decision"} == {
        key: value for key, value in found.items() if key not in ("kept in", "spamd user")
    }
