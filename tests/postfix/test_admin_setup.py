"""pf-spamfilt-admin setup on a Postfix as the distribution ships it: filtered afterwards, as it was after --remove.

/etc is a copy here, in the lab's mount namespace, so that the real useradd and userdel work on it.
"""

import os
import pwd
import shutil
import smtplib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from proving import MESSAGES, Host, marks

from lab import namespace
from lab.postfix import DISTRIBUTED, EXAMPLE, QUEUES
from lab.tools import ENVIRONMENT, run

ACCOUNT_FILES = ("passwd", "group", "shadow", "gshadow")
STORE = "/var/tmp/pf-spamfilt-setup-test"
FAILING = """#!/bin/sh
[ "$1" = "{word}" ] && {{ echo "{word}: out of order" >&2; exit 1; }}
PATH={path} exec {name} "$@"
"""

Files = dict[str, tuple[bytes, int, int, int]]


class Plain:
    """A host whose master.cf is the distribution's, but for the SMTP server's port; nothing of the filter is there."""

    def __init__(self, host: Host, directory: Path) -> None:
        self.host = host
        self.service = f"127.0.0.1:{host.postfix.port}/inet"
        self.configuration = host.postfix.configuration
        self._directory = directory
        self._settings = self.configuration / "pf-spamfilt.toml"
        self._admin = Path(host.command).with_name("pf-spamfilt-admin")
        self._reloads = 0
        self._reloads = self.reloads()

    def prepare(self) -> None:
        """Write master.cf and an /etc without the filter's account; spamc.conf says where spamd is."""
        for name in ACCOUNT_FILES:
            file = self._directory / name
            lines = file.read_text().splitlines(keepends=True)
            file.write_text("".join(line for line in lines if not line.startswith("spamfilt:")))
        (self._directory / "spamassassin" / "spamc.conf").write_text(f"-p {self.host.spamd.port}\n")
        namespace.bind(self._directory, "/etc")
        namespace.bind(self.configuration, "/etc/postfix")
        text = next(file for file in DISTRIBUTED if file.exists()).read_text()
        assert text.count("\nsmtp      inet") == 1
        self.configuration.joinpath("master.cf").write_text(
            text.replace("\nsmtp ", f"\n127.0.0.1:{self.host.postfix.port} ", 1)
        )
        self._settings.unlink()
        self.host.postfix.start()

    def setup(self, *words: str, status: int = 0, path: str = "", **options: object) -> str:
        """Run the command as an administrator does; return what it printed, errors too."""
        environment = ENVIRONMENT | {"PATH": f"{path}{self._admin.parent}:{ENVIRONMENT['PATH']}"}
        done = subprocess.run(  # type: ignore[call-overload]
            ["pf-spamfilt-admin", "setup", *words], env=environment, cwd="/root", text=True, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
        )  # fmt: skip
        assert done.returncode == status, done.stdout
        return str(done.stdout)

    def install(self, *words: str, **options: object) -> str:
        """Have the SMTP server filtered."""
        said = self.setup("--service", self.service, "--apply", *words, **options)
        if account := self.account():
            self.host.number = account.pw_uid
        return said

    def account(self) -> pwd.struct_passwd | None:
        """Return the filter's account, if there is one."""
        return next((each for each in pwd.getpwall() if each.pw_name == "spamfilt"), None)

    def files(self) -> Files:
        """Return all that setup may touch: bytes, mode, owner and inode, which an edit replaces."""
        found = [file for file in self.configuration.rglob("*") if file.is_file()]
        found += [Path("/etc", name) for name in ACCOUNT_FILES]
        return {str(file): (file.read_bytes(), file.stat().st_mode, file.stat().st_uid, file.stat().st_ino)
                for file in found}  # fmt: skip

    def contents(self) -> Files:
        """Return the same without the inode."""
        return {name: (*facts[:3], 0) for name, facts in self.files().items()}

    def reloads(self) -> int:
        """Return how often Postfix was told to read its files again."""
        return len(self.host.postfix.log_lines("refreshing the Postfix mail system")) - self._reloads

    def failing(self, name: str, word: str) -> str:
        """Return what to put before PATH, where a program fails if its first argument is this word."""
        folder = self._directory / "failing"
        folder.mkdir(exist_ok=True)
        stub = folder / name
        stub.write_text(FAILING.format(name=name, word=word, path=ENVIRONMENT["PATH"]))
        stub.chmod(0o755)
        return f"{folder}:"


