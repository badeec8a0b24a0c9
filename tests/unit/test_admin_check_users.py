"""Which files of local delivery name the filter, and what check makes of them."""

import os
import pwd
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pf_spamfilt.admin.account import Account
from pf_spamfilt.admin.checks import homes, transport, users
from pf_spamfilt.admin.checks.delivery import Hook
from pf_spamfilt.admin.checks.findings import ERROR, OK, WARNING
from pf_spamfilt.admin.checks.instance import Instance
from pf_spamfilt.admin.site import Site, Transport

FORWARD = '"|/usr/local/bin/pf-spamfilt --pipe-to /usr/bin/procmail -t"\n'
TRANSPORT = Transport("spamcheck", "10", {}, ["/usr/local/bin/pf-spamfilt"])
PROCMAIL = Hook("main.cf: mailbox_command", ["/a/pf-spamfilt", "--pipe-to", "/usr/bin/procmail", "-t"])


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The home of the only account; no file for all users is there."""
    monkeypatch.setattr(users, "SHARED", (f"{tmp_path}/procmailrc",))
    monkeypatch.setattr(pwd, "getpwall", lambda: [account(f"{tmp_path}/home/jane"), account("/"), account("")])
    folder = tmp_path / "home" / "jane"
    folder.mkdir(parents=True)
    return folder


def account(home, uid=None):
    uid = os.geteuid() if uid is None else uid
    return pwd.struct_passwd(("jane", "x", uid, uid, "", home, "/bin/sh"))


def postfix(*transports, **main):
    return Instance("/etc/postfix", [], main, list(transports), Account(89, 89), 90)


def bad(found):
    return [(each.severity, each.id) for each in found if each.severity != OK]


@pytest.mark.parametrize("name", [".procmailrc", ".mailfilter", ".forward"])
def test_files_in_homes_are_found(home, name):
    (home / name).write_text(FORWARD)
    assert users.naming("") == [f"{home}/{name}"]


def test_file_for_all_users_is_found(home):
    (home.parents[1] / "procmailrc").write_text(":0fw\n| pf-spamfilt --stdout\n")
    assert users.naming("") == [f"{home.parents[1]}/procmailrc"]


def test_aliases_are_found_by_the_table_that_main_cf_names(home, tmp_path):
    (tmp_path / "aliases").write_text("jane: " + FORWARD)
    assert users.naming(f"hash:{tmp_path}/aliases, nis:mail.aliases") == [f"{tmp_path}/aliases"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# | /usr/bin/pf-spamfilt --stdout\n",
        "  #| pf-spamfilt\n",
        "LOGFILE=/var/log/pf-spamfilt.log\n",
        "| /opt/my-pf-spamfilt --stdout\n",
        "| pf-spamfilt-admin report\n",
        "| pf-spamfilt2\n",
    ],
)
def test_comments_and_other_names_do_not_count(home, text):
    (home / ".procmailrc").write_text(text)
    assert users.naming("") == []


def test_file_of_empty_lines_takes_no_time(home):
    (home / ".procmailrc").write_text("\n" * 1_000_000 + "| pf-spamfilt --stdout\n")
    assert users.naming("") == [f"{home}/.procmailrc"]


def test_what_is_no_file_is_not_waited_for(home):
    os.mkfifo(home / ".forward")
    (home / ".procmailrc").mkdir()
    (home / ".mailfilter").symlink_to("/dev/zero")
    assert users.naming("") == []


@pytest.mark.parametrize("kind", ["nfs4", "autofs", "cifs", "fuse.sshfs"])
def test_homes_on_other_hosts_are_left_alone(home, tmp_path, monkeypatch, kind):
    """A server that is down would hold up the check for ever."""
    (home / ".forward").write_text(FORWARD)
    (tmp_path / "mounts").write_text(f"server:/ {home.parent} {kind} rw 0 0\nserver:/ / nfs rw 0 0\n")
    monkeypatch.setattr(homes, "MOUNTS", f"{tmp_path}/mounts")
    assert users.naming("") == []


def test_homes_that_are_mounted_here_on_demand_are_looked_at(home, tmp_path, monkeypatch):
    """As systemd does it: what was mounted last on a folder is what is there."""
    (home / ".forward").write_text(FORWARD)
    mounts = f"server:/ /srv nfs4 rw 0 0\nsystemd-1 {home.parent} autofs rw 0 0\n/dev/sda3 {home.parent} ext4 rw 0 0\n"
    (tmp_path / "mounts").write_text(mounts)
    monkeypatch.setattr(homes, "MOUNTS", f"{tmp_path}/mounts")
    assert users.naming("") == [f"{home}/.forward"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can read what a user cannot")
def test_files_of_a_user_are_read_as_that_user(home, tmp_path, monkeypatch):
    """Some files in /proc are regular ones, and lose what root reads of them."""
    with TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        secret = Path(name, "secret")
        secret.write_text(FORWARD)
        secret.chmod(0o600)
        Path(name, ".forward").symlink_to(secret)
        Path(name, ".mailfilter").symlink_to("/proc/kmsg")
        Path(name, ".procmailrc").write_text(FORWARD)
        monkeypatch.setattr(pwd, "getpwall", lambda: [account(str(home)), account(name, uid=12345)])
        assert users.naming("") == [f"{name}/.procmailrc"]
        monkeypatch.setattr(pwd, "getpwall", lambda: [account(name, uid=12345), account(str(home))])
        (home / ".forward").symlink_to(secret)
        assert users.naming("") == [f"{name}/.procmailrc", f"{home}/.forward"]


def test_homes_are_looked_at_for_a_while_only(home, monkeypatch):
    """Whatever one of them has the check wait for; what was found before is told."""
    (home / ".procmailrc").write_text(FORWARD)
    names_it = users._names_it
    monkeypatch.setattr(users, "_names_it", lambda file: time.sleep(60) if ".forward" in file else names_it(file))
    monkeypatch.setattr(homes, "PATIENCE", 1)
    started = time.monotonic()
    assert users.naming("") == [f"{home}/.procmailrc"]
    assert time.monotonic() - started < 30


def test_such_a_file_alone_is_fine():
    command = "procmail -t"
    (found,) = users.look(["/home/jane/.procmailrc", "/home/sam/.forward"], postfix(mailbox_command=command), None)
    assert (found.severity, found.id) == (OK, "delivery")
    assert found.text.startswith("/home/jane/.procmailrc and 1 other file: ")


READ = {
    "mailbox_command": "/usr/bin/procmail -t",
    "transport_maps": "hash:/x",
    "fallback_transport": "procmail",
    "fallback_transport_maps": "hash:/x",
    "mailbox_command_maps": "hash:/x",
    "mailbox_transport_maps": "hash:/x",
    "mailbox_transport": "procmail:",
    "virtual_transport": "procmail",
}


@pytest.mark.parametrize(("name", "value"), READ.items())
def test_file_that_its_program_reads_is_fine(name, value):
    assert bad(users.look(["/etc/procmailrc"], postfix(**{name: value}), None)) == []


@pytest.mark.parametrize(
    "main",
    [
        {"mailbox_command": "/usr/local/bin/deliver-it"},
        {"mailbox_transport": "md"},
        {"local_transport": "md:x"},
    ],
)
def test_file_is_not_said_to_be_unread_where_it_cannot_be_known(main):
    assert bad(users.look(["/home/jane/.procmailrc"], postfix(**main), None)) == []


@pytest.mark.parametrize(
    ("main", "expected"),
    [
        ({}, [(WARNING, "delivery-unread")]),
        ({"mailbox_command": "procmail -t"}, [(WARNING, "delivery-unread")]),
        ({"mailbox_command": "/usr/lib/dovecot/dovecot-lda"}, []),
        ({"mailbox_transport": "lmtp:unix:private/dovecot-lmtp"}, []),
        ({"virtual_transport": "lmtp:unix:private/dovecot-lmtp"}, []),
    ],
)
def test_link_for_sieve_counts_where_dovecot_may_deliver(main, expected):
    found = list(users.look(["/etc/dovecot/sieve-filter/pf-spamfilt"], postfix(**main), None))
    assert bad(found) == expected
    assert all("dovecot" in each.text for each in found)


@pytest.mark.parametrize(
    ("main", "files", "where"),
    [
        ({}, ["/home/jane/.forward"], "/home/jane/.forward"),
        ({"mailbox_transport": "lmtp:unix:x"}, ["/etc/aliases"], "/etc/aliases"),
        ({"mailbox_command": "procmail"}, ["/etc/procmailrc", "/a/.procmailrc"], "/etc/procmailrc and 1 other file"),
        ({}, ["/etc/procmailrc"], None),
        ({"local_transport": "lmtp:unix:x"}, ["/home/jane/.forward"], None),
        ({"mailbox_transport": "maildrop"}, ["/etc/maildroprc"], None),
        ({"mailbox_transport": "lmtp:x"}, ["/etc/dovecot/sieve-filter/pf-spamfilt"], None),
    ],
)
def test_what_local_reads_runs_as_each_recipient(main, files, where):
    """Dovecot and transports have accounts of their own, who may keep mail."""
    runner = users.runner(files, postfix(**main), "/usr/bin/pf-spamfilt")
    assert (runner and (runner.where, runner.user)) == (where and (where, "nobody"))


@pytest.mark.parametrize(
    "main",
    [
        {"mailbox_command": "/usr/bin/procmail -t", "mailbox_transport": "lmtp:unix:private/dovecot-lmtp"},
        {"mailbox_command": "/usr/bin/procmail -t", "local_transport": "lmtp:unix:private/dovecot-lmtp"},
        {"mailbox_transport": "lmtp:unix:private/dovecot-lmtp"},
        {"local_transport": "error:no local mail"},
    ],
)
def test_file_of_a_program_before_which_something_else_delivers_is_not_read(home, main):
    (found,) = users.look([f"{home}/.procmailrc"], postfix(**main), None)
    assert (found.severity, found.id) == (WARNING, "delivery-unread")
    assert found.remedy == "Filter by a transport: pf-spamfilt-admin setup --apply"


def test_forward_is_not_read_where_local_does_not_deliver(home):
    file = f"{home}/.forward"
    assert bad(users.look([file], postfix(mailbox_transport="lmtp:unix:x"), None)) == []
    assert bad(users.look([file], postfix(local_transport="lmtp:unix:x"), None)) == [(WARNING, "delivery-unread")]


@pytest.mark.parametrize("value", ["", "/usr/bin/maildrop -d $USER"])
def test_file_that_nothing_reads_filters_nothing(home, value):
    instance = postfix(mailbox_command=value)
    (found,) = users.look([f"{home}/.procmailrc"], instance, None)
    assert (found.severity, found.id) == (WARNING, "delivery-unread")
    assert "mailbox_command = procmail -t" in found.remedy
    assert list(users.look([f"{home}/.procmailrc"], instance._replace(transports=[TRANSPORT]), None)) == []
    (home / ".forward").write_text('"|/usr/bin/procmail -t"\n')
    assert bad(users.look([f"{home}/.procmailrc"], instance, None)) == []


def test_transport_beside_such_a_file_scans_twice():
    assert bad(users.look(["/home/jane/.forward"], postfix(TRANSPORT), None)) == [(WARNING, "delivery-twice")]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("/home/jane/.procmailrc", [(WARNING, "delivery-twice")]),
        ("/etc/procmailrc", [(WARNING, "delivery-twice")]),
        ("/home/jane/.mailfilter", []),
        ("/home/jane/.forward", []),
    ],
)
def test_mailbox_command_scans_twice_what_its_program_reads(file, expected):
    """What is in ~/.forward is done instead of it."""
    assert bad(users.look([file], postfix(), PROCMAIL)) == expected


@pytest.mark.parametrize(("mode", "expected"), [(0o666, [(WARNING, "delivery-mode")]), (0o644, []), (0o600, [])])
def test_file_that_everybody_may_write_is_not_read(home, mode, expected):
    """Procmail and local(8) ignore it, for maildrop mail waits."""
    (home / ".procmailrc").write_text(FORWARD)
    (home / ".procmailrc").chmod(mode)
    assert bad(users.about_modes([f"{home}/.procmailrc"])) == expected


def test_link_for_sieve_behind_the_filter_scans_twice():
    hook = PROCMAIL._replace(argv=["/a/pf-spamfilt", "--pipe-to", "/usr/lib/dovecot/dovecot-lda"])
    found = users.look(["/etc/dovecot/sieve-filter/pf-spamfilt"], postfix(), hook)
    assert bad(found) == [(WARNING, "delivery-twice")]


def test_without_any_both_ways_are_named():
    (found,) = transport.look(postfix(), Site("/etc/postfix"))
    assert (found.severity, found.id) == (ERROR, "transport")
    assert "pf-spamfilt-admin setup --apply" in found.remedy
    assert "no .procmailrc, .mailfilter or .forward that could be read names it" in found.remedy
