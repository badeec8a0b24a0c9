"""`pf-spamfilt-admin check` on a real Postfix and spamd: a sound set-up has no findings, each broken one has its own.

Every set-up here is broken in one way; what is found is that, and nothing else.
"""

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from proving import Host, moved

from lab import setups
from lab.accounts import FILTER_ACCOUNT
from lab.local_users import accounts
from lab.tools import free_port, run

SETTINGS = "/etc/postfix/pf-spamfilt.toml"
SMTP = "smtp inet n - y - - smtpd\n"
NO_TRANSPORT = f"spamcheck unix - - n - - discard\n{SMTP}"
Finding = dict[str, str]


class Admin:
    """pf-spamfilt-admin of the installation that is in master.cf."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.path = f"{host.command}-admin"
        self.postfix = host.postfix
        self.settings = host.postfix.configuration / "pf-spamfilt.toml"

    def run(self, *words: str, **options: object) -> "subprocess.CompletedProcess[str]":
        """Run a command of it."""
        return subprocess.run(  # type: ignore[call-overload,no-any-return]
            [self.path, *words], capture_output=True, text=True, check=False, **options
        )

    def findings(self) -> list[Finding]:
        """Return all that check finds; its exit status is that of the worst."""
        ended = self.run("check", "--json")
        assert ended.stderr == ""
        found: list[Finding] = json.loads(ended.stdout)
        assert ended.returncode == max(["ok", "warning", "error"].index(each["severity"]) for each in found)
        return found

    def bad(self) -> list[Finding]:
        """Return what is not fine, each with a remedy; but not that the settings are not compiled."""
        found = [each for each in self.findings() if each["severity"] != "ok" and each["id"] != "compiled"]
        assert all(each["remedy"] for each in found)
        return found

    def named(self) -> list[str]:
        """Return severity and id of what is not fine."""
        return [f"{each['severity']} {each['id']}" for each in self.bad()]

    def transport(self, old: str = "", new: str = "") -> str:
        """Return the transport's entry with something else in it."""
        entry = self.postfix.transport(self.host.command)
        assert old in entry
        return entry.replace(old, new)


@pytest.fixture
def admin(mailhost: Host) -> Iterator[Admin]:
    """The command, with a sound set-up; Postfix's files and the settings are put back."""
    found = Admin(mailhost)
    yield found
    mailhost.postfix.configure()
    for file in [*found.settings.parent.glob("pf-spamfilt.toml*"), *found.settings.parent.glob("check-table*")]:
        file.unlink()
    mailhost.settings()


def test_sound_setup_has_no_findings(admin: Admin) -> None:
    assert admin.run("compile").returncode == 0
    ended = admin.run("check")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("Nothing is wrong; ")
    assert ended.stdout.count("\n") == 1


def test_verbose_tells_what_is_fine(admin: Admin) -> None:
    lines = admin.run("check", "--verbose").stdout.splitlines()
    shown = {line.split()[1] for line in lines if line.startswith("ok ")}
    assert shown >= {
        "settings",
        "transport",
        "transport-user",
        "loop",
        "time-limit",
        "filter",
        "program",
        "spamd",
        "gtube",
    }
    assert any("SpamAssassin 4." in line or "SpamAssassin 3." in line for line in lines)


def test_sound_setup_with_everything_has_no_findings(admin: Admin) -> None:
    """Tables, stores, levels, a log file, several blocks."""
    folder = admin.host.directory / "kept"
    folder.mkdir(mode=0o700)
    os.chown(folder, admin.host.number, admin.host.number)
    table = admin.settings.with_name("check-table")
    table.write_text("jane@example.com  tag2_level=3 subject_tag=[SPAM]\n@.  kill_level=9\n")
    run(["postmap", table])
    log = admin.host.directory / "filter.log"
    log.touch()
    os.chown(log, admin.host.number, admin.host.number)
    admin.host.configured(f"""
[log]
file = "{log}"
[policy]
kill_level = 12
destiny = "discard"
quarantine = "maildir:{folder}/maildir"
welcome_senders = ["hash:/etc/postfix/check-table"]
[[recipients]]
match = ["jane@example.com"]
quarantine = "mbox:{folder}/mbox"
[[senders]]
match = ["bulk.example"]
quarantine = "bulk@example.com"
[tables]
recipients = ["hash:/etc/postfix/check-table"]
""")
    assert admin.named() == []
    ids = [each["id"] for each in admin.findings()]
    assert (ids.count("quarantine"), ids.count("table"), ids.count("table-entry")) == (3, 1, 1)
    assert list(folder.iterdir()) == []  # nothing was kept to try it