@pytest.fixture
def plain(session_mailhost: Host, tmp_path: Path) -> Iterator[Plain]:
    """The lab's host without a filter, with an /etc of its own, until the end of the test."""
    host = session_mailhost
    host.reset()
    number = host.number
    host.postfix.stop()
    run(["cp", "-a", "/etc", tmp_path / "etc"])
    kept = {file: file.read_bytes() for file in host.postfix.configuration.iterdir() if file.is_file()}
    plain = Plain(host, tmp_path / "etc")
    try:
        plain.prepare()
        yield plain
    finally:
        host.postfix.stop()
        namespace.uncover("/etc/postfix")
        namespace.uncover("/etc")
        host.number = number
        shutil.rmtree(STORE, ignore_errors=True)
        for file in set(host.postfix.configuration.iterdir()) - set(kept):
            if file.is_file():
                file.unlink()
        for file, content in kept.items():
            file.write_bytes(content)
        host.postfix.configure()
        host.reset()


def commands(said: str) -> str:
    """Return the commands of a plan."""
    start = said.index("\n# An account")
    return said[start : said.index("\nNothing has been changed.")]


def test_mail_is_filtered_after_apply(plain: Plain) -> None:
    (before,) = plain.host.deliver("gtube")
    plain.host.mailbox.clear()
    plain.install()
    (after,) = plain.host.deliver("gtube")
    assert (marks(before), after.header("X-Spam-Flag")) == ([], "YES")


def test_the_files_are_the_same_after_remove(plain: Plain) -> None:
    """Byte for byte, with their modes and owners; and no other file is left."""
    before = plain.contents()
    plain.install()
    plain.setup("--remove", "--apply")
    assert plain.contents() == before


def test_mail_is_not_filtered_after_remove(plain: Plain) -> None:
    plain.install()
    plain.setup("--remove", "--apply")
    (copy,) = plain.host.deliver("gtube")
    assert marks(copy) == []


def test_a_plan_changes_nothing(plain: Plain) -> None:
    before = plain.files()
    said = plain.setup("--service", plain.service)
    assert "--apply does this" in said
    assert (plain.files(), plain.reloads()) == (before, 0)


def test_a_second_apply_changes_nothing(plain: Plain) -> None:
    plain.install()
    before, reloads = plain.files(), plain.reloads()
    said = plain.setup("--apply")
    assert said == "Nothing to do: it is set up.\n"
    assert (plain.files(), plain.reloads(), reloads) == (before, 1, 1)


def test_a_second_remove_changes_nothing(plain: Plain) -> None:
    plain.install()
    plain.setup("--remove", "--apply")
    before, reloads = plain.files(), plain.reloads()
    said = plain.setup("--remove", "--apply")
    assert said == "Nothing to do: there is nothing of setup's here.\n"
    assert (plain.files(), plain.reloads()) == (before, reloads)


def test_the_commands_of_the_plan_do_the_same_as_apply(plain: Plain) -> None:
    """A person may paste them into a shell; only the compiled settings, which are stamped, differ."""
    script = commands(plain.setup("--service", plain.service))
    path = f"{Path(plain.host.command).parent}:{ENVIRONMENT['PATH']}"
    subprocess.run(["sh", "-eu"], input=script, text=True, env=ENVIRONMENT | {"PATH": path}, cwd="/", check=True)
    pasted = plain.contents()
    plain.setup("--remove", "--apply")
    plain.install()
    compiled = f"{plain.configuration}/pf-spamfilt.toml.compiled"
    applied = plain.contents()
    assert pasted.pop(compiled)[1:] == applied.pop(compiled)[1:]
    assert pasted == applied


