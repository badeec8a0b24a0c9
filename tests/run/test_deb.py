"""make deb: what the package holds, and that it installs, filters, upgrades and is removed in a clean root.

The roots are the distribution's own, with its real Postfix and spamd, which the package has brought along.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from lab import cleanroot
from lab.tools import PROJECT, LabError, run
from pf_spamfilt import __version__

DOCUMENTS = "/usr/share/doc/pf-spamfilt"
LIBRARY = "/usr/lib/python3/dist-packages/pf_spamfilt"
STORE = "/var/spool/pf-spamfilt"
PLACES = (
    "/usr/bin/pf-spamfilt", "/usr/bin/pf-spamfilt-admin", LIBRARY, f"{LIBRARY}-{__version__}.dist-info",
    "/usr/lib/sysusers.d/pf-spamfilt.conf", "/usr/lib/tmpfiles.d/pf-spamfilt.conf", DOCUMENTS,
    "/usr/share/man/man1/pf-spamfilt.1.gz", "/usr/share/man/man5/pf-spamfilt.toml.5.gz",
    "/usr/share/man/man8/pf-spamfilt-admin.8.gz", "/usr/share/lintian/overrides/pf-spamfilt",
)  # fmt: skip
APT = "apt-get install -y --no-install-recommends /root/pf-spamfilt.deb spamd"
# The lists are as old as the clean root: what they name may be gone from the mirror by now.
INSTALL = f"{APT} || {{ apt-get update && {APT}; }}"
START = """\
spamd --daemonize --local --username=debian-spamd --pidfile=/run/spamd.pid --syslog=/var/log/spamd.log
postfix start
"""
SEND = """\
cat >/root/send.py <<'END'
import smtplib, sys
with smtplib.SMTP("127.0.0.1") as client, open(sys.argv[1], "rb") as message:
    client.sendmail("a@example.com", ["jane@clean.example"], message.read())