TRANSPORTS = {
    "wrong flag": ("flags=Rq", "flags=DRq", "error transport-flags"),
    "no q": ("flags=Rq", "flags=R", "warning transport-flags"),
    "no such flag": ("flags=Rq", "flags=Rqy", "error transport-flags"),
    "no account": ("user=spamfilt", "user=spamfilter", "error transport-user"),
    "no group": ("user=spamfilt", "user=spamfilt:spamfilter", "error transport-user"),
    "root": ("user=spamfilt", "user=root", "error transport-user"),
    "Postfix's account": ("user=spamfilt", "user=postfix", "error transport-user"),
    "no user": ("user=spamfilt ", "", "error transport-user"),
    "no null sender": ("null_sender=", "", "warning transport-null-sender"),
    "wrong null sender": ("null_sender=", "null_sender=postmaster", "error transport-null-sender"),
    "misspelt attribute": ("null_sender=", "null_sender= directry=/", "error transport-attribute"),
    "no dashes": ("pf-spamfilt -- ", "pf-spamfilt ", "warning transport-argv"),
    "as the script": (" -- ${sender}", " -f ${sender} --", "error transport-argv"),
    "not private": ("unix  -  ", "unix  n  ", "error transport-private"),
    "no such directory": ("null_sender=", "null_sender= directory=/nonexistent", "error directory"),
    "directory of root": ("null_sender=", "null_sender= directory={closed}", "error directory"),
    "size": ("null_sender=", "null_sender= size=10000", "error transport-size"),
    "line ends": ("null_sender=", r"null_sender= eol=\r\n", "error transport-eol"),
    "chroot": ("-       n       n ", "-       n       y ", "error transport-chroot"),
    "unprivileged": ("-       n       n ", "-       -       n ", "error transport-unpriv"),
}


@pytest.mark.parametrize(("old", "new", "expected"), TRANSPORTS.values(), ids=TRANSPORTS)
def test_broken_transport(admin: Admin, old: str, new: str, expected: str) -> None:
    closed = admin.host.directory / "closed"
    closed.mkdir(mode=0o700, exist_ok=True)
    admin.postfix.configure(master=admin.transport(old, new.replace("{closed}", str(closed))))
    assert admin.named() == [expected]


def test_attributes_are_known_in_capitals_too(admin: Admin) -> None:
    """As pipe(8) does."""
    admin.postfix.configure(master=admin.transport("flags=Rq user=", "FLAGS=Rq User="))
    assert admin.named() == []


def test_transport_without_its_program(admin: Admin) -> None:
    admin.postfix.configure(master=admin.transport(admin.host.command, "/usr/local/none/pf-spamfilt"))
    assert admin.named() == ["error transport-path", "error filter"]


def test_transport_with_a_link(admin: Admin) -> None:
    link = admin.host.directory / "pf-spamfilt"
    link.symlink_to(admin.host.command)
    admin.postfix.configure(master=admin.transport(admin.host.command, str(link)))
    assert admin.named() == ["warning transport-path"]
    link.unlink()


def test_no_transport(admin: Admin) -> None:
    """Then no filter is on the SMTP server either."""
    admin.postfix.configure(master=f"spamcheck unix - - n - - discard\n{SMTP}    -o content_filter=spamcheck:\n")
    assert admin.named() == ["error transport", "warning unfiltered"]


def local(admin: Admin, words: str = "--pipe-to /bin/cat", master: str = "") -> None:
    """Let mailbox_command run the filter, and no transport, unless `master` has one."""
    admin.postfix.configure(f"mailbox_command = {admin.host.command} {words}\n", master or NO_TRANSPORT)


def test_filter_in_mailbox_command_needs_no_transport(admin: Admin) -> None:
    local(admin)
    assert admin.named() == []
    told = {each["id"]: each["text"] for each in admin.findings()}
    assert "as it should" in told["delivery"]
    assert "nobody can run it" in told["program"]