def test_what_is_queued_for_the_filter_keeps_its_transport(plain: Plain) -> None:
    """The message is named; new mail is not filtered any more; the queued message is, when spamd is back."""
    plain.install()
    plain.host.spamd.kill()
    queue_id = plain.host.put("gtube")
    plain.host.deferred(queue_id)
    said = plain.setup("--remove", "--apply", status=1)
    assert f"1 queued message still to be filtered by spamcheck: {queue_id}\n" in said
    plain.host.put("multipart")
    (unfiltered,) = plain.host.mailbox.wait_for(1)
    plain.host.spamd.start()
    filtered = plain.host.retry(2)[1]
    assert (marks(unfiltered), filtered.header("X-Spam-Flag")) == ([], "YES")


def test_remove_ends_when_no_queued_message_is_for_the_filter(plain: Plain) -> None:
    """With others in the queue, and after a run that had to leave the transport."""
    run(["postconf", "-e", "defer_transports=virtual"])
    plain.host.postfix.reload()
    before = plain.contents()
    plain.host.put("clean")
    plain.install()
    plain.host.postfix.wait_log("status=deferred (deferred transport)")
    plain.host.spamd.kill()
    queue_id = plain.host.put("gtube")
    plain.host.postfix.wait_log(queue_id, "status=deferred")
    plain.setup("--remove", "--apply", status=1)
    run(["postsuper", "-d", queue_id])
    assert plain.setup("--remove", "--apply").endswith("\nDone.\n")
    assert (plain.contents(), len(plain.host.postfix.queued())) == (before, 1)


def test_a_requeued_message_goes_past_the_filter(plain: Plain) -> None:
    """As the error of --remove says of postsuper -r."""
    plain.install()
    plain.host.spamd.kill()
    queue_id = plain.host.put("gtube")
    plain.host.deferred(queue_id)
    plain.setup("--remove", "--apply", status=1)
    run(["postsuper", "-r", queue_id])
    run(["sh", "-c", "sendmail -i jane@example.com </dev/null"])  # wakes pickup(8)
    assert [marks(copy) for copy in plain.host.once(2)] == [[], []]
    plain.setup("--remove", "--apply")


def test_mail_of_a_session_that_had_begun_before_is_not_lost(plain: Plain) -> None:
    """It is still for the filter; Postfix keeps it without a transport, and postsuper -r delivers it."""
    plain.install()
    with smtplib.SMTP("127.0.0.1", plain.host.postfix.port) as session:
        session.ehlo("client.example")
        plain.setup("--remove", "--apply")
        session.sendmail("anna@client.example", ["jane@example.com"], MESSAGES["gtube"])
    plain.host.postfix.wait_log("status=deferred (mail transport unavailable)")
    run(["postsuper", "-r", "ALL"])
    run(["sh", "-c", "sendmail -i jane@example.com </dev/null"])  # wakes pickup(8)
    assert [marks(copy) for copy in plain.host.once(2)] == [[], []]


def test_setup_says_that_no_spamd_answers(plain: Plain) -> None:
    plain.host.spamd.kill()
    said = plain.install()
    assert "Warning: spamc cannot connect to spamd. While that is so, mail waits" in said
    assert "systemctl enable --now spamd" in said


def test_spam_is_kept_in_the_quarantine_that_setup_makes(plain: Plain) -> None:
    plain.install("--quarantine", f"dir:{STORE}")
    plain.host.put("gtube")
    plain.host.deliver("clean")
    (kept,) = Path(STORE).iterdir()
    assert kept.read_bytes().endswith(MESSAGES["gtube"].partition(b"\n\n")[2])
    assert (Path(STORE).stat().st_mode & 0o777, Path(STORE).owner()) == (0o700, "spamfilt")