END
send() { python3 /root/send.py "/root/$1.eml"; }
# wait_for COMMAND...: until it succeeds
wait_for() { for _ in $(seq 300); do "$@" && return; sleep 0.1; done; cat /var/log/mail.log; exit 1; }
in_log() { grep -q "$1" /var/log/mail.log; }
"""
FILTER = f"""\
postconf -e maillog_file=/var/log/mail.log inet_protocols=ipv4 myhostname=clean.example mydestination=clean.example
useradd --create-home jane
pf-spamfilt-admin setup --quarantine dir:{STORE} --apply
"""
EMPTY = ": >/var/mail/jane\n"
ARRIVED = "wait_for test -s /var/mail/jane"
HOOK = 'mailbox_command = pf-spamfilt --pipe-to procmail -a "$EXTENSION"'


@pytest.fixture(scope="module")
def place():
    """A folder for the package and the roots."""
    with tempfile.TemporaryDirectory(prefix="pf-spamfilt-roots-", dir="/var/tmp") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def package(place):
    """The package, as `make deb` builds it."""
    subprocess.run(["make", "-s", "-C", PROJECT, "deb", f"DIST={place}/dist"], check=True)
    (built,) = (place / "dist").iterdir()
    return built


@pytest.fixture(scope="module")
def installed(place, package):
    """A clean root in which apt has installed the package and spamd; nothing else of ours was done."""
    root = cleanroot.base().copy(place / "installed")
    shutil.copy(package, root.path / "root/pf-spamfilt.deb")
    for message in (PROJECT / "tests/messages").iterdir():
        shutil.copy(message, root.path / "root")
    root.run(INSTALL, network=True)
    yield root
    root.discard()


@pytest.fixture(scope="module")
def filtering(place, installed):
    """The same after setup --apply, and after a clean message and a spam message by SMTP."""
    root = installed.copy(place / "filtering")
    root.run(
        f"set -e\n{SEND}{FILTER}{START}send clean; send gtube; {ARRIVED}; wait_for in_log 'quarantined'; postfix stop"
    )
    yield root
    root.discard()


@pytest.fixture
def root(place, filtering):
    """A copy of the host that filters, for one test."""
    copy = filtering.copy(place / "copy")
    yield copy
    copy.discard()


def contents(root, path):
    return (root.path / path.lstrip("/")).read_text()


def fields(package):
    """Return the control fields of a package, by name."""
    return dict(re.findall(r"^(\S+): (.*)", run(["dpkg-deb", "--field", package]), re.MULTILINE))


def held(package):
    """Return mode and owner of what a package holds, by path."""
    listed = [line.split() for line in run(["dpkg-deb", "--contents", package]).splitlines()]
    return {path.removeprefix("."): (mode, owner) for mode, owner, _, _, _, path in listed}


def test_the_version_is_that_of_the_program(package):
    assert fields(package)["Version"] == __version__


def test_it_needs_python_and_spamc_and_a_mail_system_and_recommends_spamd(package):
    found = fields(package)
    needed = set(found["Depends"].split(", "))
    assert {"postfix | mail-transport-agent", "spamc", "python3-click", "python3-jinja2"} <= needed
    assert any(re.fullmatch(r"python3(:any)? \(>= 3\.11~?\)", each) for each in needed)
    assert found["Recommends"] == "spamd"


def test_it_holds_nothing_outside_its_places(package):
    files = [path for path, (mode, _) in held(package).items() if not mode.startswith("d")]
    assert [path for path in files if not path.startswith(PLACES)] == []


def test_everything_belongs_to_root_and_only_the_commands_are_programs(package):
    found = held(package)
    assert {owner for _, owner in found.values()} == {"root/root"}
    assert {mode for mode, _ in found.values()} == {"drwxr-xr-x", "-rwxr-xr-x", "-rw-r--r--"}
    programs = [path for path, (mode, _) in found.items() if mode == "-rwxr-xr-x"]
    assert programs == ["/usr/bin/pf-spamfilt", "/usr/bin/pf-spamfilt-admin"]


def test_every_example_is_there_as_it_is_used(package):
    sources = [path.relative_to(PROJECT) for path in (PROJECT / "examples").rglob("*") if path.is_file()]
    assert {f"{DOCUMENTS}/{path}" for path in sources} <= set(held(package))


def test_what_the_documents_name_is_there(package):
    """Links to files beside them, and the test message."""
    found = {path.rstrip("/") for path in held(package)}
    missing = []
    for name in sorted(path for path in found if path.endswith(".md")):
        text = run(["sh", "-c", f"dpkg-deb --fsys-tarfile {package} | tar -xO .{name}"])
        links = [f"{os.path.dirname(name)}/{link}" for link in re.findall(r"\]\((?!http)([^)#]+)\)", text)]
        named = re.findall(r"< (\S+\.eml)", text)
        missing += [each for each in [*links, *named] if os.path.normpath(each) not in found]
    assert missing == []


def test_lintian_has_no_complaint(package):
    assert run(["lintian", "--allow-root", "--fail-on", "error,warning", package]) == ""


def test_building_leaves_nothing_in_the_source_tree(place):
    before = [set(os.listdir(PROJECT)), set((PROJECT / "debian").rglob("*"))]
    run([PROJECT / "scripts/deb.sh", place / "again"])
    assert [set(os.listdir(PROJECT)), set((PROJECT / "debian").rglob("*"))] == before


def test_every_module_is_compiled_after_installation(installed):
    """Otherwise every message would pay for it: the filter's account can store nothing."""
    package = installed.path / LIBRARY.lstrip("/")
    modules = {path.relative_to(package).with_suffix("") for path in package.rglob("*.py")}
    compiled = {path.parent.parent.relative_to(package) / path.name.split(".")[0] for path in package.rglob("*.pyc")}
    assert compiled == modules


def test_the_account_and_its_quarantine_are_made(installed):
    shown = installed.run(f"getent passwd spamfilt; stat -c '%A %U:%G' {STORE}")
    assert re.fullmatch(
        r"spamfilt:x:\d+:\d+:[^:]*:/nonexistent:/usr/sbin/nologin\ndrwx------ spamfilt:spamfilt\n", shown
    )


def test_installation_changes_nothing_of_postfix(installed):
    assert (
        installed.run(
            "cmp /etc/postfix/master.cf /usr/share/postfix/master.cf.dist; ls /etc/postfix | grep spamfilt || :"
        )
        == ""
    )


def test_what_is_documented_names_the_command_where_it_is(installed):
    files = f"$(find {DOCUMENTS} /usr/share/man -type f -path '*pf-spamfilt*')"
    assert installed.run(f"zgrep -l /usr/local/bin/pf-spamfilt {files} || :") == ""


def test_the_manual_names_no_python_environment_that_the_package_does_not_have(installed):
    assert installed.run("zgrep /usr/local /usr/share/man/man1/pf-spamfilt.1.gz || :") == ""