def test_filter_in_mailbox_command_beside_a_transport(admin: Admin) -> None:
    local(admin, master=admin.transport())
    assert admin.named() == ["warning delivery-twice"]


def test_filter_in_mailbox_command_that_delivers_nothing(admin: Admin) -> None:
    local(admin, "--stdout")
    assert admin.named() == ["error delivery-form"]


READERS = {"procmailrc": f"{setups.PROCMAIL}\n", "mailfilter": f"{setups.MAILDROP}\n"}
OWN_FILES = {"procmailrc": ".procmailrc", "mailfilter": ".mailfilter", "forward": ".forward"}


@pytest.mark.parametrize(("example", "file"), OWN_FILES.items(), ids=OWN_FILES)
def test_filter_in_a_file_of_a_user_needs_no_transport(admin: Admin, example: str, file: str) -> None:
    with accounts(admin.host, "jane", "sam") as users:
        users["sam"].example(example, file)
        main = READERS.get(example, "")
        admin.postfix.configure(main, NO_TRANSPORT)
        assert admin.named() == []
        admin.postfix.configure(main)
        (found,) = admin.bad()
    assert (found["severity"], found["id"]) == ("warning", "delivery-twice")
    assert found["text"].startswith(f"{users['sam'].home}/{file}: ")


def by_alias(admin: Admin) -> None:
    """Let an alias run the filter, and no transport."""
    aliases = admin.settings.with_name("check-table")
    aliases.write_text(f'jane: "|{admin.host.command} --pipe-to /bin/cat"\n')
    admin.postfix.configure(f"alias_maps = hash:{aliases}\n", NO_TRANSPORT)


def test_filter_in_an_alias_needs_no_transport(admin: Admin) -> None:
    by_alias(admin)
    assert admin.named() == []


def test_mailbox_transport_goes_before_the_filter_in_mailbox_command(admin: Admin) -> None:
    """The command in the remedy mends it."""
    local(admin, "--pipe-to /bin/cat\nmailbox_transport = virtual", f"{NO_TRANSPORT}local unix - n n - - local\n")
    (found,) = admin.bad()
    assert (found["severity"], found["id"]) == ("warning", "delivery-before")
    run(["sh", "-c", found["remedy"].removeprefix("Run: ").partition(" && postfix reload")[0]])
    assert admin.named() == []


def test_filter_in_mailbox_command_needs_an_alias_for_root(admin: Admin) -> None:
    aliases = admin.settings.with_name("check-table")
    for text, expected in (("postmaster: root\n", ["warning delivery-root"]), ("Root: jane\n", [])):
        aliases.write_text(text)
        run(["postalias", f"hash:{aliases}"])
        local(admin, f"--pipe-to /bin/cat\nmydestination = lab.example\nalias_maps = hash:{aliases}")
        assert admin.named() == expected


by_local = pytest.mark.parametrize("set_up", [local, by_alias], ids=["mailbox_command", "alias"])


@by_local
def test_settings_that_a_recipient_cannot_read(admin: Admin, set_up: Callable[[Admin], None]) -> None:
    """The transport's account can."""
    os.chown(admin.settings, admin.host.number, admin.host.number)
    admin.settings.chmod(0o600)
    assert admin.named() == []
    set_up(admin)
    assert admin.named() == ["error settings-access"]
    os.chown(admin.settings, 0, 0)


@by_local
def test_quarantine_of_one_account_for_all_recipients(admin: Admin, set_up: Callable[[Admin], None]) -> None:
    set_up(admin)
    admin.host.configured('[policy]\nkill_level = 9\nquarantine = "dir:/var/spool/none"\n')
    assert admin.named() == ["error delivery-quarantine"]