def test_remove_leaves_kept_mail_and_the_account_whose_it_is(plain: Plain) -> None:
    plain.install("--quarantine", f"dir:{STORE}")
    plain.host.put("gtube")
    plain.host.deliver("clean")
    said = plain.setup("--remove", "--apply")
    assert f"# {STORE} stays, and so does the account spamfilt, whose it is." in said
    assert f"\n# 1 message stays kept: pf-spamfilt-admin quarantine list --store dir:{STORE}\n" in said
    assert (len(list(Path(STORE).iterdir())), plain.account() is not None) == (1, True)


def test_remove_says_of_kept_mail_where_the_account_is_not_setups(plain: Plain) -> None:
    """The settings that name the store go; the command that is named finds the mail."""
    run(["useradd", "--system", "spamfilt"])
    plain.install("--quarantine", f"maildir:{STORE}")
    for _ in range(2):
        plain.host.put("gtube")
    plain.host.deliver("clean")
    said = plain.setup("--remove", "--apply")
    command = f"pf-spamfilt-admin quarantine list --store maildir:{STORE}"
    assert f"\n# 2 messages stay kept: {command}\n" in said
    path = f"{Path(plain.host.command).parent}:{ENVIRONMENT['PATH']}"
    done = subprocess.run(command.split(), env=ENVIRONMENT | {"PATH": path}, capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 3


def test_remove_takes_an_empty_quarantine_away(plain: Plain) -> None:
    before = plain.contents()
    plain.install("--quarantine", f"maildir:{STORE}")
    for name in ("cur", "new", "tmp"):
        Path(STORE, name).mkdir()
    plain.setup("--remove", "--apply")
    assert (plain.contents(), Path(STORE).exists()) == (before, False)


def test_wrong_settings_do_not_hinder_removing_the_filter(plain: Plain) -> None:
    """What else is the account's they cannot say, so that stays."""
    plain.install()
    (plain.configuration / "pf-spamfilt.toml").write_text("[policy")
    said = plain.setup("--remove", "--apply")
    assert "# The account spamfilt stays, and what may be its: " in said
    assert plain.account() is not None
    (copy,) = plain.host.deliver("gtube")
    assert marks(copy) == []


SETTING_UP = {"useradd": "--system", "runuser": "-u", "cp": "-p", "postconf": "-M", "postfix": "reload"}
REMOVING = {
    "postconf -M": "-M",
    "postfix": "reload",
    "postconf -MX": "-MX",
    "mv": "/etc/postfix/master.cf.before-pf-spamfilt",
    "rm": "-f",
    "userdel": "spamfilt",
}


@pytest.mark.parametrize(("program", "word"), SETTING_UP.items(), ids=SETTING_UP)
def test_setting_up_goes_on_after_a_step_that_failed(plain: Plain, program: str, word: str) -> None:
    """Mail is delivered meanwhile; what was done is not done again."""
    said = plain.install(path=plain.failing(program, word), status=1)
    assert "Error: the last command above failed, those before it are done. Mend what it says, and run this" in said
    assert said.endswith(f": {word}: out of order\n")
    plain.host.deliver("clean")
    plain.host.mailbox.clear()
    plain.install()
    (copy,) = plain.host.deliver("gtube")
    assert (copy.header("X-Spam-Flag"), plain.reloads()) == ("YES", 1)


@pytest.mark.parametrize(("program", "word"), REMOVING.items(), ids=REMOVING)
def test_removing_goes_on_after_a_step_that_failed(plain: Plain, program: str, word: str) -> None:
    before = plain.contents()
    plain.install()
    plain.setup("--remove", "--apply", path=plain.failing(program.split()[0], word), status=1)
    plain.host.deliver("clean")
    plain.host.mailbox.clear()
    plain.setup("--remove", "--apply")
    (copy,) = plain.host.deliver("gtube")
    assert (plain.contents(), marks(copy)) == (before, [])


class Instance:
    """The configuration of a Postfix that does not run, as the distribution ships it."""

    def __init__(self, directory: Path, command: Path) -> None:
        self.directory = directory
        self.main, self.master = directory / "main.cf", directory / "master.cf"
        self.settings = directory / "pf-spamfilt.toml"
        self._admin = command.with_name("pf-spamfilt-admin")
        shutil.copy(next(file for file in DISTRIBUTED if file.exists()), self.master)
        self.main.write_text(f"compatibility_level = 3.6\nqueue_directory = {directory}/queue\n")
        for name in QUEUES:
            (directory / "queue" / name).mkdir(parents=True)
        self._date_back()

    def setup(self, *words: str, status: int = 0, **options: object) -> str:
        """Run the command for this instance; return what it printed, errors too."""
        done = subprocess.run(  # type: ignore[call-overload]
            [self._admin, "-c", self.directory, "setup", *words], env=ENVIRONMENT, cwd="/", text=True, check=False,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **options,
        )  # fmt: skip
        assert done.returncode == status, done.stdout
        return str(done.stdout)

    def install(self, *words: str) -> str:
        """Set it up, with an account that there is."""
        return self.setup("--user", "nobody", "--apply", *words)

    def edit(self, *words: str) -> None:
        """Have postconf(1) change it."""
        run(["postconf", "-c", self.directory, *words])
        self._date_back()

    def entry(self, name: str) -> list[str]:
        """Return the words of an entry."""
        return run(["postconf", "-c", self.directory, "-M", name]).split()

    def _date_back(self) -> None:
        """Make main.cf look a minute old: postconf(1) waits until it is more than a second old."""
        os.utime(self.main, (time.time() - 60, time.time() - 60))

    def contents(self) -> dict[str, bytes]:
        """Return all files."""
        return {file.name: file.read_bytes() for file in self.directory.iterdir() if file.is_file()}


@pytest.fixture
def instance(lab_command: str, tmp_path: Path) -> Instance:
    """A Postfix instance that does not run."""
    for folder in (tmp_path, *list(tmp_path.parents)[:2]):
        folder.chmod(0o755)
    return Instance(tmp_path, Path(lab_command))


REFUSED = {
    "another program has the transport's name": (
        ["-M", "spamcheck/unix=spamcheck unix - n n - - pipe user=nobody argv=/usr/bin/script"],
        [],
        ["master.cf: spamcheck/unix is there, and does not run pf-spamfilt", "--transport NAME"],
    ),
    "the service has another filter": (
        ["-P", "smtp/inet/content_filter=smtp-amavis:[127.0.0.1]:10024"],
        [],
        ["smtp/inet has content_filter=smtp-amavis:[127.0.0.1]:10024", "-M 'smtp/inet=smtp inet n - y - - smtpd'"],
    ),
    "main.cf has a filter": (
        ["-e", "content_filter=smtp-amavis:[127.0.0.1]:10024"],
        [],
        ["main.cf: content_filter = smtp-amavis:", "-X content_filter"],
    ),
    "nothing listens on port 25": (
        ["-M", "smtp/inet=10025 inet n - y - - smtpd"],
        [],
        ["no SMTP server on port 25", "--service 10025/inet"],
    ),
    "there is no such service": ([], ["--service", "smtps/inet"], ["no such service: there is --service smtp/inet"]),
    "the service is pickup": ([], ["--service", "pickup/unix"], ["it runs pickup, and only smtpd may have a filter"]),
    "the account is root": ([], ["--user", "root"], ["--user root: Postfix runs no filter as root"]),
    "the account is Postfix's": ([], ["--user", "postfix"], ["--user postfix", "nor as its own account"]),
    "the quarantine is an mbox": ([], ["--quarantine", "mbox:/a"], ["it may be dir:/PATH, maildir:/PATH or an"]),
    "the quarantine is no path": ([], ["--quarantine", "dir:a"], ["--quarantine: [policy] quarantine: must be"]),
    "the quarantine is another's": ([], ["--quarantine", "dir:/usr"], ["/usr is there and not spamfilt's: chown it"]),
}  # fmt: skip


@pytest.mark.parametrize(("edit", "words", "said"), REFUSED.values(), ids=REFUSED)
def test_it_changes_nothing_where_a_person_must_decide(
    instance: Instance, edit: list[str], words: list[str], said: list[str]
) -> None:
    if edit:
        instance.edit(*edit)
    before = instance.contents()
    answer = instance.setup("--apply", *words, status=1)
    assert [text for text in said if text not in answer] == [], answer
    assert instance.contents() == before


@pytest.mark.parametrize("end", ["last  unix  -  -  n  -  -  discard", "# the end"])
def test_a_last_line_without_an_end_is_not_written_into(instance: Instance, end: str) -> None:
    """postconf(1) appends the transport to it: it would be part of that entry, or of the comment."""
    with instance.master.open("a") as file:
        file.write(end)
    before = instance.contents()
    said = instance.setup("--user", "nobody", "--apply", status=1)
    assert f"{instance.master}: its last line has no end" in said
    assert instance.contents() == before
    run(["sh", "-c", said.strip().rpartition("First: ")[2]])
    instance.install()
    assert instance.entry("spamcheck/unix")[7] == "pipe"


@pytest.mark.parametrize(
    "words", [["--transport", "a:b"], ["--transport", ""], ["--transport", "a b"], ["--user", "-rf"]]
)
def test_a_name_that_master_cf_cannot_have_is_wrong_usage(instance: Instance, words: list[str]) -> None:
    assert "is no name: it may have letters, digits" in instance.setup("--apply", *words, status=64)


@pytest.mark.parametrize("option", ["-o content_filter=", "-o { content_filter = }"])
def test_a_filter_that_was_set_to_nothing_is_so_again_after_remove(instance: Instance, option: str) -> None:
    text = instance.master.read_text()
    instance.master.write_text(text.replace(" smtpd\n", f" smtpd\n  {option}\n", 1))
    before = instance.contents()
    instance.install()
    instance.setup("--remove", "--apply")
    assert instance.contents() == before


def test_settings_that_are_wrong_are_an_error(instance: Instance) -> None:
    instance.settings.write_text("[spamc]\nserver = 1\n")
    assert f"Error: {instance.settings}: [spamc] server: there is no such key" in instance.setup(status=1)


def test_a_quarantine_is_not_written_into_settings_of_somebody(instance: Instance) -> None:
    instance.settings.write_text("[policy]\n")
    said = instance.setup("--quarantine", "spam@example.com", status=1)
    assert f"{instance.settings} is there: set quarantine in it yourself, below [policy]" in said


def test_settings_of_somebody_stay_as_they_are(instance: Instance) -> None:
    instance.settings.write_text("[policy]\n")
    instance.install()
    assert instance.settings.read_text() == "[policy]\n"


def test_a_quarantine_comes_into_settings_that_only_setup_has_written(instance: Instance) -> None:
    instance.install()
    instance.install("--quarantine", "spam@example.com")
    assert '\nquarantine = "spam@example.com"\n' in instance.settings.read_text()


def test_behind_postscreen_the_smtpd_of_type_pass_is_filtered(instance: Instance) -> None:
    instance.edit("-M", "smtp/inet=smtp inet n - y - 1 postscreen", "smtpd/pass=smtpd pass - - y - - smtpd")
    instance.install()
    assert instance.entry("smtpd/pass")[-1] == "content_filter=spamcheck:"
    assert instance.entry("smtp/inet")[-1] == "postscreen"


def test_the_transport_is_that_of_the_example(instance: Instance) -> None:
    """But for the account, which this test may not make, and the place of the command."""
    instance.install()
    example = [line for line in EXAMPLE.read_text().splitlines() if line and line[0] != "#"]
    words = " ".join(example[:3]).replace("user=spamfilt", "user=nobody").split()
    made = instance.entry("spamcheck/unix")
    assert [word.rpartition("/")[2] for word in made] == [word.rpartition("/")[2] for word in words]


def test_what_is_not_named_stays_as_it_was_chosen(instance: Instance) -> None:
    instance.edit("-M", "10025/inet=10025 inet n - y - - smtpd")
    instance.install("--processes", "3", "--service", "10025/inet")
    assert instance.setup("--apply").startswith("Nothing to do")
    assert instance.entry("spamcheck/unix")[6] == "3"


def test_a_transport_with_other_words_is_set_right(instance: Instance) -> None:
    instance.install()
    right = instance.entry("spamcheck/unix")
    instance.edit("-M", f"spamcheck/unix={' '.join(right).replace('flags=Rq', 'flags=DRhu')}")
    said = instance.setup("--apply")
    assert "\n-spamcheck  unix  -       n       n       -       10      pipe flags=DRhu\n" in said
    assert instance.entry("spamcheck/unix") == right


def test_remove_leaves_settings_that_were_changed(instance: Instance) -> None:
    instance.install()
    instance.settings.write_text("[policy]\n")
    said = instance.setup("--remove", "--apply")
    assert f"# {instance.settings} stays: it is not, or no longer, as setup writes it." in said
    assert instance.settings.read_text() == "[policy]\n"


def test_remove_leaves_an_account_that_setup_has_not_made(instance: Instance) -> None:
    instance.install()
    assert "# The account nobody stays: setup has not made it." in instance.setup("--remove", "--apply")


def test_remove_keeps_what_else_was_changed_in_master_cf(instance: Instance) -> None:
    """The text from before is not put back over it, and stays for comparison."""
    before = instance.master.read_bytes()
    instance.install()
    instance.edit("-P", "submission/inet/smtpd_tls_security_level=encrypt", "smtp/unix/smtp_helo_timeout=5")
    said = instance.setup("--remove", "--apply")
    kept = instance.directory / "master.cf.before-pf-spamfilt"
    assert f"# {kept} stays: master.cf has been changed in other ways, too." in said
    assert kept.read_bytes() == before
    assert "smtp_helo_timeout=5" in instance.entry("smtp/unix")
    assert "content_filter" not in instance.master.read_text()


def test_remove_keeps_a_comment_that_was_added(instance: Instance) -> None:
    instance.install()
    with instance.master.open("a") as file:
        file.write("# mine\n")
    instance.setup("--remove", "--apply")
    assert instance.master.read_text().endswith("# mine\n")


def test_remove_keeps_what_another_transport_needs(instance: Instance) -> None:
    instance.edit("-M", "10025/inet=10025 inet n - y - - smtpd")
    instance.install("--transport", "second", "--service", "10025/inet")
    instance.install("--service", "smtp/inet")
    said = instance.setup("--remove", "--apply")
    assert "# Settings and account stay: second in master.cf uses them." in said
    assert (instance.settings.exists(), instance.entry("10025/inet")[-1]) == (True, "content_filter=second:")


def test_remove_refuses_when_main_cf_names_the_transport(instance: Instance) -> None:
    """Without the transport no mail at all would be delivered."""
    instance.install()
    instance.edit("-e", "content_filter=spamcheck:")
    before = instance.contents()
    assert "main.cf: content_filter = spamcheck:" in instance.setup("--remove", "--apply", status=1)
    assert instance.contents() == before


def test_remove_goes_past_another_filter_in_main_cf(instance: Instance) -> None:
    instance.install()
    instance.edit("-e", "content_filter=smtp-amavis:[127.0.0.1]:10024")
    instance.setup("--remove", "--apply")
    assert "spamcheck" not in instance.master.read_text()


def test_everybody_may_see_the_plan(instance: Instance) -> None:
    assert "--apply does this" in instance.setup(user="nobody", group="nogroup", extra_groups=[])


def test_only_root_may_apply_it(instance: Instance) -> None:
    before = instance.contents()
    said = instance.setup("--apply", user="nobody", group="nogroup", extra_groups=[], status=1)
    assert (said, instance.contents()) == ("Error: only root can do this: without --apply it is only shown\n", before)


def test_the_commands_name_another_instance(instance: Instance) -> None:
    said = instance.setup()
    assert f"\npostconf -c {instance.directory} -M 'smtp/inet=" in said
    assert f"\npf-spamfilt-admin -c {instance.directory} compile\n" in said