def test_mail_is_filtered_and_marked(filtering):
    assert "X-Spam-Status: No, score=" in contents(filtering, "/var/mail/jane")
    assert "(ham " in contents(filtering, "/var/log/mail.log")


def test_spam_is_kept_in_the_quarantine(filtering):
    (kept,) = (filtering.path / STORE.lstrip("/")).iterdir()
    assert b"\nSubject: " in kept.read_bytes()
    assert kept.stat().st_mode & 0o777 == 0o600


def test_check_finds_nothing_wrong_but_that_no_syslog_runs(root):
    said = root.run(f"{START}pf-spamfilt-admin compile && pf-spamfilt-admin check || test $? = 1")
    assert "warning  syslog  " in said
    assert "1 warning; " in said


def test_setup_remove_restores_master_cf_and_leaves_the_packages_account(root):
    said = root.run("postfix start; pf-spamfilt-admin setup --remove --apply && postfix stop")
    assert "The account spamfilt stays: setup has not made it." in said
    root.run("cmp /etc/postfix/master.cf /usr/share/postfix/master.cf.dist && getent passwd spamfilt")


def test_mail_that_meets_an_upgrade_is_delivered(root):
    """Between unpacking and configuring there is no bytecode."""
    root.run(f"set -e\n{SEND}{START}{EMPTY}dpkg --unpack /root/pf-spamfilt.deb; send clean; {ARRIVED}")
    assert "X-Spam-Status: No, score=" in contents(root, "/var/mail/jane")


def test_an_upgrade_compiles_the_settings_anew_that_were_compiled(root):
    settings = "/etc/postfix/pf-spamfilt.toml"
    said = root.run(f"set -e\necho '# changed' >>{settings}\ndpkg -i /root/pf-spamfilt.deb")
    assert f"compiled: {settings}.compiled" in said


def test_an_upgrade_with_wrong_settings_says_so_and_succeeds(root):
    said = root.run("set -e\necho 'nonsense = 1' >>/etc/postfix/pf-spamfilt.toml\ndpkg -i /root/pf-spamfilt.deb")
    assert "nonsense" in said
    assert "mail waits until the settings are right" in said


def test_after_removal_mail_waits_until_the_commands_that_it_names_deliver_it(root):
    waits = "send clean; wait_for in_log status=deferred; postfix stop"
    said = root.run(f"set -e\n{SEND}{START}{EMPTY}dpkg --remove pf-spamfilt; {waits}")
    assert "/etc/postfix/master.cf still has the transport spamcheck" in said
    assert "pf-spamfilt-admin -c /etc/postfix setup --transport spamcheck --remove --apply" in said
    assert contents(root, "/var/mail/jane") == ""
    assert "status=bounced" not in contents(root, "/var/log/mail.log")
    commands = "\n".join(line for line in said.splitlines() if line.startswith("    post"))
    # The second start: pickup(8) looks for what was requeued when it starts, or else within a minute.
    root.run(f"{SEND}postfix start\n{commands}\npostfix stop; postfix start; {ARRIVED}")
    assert "pf-spamfilt" not in root.run("postconf -M")


def test_after_setup_remove_the_removal_names_nothing_in_postfix(root):
    said = root.run("pf-spamfilt-admin setup --remove --apply >/root/said && dpkg --remove pf-spamfilt")
    assert "/etc/postfix" not in said


def test_removal_looks_into_every_instance_of_postfix(root):
    root.run("cp -r /etc/postfix /etc/postfix-two && postconf -e multi_instance_directories=/etc/postfix-two")
    assert "/etc/postfix-two/master.cf still has the transport spamcheck" in root.run("dpkg --remove pf-spamfilt")


def test_removal_leaves_no_file_but_mail(root):
    root.run("dpkg --remove pf-spamfilt")
    left = [path for path in PLACES if (root.path / path.lstrip("/")).exists()]
    assert left == []
    assert len(list((root.path / STORE.lstrip("/")).iterdir())) == 1


def test_removal_is_refused_while_local_mail_would_bounce(root):
    """A mailbox_command with quotes is the shell's, and what that does not find bounces."""
    root.run(f"postconf -e '{HOOK}'")
    with pytest.raises(LabError, match="still runs it for local mail") as refused:
        root.run("dpkg --remove pf-spamfilt")
    assert "postconf -c /etc/postfix -X mailbox_command" in str(refused.value)
    root.run("pf-spamfilt --version && postconf -X mailbox_command && dpkg --remove pf-spamfilt")