FLOWS = {
    "filter in main.cf": ("content_filter = spamcheck:\n", "", "error loop"),
    "filter on pickup": ("", "pickup unix n - y 60 1 pickup\n    -o content_filter=spamcheck:\n", "error loop"),
    "filter in header_checks": ("header_checks = static:{FILTER spamcheck:}\n", "", "error loop"),
    "no filter": ("", SMTP, "warning unfiltered"),
    "no such filter": ("", f"127.0.0.1:2525 {SMTP[5:]}    -o content_filter=spamchek:\n", "error content-filter"),
    "time limit": ("command_time_limit = 15m\n", "", "error time-limit"),
    "time limit of the transport": ("spamcheck_time_limit = 300s\n", "", "error time-limit"),
    "not authorised": ("authorized_submit_users = root, !static:all\n", "", "error submit"),
    "delivery by the filter": ("default_transport = spamcheck:\n", "", "error loop"),
    "deferred transport": ("defer_transports = spamcheck\n", "", "error transport-deferred"),
    "blind copies": ("always_bcc = archive@example.com\n", "", "warning bcc-twice"),
    "signing milter": ("non_smtpd_milters = inet:127.0.0.1:8891\n", "", "warning milters"),
    "short queue": ("maximal_queue_lifetime = 0\n", "", "error queue-lifetime"),
    "other delimiter": ("recipient_delimiter = -\n", "", "warning recipient-delimiter"),
    "misspelt parameter": ("spamchek_time_limit = 2000s\n", "", "warning postconf"),
}


@pytest.mark.parametrize(("main", "master", "expected"), FLOWS.values(), ids=FLOWS)
def test_broken_way_of_mail(admin: Admin, main: str, master: str, expected: str) -> None:
    admin.postfix.configure(main, master)
    assert admin.named() == [expected]


BY_HAND = (
    "delivery by the filter",
    "filter in header_checks",
    "deferred transport",
    "other delimiter",
    "misspelt parameter",
)


@pytest.mark.parametrize("name", [name for name in FLOWS if name not in BY_HAND])
def test_command_in_a_remedy_mends_it(admin: Admin, name: str) -> None:
    """But Postfix goes on as it was: what the lab has broken here must not come to its port 25."""
    main, master, _ = FLOWS[name]
    admin.postfix.configure(main, master + SMTP if name == "filter in main.cf" else master)
    for found in admin.bad():
        command = found["remedy"].partition("un: ")[2].partition(". ")[0]
        run(["sh", "-c", command.replace("postfix reload", "true").replace("postsuper -r ALL deferred", "true")])
    assert admin.named() == []


@pytest.mark.parametrize("name", ["chroot", "unprivileged"])
def test_command_in_a_remedy_mends_the_transport(admin: Admin, name: str) -> None:
    old, new, _ = TRANSPORTS[name]
    admin.postfix.configure(master=admin.transport(old, new))
    (found,) = admin.bad()
    run(["sh", "-c", found["remedy"].removeprefix("Run: ").replace("postfix reload", "true")])
    assert admin.named() == []


def test_filter_action_in_an_access_table_is_enough(admin: Admin) -> None:
    main = "smtpd_client_restrictions = check_client_access static:{FILTER spamcheck:}\n"
    admin.postfix.configure(main, SMTP)
    assert admin.named() == []


def test_configuration_that_postfix_cannot_read(admin: Admin) -> None:
    admin.postfix.configure(master="smtp inet n\n")
    assert "error postfix" in admin.named()


def test_no_postfix(admin: Admin) -> None:
    ended = admin.run("-c", "/nonexistent", "check")
    assert ended.returncode == 2
    assert "/nonexistent: there is no such directory" in ended.stdout


def test_settings_that_are_named_must_be_there(admin: Admin) -> None:
    ended = admin.run("--config", "/nonexistent", "check")
    assert ended.returncode == 2
    assert ended.stdout.startswith("error  ")
    assert ended.stdout.splitlines()[1:] == [line for line in ended.stdout.splitlines() if line.startswith("1 error; ")]


def test_other_instance_that_postdrop_would_refuse(admin: Admin) -> None:
    other = admin.host.directory / "postfix-in"
    run(["cp", "-R", "/etc/postfix", other])
    ended = admin.run("-c", str(other), "check")
    assert "is not in alternate_config_directories" in ended.stdout
    admin.postfix.configure(f"alternate_config_directories = {other}\n")
    ended = admin.run("-c", str(other), "check")
    assert "alternate_config_directories" not in ended.stdout
    run(["rm", "-r", other])