@pytest.mark.parametrize(
    "command", ["/usr/bin/pf-spamfilt --pipe-to procmail", "IFS=' ' && exec \"/bin/pf-spamfilt\" --pipe-to procmail"]
)
def test_removal_is_refused_however_the_command_is_named(root, command):
    (root.path / "root/command").write_text(command)
    root.run('postconf -e "mailbox_command = $(cat /root/command)"')
    with pytest.raises(LabError, match=r"main\.cf still runs it for local mail"):
        root.run("dpkg --remove pf-spamfilt")


def test_removal_is_refused_for_a_command_in_master_cf_too(root):
    root.run(f"postconf -M 'local/unix=local unix - n n - - local -o {{ {HOOK} }}'")
    with pytest.raises(LabError, match=r"master\.cf still runs it for local mail") as refused:
        root.run("dpkg --remove pf-spamfilt")
    (undo,) = (line.split(" && ")[0] for line in str(refused.value).splitlines() if "postconf -c" in line)
    root.run(f"{undo} && dpkg --remove pf-spamfilt")


def test_removal_says_how_a_link_for_sieve_is_found(root):
    """Dovecot goes on with mail that was not scanned."""
    link = "/etc/dovecot/sieve-filter/pf-spamfilt"
    root.run(f"mkdir -p {link.rpartition('/')[0]} && ln -s /usr/bin/pf-spamfilt {link}")
    (find,) = (line for line in root.run("dpkg --remove pf-spamfilt").splitlines() if "find /etc" in line)
    assert root.run(find).strip() == link


def test_removal_says_that_it_cannot_look_where_postconf_fails(root):
    root.run(f"postconf -e '{HOOK}' && echo nonsense >>/etc/postfix/main.cf")
    assert "pf-spamfilt: not looked at: /etc/postfix, which postconf cannot read: " in root.run("dpkg -r pf-spamfilt")


@pytest.mark.parametrize("command", ["/usr/local/bin/pf-spamfilt --pipe-to procmail", "/usr/bin/pf-spamfilter -a"])
def test_removal_does_not_care_for_another_program(root, command):
    """What `make install` has put into /usr/local stays when the package goes."""
    said = root.run(f"postconf -e 'mailbox_command = {command}' && dpkg --remove pf-spamfilt")
    assert "not removed" not in said


def test_after_removal_mail_for_a_forward_file_as_in_the_examples_waits(root):
    root.run(f"cp {DOCUMENTS}/examples/forward /home/jane/.forward && postconf -PX smtp/inet/content_filter")
    root.run(f"set -e\n{SEND}dpkg --remove pf-spamfilt\npostfix start; send clean; wait_for in_log status=deferred")
    assert "execvp /usr/bin/pf-spamfilt: No such file" in contents(root, "/var/log/mail.log")
    assert "status=bounced" not in contents(root, "/var/log/mail.log")


@pytest.mark.parametrize("command", ["pf-spamfilt --pipe-to procmail", "/usr/bin/pf-spamfilt --pipe-to $SHELL"])
def test_after_removal_mail_for_a_command_by_a_shell_bounces(root, command):
    """That is one without its full path, or with a variable: the removal says so."""
    (root.path / "home/jane/.forward").write_text(f'"|{command}"\n')
    root.run("postconf -PX smtp/inet/content_filter")
    said = root.run(
        f"set -e\n{SEND}dpkg --remove pf-spamfilt\npostfix start; send clean; wait_for in_log status=bounced"
    )
    assert "a command without its full path, or with quotes or variables" in said


def test_purge_keeps_what_was_quarantined_and_says_so(root):
    said = root.run("dpkg --purge pf-spamfilt")
    assert f"{STORE} stays: there is mail in it" in said
    assert len(list((root.path / STORE.lstrip("/")).iterdir())) == 1


def test_purge_leaves_a_quarantine_that_is_a_file_system_of_its_own(root):
    """With nothing in it but the folder that mkfs makes."""
    said = root.run(f"mount -t tmpfs tmpfs {STORE}; mkdir {STORE}/lost+found; dpkg --purge pf-spamfilt; ls {STORE}")
    assert f"{STORE} stays: it is a mount point" in said
    assert said.endswith("lost+found\n")


def test_purge_takes_an_empty_quarantine_and_leaves_account_and_settings(root):
    root.run(f"rm {STORE}/*; dpkg --purge pf-spamfilt; getent passwd spamfilt")
    assert not (root.path / STORE.lstrip("/")).exists()
    assert (root.path / "etc/postfix/pf-spamfilt.toml").exists()