def test_instance_is_known_by_the_link_that_main_cf_names(admin: Admin, tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "postfix-in"
    run(["cp", "-R", "/etc/postfix", real])
    link.symlink_to(real)
    admin.postfix.configure(f"alternate_config_directories = {link}\n")
    ended = admin.run("-c", str(link), "check", "--json")
    assert [each["severity"] for each in json.loads(ended.stdout) if each["id"] == "instance"] == ["ok"]


def test_service_that_is_there_twice(admin: Admin) -> None:
    """postconf(1) prints the options of both as one: which of them hold cannot be seen."""
    with (admin.postfix.configuration / "master.cf").open("a") as file:
        file.write(f"127.0.0.1:{admin.postfix.port} {SMTP[5:]}")
    assert admin.named() == ["warning duplicate"]


def test_every_error_in_the_settings(admin: Admin) -> None:
    admin.host.configured("timout = 3\n[polcy]\n[[recipients]]\ntag2_level = 'hi'\n")
    found = admin.bad()
    assert [each["id"] for each in found] == ["settings"] * 4
    assert all(each["text"].startswith(f"{SETTINGS}: ") for each in found)


def test_settings_that_are_no_toml(admin: Admin) -> None:
    admin.host.settings("[spamc\n")
    assert admin.named() == ["error settings"]


def test_settings_that_the_account_cannot_read(admin: Admin) -> None:
    admin.settings.chmod(0o600)
    found = admin.bad()
    assert [each["id"] for each in found] == ["settings-access"]
    assert "Permission denied (as spamfilt)" in found[0]["text"]


def test_settings_that_everybody_can_write(admin: Admin) -> None:
    admin.settings.chmod(0o666)
    assert admin.named() == ["error settings-mode"]


def test_settings_that_surprise(admin: Admin) -> None:
    admin.host.configured('[policy]\nkill_level = 9\ndestiny = "discard"\n[[recipients]]\nmatch = ["jane"]\n')
    assert admin.named() == ["warning discard", "warning pattern"]


def test_settings_that_the_transport_names(admin: Admin) -> None:
    """Those are looked at, not the instance's own; and they must be there."""
    other = admin.settings.with_name("other.toml")
    admin.postfix.configure(master=admin.transport(" -- ", f" --config {SETTINGS.replace('pf-spamfilt', 'other')} -- "))
    assert admin.named()[0] == "error settings"
    admin.settings.rename(other)
    assert admin.named() == []
    other.unlink()


def test_second_transport_is_looked_at_with_its_own_settings(admin: Admin) -> None:
    other = admin.settings.with_name("pf-spamfilt.toml-other")
    other.write_text("[spamc]\ntimeout = 0\n")
    entry = admin.transport(" -- ", f" --config {SETTINGS}-other -- ").replace("spamcheck ", "other ")
    admin.postfix.configure(master=entry.replace("user=spamfilt", "user=root"))
    found = admin.bad()
    assert [each["id"] for each in found] == ["settings", "transport-user"]
    assert f"{SETTINGS}-other: [spamc] timeout" in found[0]["text"]
    assert "master.cf: other: user=root" in found[1]["text"]


def compiled(admin: Admin) -> str:
    """Return what check says of the compiled settings."""
    (found,) = [each for each in admin.findings() if each["id"] == "compiled"]
    return f"{found['severity']}: {found['text']}"


def test_compiled_settings(admin: Admin) -> None:
    """Missing, fresh, stale, and writable by others."""
    assert compiled(admin) == (
        f"warning: {SETTINGS}.compiled does not exist: each message parses the settings, which takes longer than the"
        " filter's start"
    )
    admin.run("compile")
    assert compiled(admin) == f"ok: {SETTINGS}.compiled is fresh"
    admin.settings.with_name("pf-spamfilt.toml.compiled").chmod(0o666)
    assert compiled(admin).startswith(f"warning: {SETTINGS}.compiled is not used: stale, ")
    admin.run("compile")
    admin.settings.write_text(admin.settings.read_text() + "# changed\n")
    assert compiled(admin).startswith(f"warning: {SETTINGS}.compiled is not used: stale, ")
    admin.settings.unlink()
    admin.settings.with_name("pf-spamfilt.toml.compiled").unlink()
    assert compiled(admin).startswith("ok: ")


def test_command_in_a_remedy_compiles_the_settings_of_each_transport(admin: Admin) -> None:
    other = admin.settings.with_name("pf-spamfilt.toml-other")
    other.write_text(admin.settings.read_text())
    admin.postfix.configure(master=admin.transport(" -- ", f" --config {other} -- ").replace("spamcheck ", "other "))
    for found in admin.findings():
        if found["id"] == "compiled":
            command = found["remedy"].removeprefix("Run: ")
            subprocess.run(["sh", "-c", command], env={"PATH": f"{Path(admin.path).parent}:/usr/bin:/bin"}, check=True)
    assert {each["severity"] for each in admin.findings()} == {"ok"}


PROGRAMS = {
    "no spamc": ("[spamc]\ncommand = ['/usr/bin/none']\nservers = [{server}]\n", ["error program", "error spamd"]),
    "spamc of root": ("[spamc]\ncommand = ['{secret}']\nservers = [{server}]\n", ["error program", "error spamd"]),
    "no sendmail": (
        "spamc.servers = [{server}]\n[sendmail]\ncommand = ['/usr/bin/none', '-i']\n",
        ["warning sendmail", "error program"],
    ),
    "another sendmail": ("spamc.servers = [{server}]\n[sendmail]\ncommand = ['/bin/cat']\n", ["warning sendmail"]),
    "no postmap": (
        "spamc.servers = [{server}]\n[tables]\ncommand = ['/usr/bin/none']\nrecipients = ['static:tag2_level=3']\n",
        ["error program", "error table"],
    ),
    "no place for a log": ("spamc.servers = [{server}]\n[log]\nfile = '/etc/filter.log'\n", ["warning log"]),
}


@pytest.mark.parametrize(("settings", "expected"), PROGRAMS.values(), ids=PROGRAMS)
def test_broken_programs(admin: Admin, settings: str, expected: list[str]) -> None:
    secret = admin.host.program("secret-spamc", 'exec spamc "$@"\n')
    secret.chmod(0o700)
    text = settings.replace("{secret}", str(secret)).replace("{server}", repr(admin.host.spamd.address))
    admin.host.settings(text)
    assert admin.named() == expected


LOGS: dict[str, Callable[[Path], object]] = {
    "a folder": Path.mkdir,
    "a pipe that nobody reads": os.mkfifo,
    "root's": Path.touch,
}


@pytest.mark.parametrize("make", LOGS.values(), ids=LOGS)
def test_log_file_that_cannot_be_written(admin: Admin, tmp_path: Path, make: Callable[[Path], object]) -> None:
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    log = tmp_path / "filter.log"
    make(log)
    admin.host.configured(f"[log]\nfile = '{log}'\n")
    assert admin.named() == ["warning log"]


def nobody_reads(path: Path) -> None:
    """Make a socket as a syslog daemon leaves it that was killed."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ended:
        ended.bind(str(path))
    path.chmod(0o666)


@pytest.mark.parametrize("substitute", [lambda _: None, nobody_reads], ids=["no socket", "a dead one"])
def test_no_syslog_daemon(admin: Admin, substitute: Callable[[Path], object]) -> None:
    with moved(Path("/dev/log"), substitute):
        found = admin.named()
        Path("/dev/log").unlink(missing_ok=True)
    assert found == ["warning syslog"]


def test_filter_that_its_account_cannot_start(admin: Admin, installed: Path) -> None:
    """An interpreter in a folder that only root can enter: the filter says so, with its own words.

    The command itself needs that interpreter; another one runs the same code.
    """
    packages = next(installed.glob("lib/python3*/site-packages"))
    code = f"import sys; sys.path.insert(0, {str(packages)!r}); from pf_spamfilt.admin.main import main; main()"
    path = {"PATH": f"{Path(admin.path).parent}:/usr/bin:/bin"}
    admin.path = "/usr/bin/python3"
    with moved(installed / "bin/python3", lambda path: path.symlink_to("/root/none/python3")):
        ended = admin.run("-I", "-c", code, "check", "--json", env=path)
    found = {each["id"]: each for each in json.loads(ended.stdout) if each["severity"] == "error"}
    assert list(found) == ["filter"]
    assert "as spamfilt" in found["filter"]["text"]


def test_no_spamd(admin: Admin) -> None:
    admin.host.spamd.stop()
    found = admin.bad()
    assert [(each["severity"], each["id"]) for each in found] == [("error", "spamd")]
    assert f"spamd {admin.host.spamd.address}: spamc cannot connect to spamd" in found[0]["text"]


def test_one_server_of_two_is_down(admin: Admin) -> None:
    dead = f"127.0.0.1:{free_port()}"
    admin.host.servers(dead, admin.host.spamd.address)
    found = admin.bad()
    assert [(each["severity"], each["id"]) for each in found] == [("warning", "spamd")]
    assert dead in found[0]["text"]


def test_both_servers_are_down(admin: Admin) -> None:
    admin.host.servers(f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}")
    assert admin.named() == ["error spamd", "error spamd"]


NUMBERS = "[policy]\ntag2_level = 6.3\n"
MARKUP = {
    "wrapped": ("report_safe 1\n", NUMBERS, ["warning report-safe"]),
    "wrapped by its own judgement": ("report_safe 1\n", "", []),
    "no score": ("remove_header all Status\n", NUMBERS, ["error spam-status"]),
    "no score, no levels": ("remove_header all Status\n", "", ["warning spam-status"]),
    "no flag": ("remove_header spam Flag\n", "", ["warning spam-flag"]),
    "two tags": ("rewrite_header Subject [SPAM]\n", "[policy]\nsubject_tag = '[SPAM]'\n", ["warning subject"]),
    "no rules": ("score GTUBE 0\n", "", ["error gtube"]),
}


@pytest.mark.parametrize(("local_cf", "settings", "expected"), MARKUP.values(), ids=MARKUP)
def test_markup_in_conflict_with_the_settings(admin: Admin, local_cf: str, settings: str, expected: list[str]) -> None:
    spamd = admin.host.spamd
    admin.host.configured(settings)
    spamd.stop()
    spamd.configure(local_cf)
    spamd.start()
    try:
        assert admin.named() == expected
    finally:
        spamd.stop()
        spamd.configure()


def older(table: Path) -> None:
    """Make a table older than its source, which Postfix believes only of what is not new."""
    os.utime(table, (1.5e9, 1.5e9))
    os.utime(table.with_name(f"{table.name}.db"), (1e9, 1e9))


TABLES: dict[str, tuple[str, Callable[[Path], object], list[str]]] = {
    "missing": ("", lambda table: table.with_name("check-table.db").unlink(), ["error table"]),
    "unreadable": ("", lambda table: table.with_name("check-table.db").chmod(0o600), ["error table"]),
    "misspelt key": ("joe@example.com  kil_level=3\n", lambda _: None, ["error table-entry"]),
    "misspelt key for all": ("@.  kil_level=3\n", lambda _: None, ["error table-entry"]),
    "never asked": ("example.com  kill_level=3\n", lambda _: None, ["warning table-key"]),
    "older than its source": ("", older, ["warning table-warning"]),
}


@pytest.mark.parametrize(("entry", "spoil", "expected"), TABLES.values(), ids=TABLES)
def test_broken_table(admin: Admin, entry: str, spoil: Callable[[Path], object], expected: list[str]) -> None:
    table = admin.settings.with_name("check-table")
    table.write_text(f"jane@example.com  tag2_level=3\n{entry}")
    run(["postmap", table])
    spoil(table)
    admin.host.configured('[tables]\nrecipients = ["hash:/etc/postfix/check-table"]\n')
    assert admin.named() == expected


def test_store_that_only_a_table_names(admin: Admin) -> None:
    table = admin.settings.with_name("check-table")
    table.write_text("jane@example.com  kill_level=3 quarantine=dir:/nonexistent/kept\n")
    admin.host.configured(f'[tables]\nrecipients = ["texthash:{table}"]\n')
    assert admin.named() == ["error quarantine"]


def test_table_in_a_list_of_patterns(admin: Admin) -> None:
    admin.host.configured('[policy]\nwelcome_senders = ["hash:/etc/postfix/none"]\n')
    assert admin.named() == ["error table"]


ADDRESSES = {"root@lab.example": [], "spam@lab.example": ["warning quarantine-address"], "spam@example.com": []}


@pytest.mark.parametrize(("address", "expected"), ADDRESSES.items(), ids=ADDRESSES)
def test_quarantine_at_an_address_of_this_host(admin: Admin, address: str, expected: list[str]) -> None:
    """Whoever has no account and no alias; of other domains nothing is known."""
    admin.postfix.configure(
        "mydestination = lab.example\nlocal_recipient_maps = proxy:unix:passwd.byname $alias_maps\n"
        "alias_maps = inline:{postmaster=root}\n"
    )
    admin.host.configured(f'[policy]\nkill_level = 9\nquarantine = "{address}"\n')
    assert admin.named() == expected
    table = admin.settings.with_name("check-table")
    table.write_text(f"jane@example.com  kill_level=9 quarantine={address}\n")
    admin.host.configured(f'[tables]\nrecipients = ["texthash:{table}"]\n')
    assert admin.named() == expected


STORES: dict[str, Callable[[Path, int], object]] = {
    "of root": lambda folder, _: folder.chmod(0o755),
    "of everybody": lambda folder, number: (os.chown(folder, number, number), folder.chmod(0o777)),
    "missing with the folder above": lambda folder, _: folder.rmdir(),
    "link": lambda folder, _: (folder.rmdir(), folder.symlink_to("/tmp")),
}


@pytest.mark.parametrize("kind", ["dir:{}/sub/kept", "maildir:{}/sub/kept", "mbox:{}/sub/kept"])
@pytest.mark.parametrize("spoil", [STORES["of root"], STORES["missing with the folder above"]])
def test_store_that_cannot_be_made(
    admin: Admin, tmp_path: Path, kind: str, spoil: Callable[[Path, int], object]
) -> None:
    place = admin.host.directory / "check-stores"
    (place / "sub").mkdir(parents=True)
    spoil(place / "sub", admin.host.number)
    admin.host.configured(f'[policy]\nkill_level = 9\nquarantine = "{kind.format(place)}"\n')
    assert admin.named() == ["error quarantine"]
    run(["rm", "-r", place])


@pytest.mark.parametrize("spoil", [STORES["of everybody"], STORES["link"]])
def test_store_that_others_could_write_to(admin: Admin, spoil: Callable[[Path, int], object]) -> None:
    place = admin.host.directory / "check-store"
    place.mkdir()
    spoil(place, admin.host.number)
    admin.host.configured(f'[policy]\nkill_level = 9\nquarantine = "dir:{place}"\n')
    assert admin.named() == ["error quarantine"]
    run(["rm", "-r", place])


@pytest.mark.parametrize("kind", ["dir:/mnt/kept", "maildir:/mnt/kept/sub", "mbox:/mnt/kept/mbox"])
def test_store_on_a_full_disk(admin: Admin, kind: str) -> None:
    run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", "/mnt"])
    try:
        run(["install", "-d", "-o", FILTER_ACCOUNT, "-m", "700", "/mnt/kept"])
        Path("/mnt/filler").write_bytes(bytes(64 << 10))
        admin.host.configured(f'[policy]\nkill_level = 9\nquarantine = "{kind}"\n')
        found = admin.bad()
    finally:
        run(["umount", "/mnt"])
    assert [each["id"] for each in found] == ["quarantine"]
    assert "no space left" in found[0]["text"]


def test_without_root_it_says_who_looked(admin: Admin) -> None:
    number = admin.host.number
    ended = admin.run("check", user=number, group=number, extra_groups=[], env={"PATH": "/usr/bin:/bin"}, cwd="/")
    assert ended.returncode == 1
    assert f"this is {FILTER_ACCOUNT}: what the filter's account can reach was not tried" in ended.stdout
    assert "error" not in ended.stdout


def test_people_are_told_each_finding_in_a_line_with_its_remedy(admin: Admin) -> None:
    admin.run("compile")
    admin.postfix.configure("content_filter = spamcheck:\n", admin.transport("flags=Rq", "flags=R"))
    ended = admin.run("check")
    warning, error, summary = ended.stdout.splitlines()
    assert warning.startswith("warning  transport-flags  /etc/postfix/master.cf: spamcheck: flags=R without q: ")
    assert warning.endswith(". Write flags=Rq there, then run: postfix reload")
    assert error.startswith(
        "error    loop             /etc/postfix/main.cf: content_filter=spamcheck: holds for pickup"
    )
    assert summary.startswith("1 error, 1 warning; ")
    assert ended.returncode == 2


def test_looking_queues_and_delivers_nothing(admin: Admin) -> None:
    admin.findings()
    assert admin.postfix.queued() == []
    assert admin.host.mailbox.count() == 0
