"""examples/local.cf and examples/learning: what was learned moves a score, for those whom it is meant for.

Each of the three arrangements runs as its files say, with SpamAssassin's own rules and limits: 200 messages of each
kind before Bayes says anything. Each letter has a writer and a network of its own, so that only words are alike.
"""

import contextlib
import itertools
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from proving import JANE, SAM, Host, by_recipient

from lab.learning import ACCOUNT, STATE, TRACE, Learning, letter, mbox
from lab.local_users import accounts
from lab.mailbox import Copy
from lab.tools import run

ENOUGH = range(200)
SITE, USERS = STATE / "learned", STATE / "users"
KEPT = '[policy]\nkill_level = 19\ndestiny = "discard"\nquarantine = "dir:{folder}"\n'
CAROL, DAVE = "carol@example.com", "dave@example.com"
TWELVE, TWENTY = "X-Test-Score: 12\n", "X-Test-Score: 20\n"


class Site:
    """The mail host with one arrangement of SpamAssassin: training it, and asking it."""

    def __init__(self, host: Host, spamd: Learning, homes: list[Path]) -> None:
        self.host = host
        self.spamd = spamd
        self.untrained: dict[str, Copy] = {}
        self.homes = homes
        self._numbers = itertools.count(1000)

    def train(self, account: str, *options: str, kinds: tuple[str, ...] = ("spam", "ham")) -> None:
        """Run sa-learn as an account, for enough letters of each kind."""
        for kind in kinds:
            said = self.spamd.train(account, kind, mbox(kind, ENOUGH), *options)
            assert "Learned tokens from 200 message(s)" in said

    def send(self, kind: str, *recipients: str, fields: str = "", number: int | None = None) -> list[Copy]:
        """Send a letter that was not sent before, by its own writer or the one of a number."""
        self.host.mailbox.clear()
        self.queue_id = self.host.put(letter(kind, number or next(self._numbers), fields), recipients or (JANE,))
        return self.host.settled()

    def logged(self, kind: str, *recipients: str) -> str:
        """Send a letter, and return the tests that the filter's log names for it."""
        self.send(kind, *recipients)
        return self.host.syslog.wait_for(f"{self.queue_id}: from=").partition(" tests=")[2]

    def teach(self, user: str) -> None:
        """Tell spamd that a letter which was not sent is spam, for this user and as the filter's account."""
        told = self.host.as_filter(["spamc", "-L", "spam", "-u", user], input=letter("other", next(self._numbers)))
        assert told.stdout == b"Message successfully un/learned\n"

    def learned(self, account: str, *options: str) -> int:
        """Return how many messages the database that this account reads has learned as spam."""
        magic = run(["runuser", "-u", account, "--", "sa-learn", *options, "--dump", "magic"])
        (number,) = re.findall(r" (\d+) +\d+ +non-token data: nspam\n", magic)
        return int(number)

    def admin(self, *words: str) -> str:
        """Run pf-spamfilt-admin quarantine."""
        command = Path(self.host.command).with_name("pf-spamfilt-admin")
        return run([command, "-c", "/etc/postfix", "quarantine", *words])


def score(copy: Copy) -> float:
    """Return what X-Spam-Status says."""
    return float(str(copy.header("X-Spam-Status")).partition("score=")[2].partition(" ")[0])


def required(copy: Copy) -> float:
    """Return what X-Spam-Status says is required."""
    return float(str(copy.header("X-Spam-Status")).partition("required=")[2].partition(" ")[0])


def hits(copy: Copy) -> str:
    """Return the tests that X-Spam-Status names."""
    return str(copy.header("X-Spam-Status")).partition("tests=")[2].partition(" autolearn=")[0]


def owner_and_mode(file: Path) -> tuple[str, int]:
    return file.owner(), file.stat().st_mode & 0o777


def train_sitewide(site: Site) -> None:
    run(["install", "-d", "-o", ACCOUNT, "-g", ACCOUNT, "-m", "700", SITE])
    site.untrained = {kind: site.send(kind)[0] for kind in ("spam", "ham")}
    site.train(ACCOUNT)


def train_as_root(site: Site) -> None:
    run(["install", "-d", "-o", ACCOUNT, "-g", ACCOUNT, "-m", "700", SITE])
    site.train("root")


def train_jane(site: Site) -> None:
    site.send("ham", JANE, SAM)
    site.train(ACCOUNT, "--dbpath", f"{USERS}/{JANE}/bayes")


def train_carol(site: Site) -> None:
    site.train("carol")


TRAINED = {
    "sitewide": ("sitewide", train_sitewide),
    "sitewide, trained by root": ("sitewide", train_as_root),
    "virtual users": ("virtual-users", train_jane),
    "system users": ("system-users", train_carol),
}


@pytest.fixture(scope="module")
def site(request: pytest.FixtureRequest, module_mailhost: Host) -> Iterator[Site]:
    """The mail host as one of TRAINED, as README.md says; there is one at a time."""
    host = module_mailhost
    arrangement, train = TRAINED[request.param]
    with contextlib.ExitStack() as stack:
        users = stack.enter_context(accounts(host, "carol", "dave"))
        spamd = stack.enter_context(Learning(host.directory, arrangement))
        folder = spamd.directory / "kept"
        folder.mkdir()
        os.chown(folder, host.number, host.number)
        host.settings(spamd.settings() + KEPT.format(folder=folder))
        site = Site(host, spamd, [user.home for user in users.values()])
        train(site)
        yield site


def on(*names: str) -> pytest.MarkDecorator:
    """Run a test on these of TRAINED."""
    return pytest.mark.parametrize("site", names, indirect=True)


@on("sitewide", "virtual users", "system users")
def test_spamassassin_finds_no_error_in_the_files(site: Site) -> None:
    assert run(["runuser", "-u", ACCOUNT, "--", "spamassassin", "-L", "--lint"]) == ""


@on("sitewide")
def test_untrained_bayes_says_nothing(site: Site) -> None:
    assert "BAYES" not in "".join(map(hits, site.untrained.values()))


@on("sitewide")
def test_nothing_is_learned_by_itself(site: Site) -> None:
    assert "autolearn=disabled" in str(site.send("spam", fields=TWELVE)[0].header("X-Spam-Status"))


@on("sitewide")
def test_training_raises_the_score_of_spam(site: Site) -> None:
    copy = site.send("spam")[0]
    assert "BAYES_99" in hits(copy)
    assert score(copy) >= score(site.untrained["spam"]) + 3


@on("sitewide")
def test_training_lowers_the_score_of_ham(site: Site) -> None:
    copy = site.send("ham")[0]
    assert "BAYES_00" in hits(copy)
    assert score(copy) <= score(site.untrained["ham"]) - 1


@on("sitewide")
def test_training_is_in_the_log_for_one_recipient_and_for_several(site: Site) -> None:
    """Whose name spamd is told does not matter."""
    assert "BAYES_99" in site.logged("spam", JANE)
    assert "BAYES_99" in site.logged("spam", JANE, SAM)
    assert "unable to find user" not in site.spamd.log_file.read_text()


@on("sitewide")
def test_databases_of_the_site_belong_to_spamd_alone(site: Site) -> None:
    site.send("ham")
    names = {"bayes_toks", "bayes_seen", "tx-reputation"}
    assert {file.name for file in SITE.iterdir()} >= names | {"tx-reputation.mutex"}  # which is flock's
    assert {owner_and_mode(file) for file in SITE.iterdir()} == {(ACCOUNT, 0o600)}


@on("sitewide")
def test_what_quarantine_learns_moves_the_score_of_its_like(site: Site) -> None:
    before = site.send("other")[0]
    assert site.send("other", fields=TWENTY) == []
    (name,) = (entry["id"] for entry in json.loads(site.admin("list", "--json")))
    assert site.admin("learn", "spam", name).startswith(f"learned as spam: {name}")
    after = site.send("other")[0]
    assert "BAYES_9" not in hits(before)
    assert "BAYES_9" in hits(after)
    assert score(after) >= score(before) + 2


@on("sitewide")
def test_sender_of_spam_scores_more_with_his_next_message(site: Site) -> None:
    bad = 901
    for kind in ("spam", "other"):
        site.send(kind, fields=TWELVE, number=bad)
    copy, unknown = site.send("ham", number=bad)[0], site.send("ham")[0]
    assert "TXREP" in hits(copy)
    assert "TXREP" not in hits(unknown)
    assert score(copy) >= score(unknown) + 3


@on("sitewide")
def test_sender_of_ham_scores_less_with_an_odd_message(site: Site) -> None:
    good = 902
    for kind in ("ham", "other"):
        site.send(kind, fields="X-Test-Score: -5\n", number=good)
    copy, unknown = site.send("spam", fields=TWELVE, number=good)[0], site.send("spam", fields=TWELVE)[0]
    assert score(copy) <= score(unknown) - 3


def counted(number: int) -> set[str]:
    """Return how many messages TxRep has counted under the names that have a writer's address."""
    dump = run(["runuser", "-u", ACCOUNT, "--", "sa-awl", str(SITE / "tx-reputation")])
    return set(re.findall(rf"/(\d+)\)  *--  *writer@client{number}\.example\|", dump))


@on("sitewide")
def test_message_that_is_scanned_again_is_counted_once(site: Site) -> None:
    number = 904
    for _ in range(2):
        site.send("other", number=number)
    assert counted(number) == {"1"}
    site.send("ham", number=number)
    assert counted(number) == {"2"}


@on("sitewide")
def test_what_spamd_is_told_is_learned_of_the_sender_too(site: Site) -> None:
    bad = 905
    told = site.host.as_filter(["spamc", "-L", "spam"], input=letter("other", bad, TRACE))
    assert told.stdout == b"Message successfully un/learned\n"
    copy, unknown = site.send("ham", number=bad)[0], site.send("ham")[0]
    assert "TXREP" in hits(copy)
    assert score(copy) > score(unknown)


@on("sitewide, trained by root")
def test_database_that_root_has_made_is_not_read(site: Site) -> None:
    """Why README.md insists on the account: mail goes on, and Bayes says nothing."""
    assert "BAYES" not in site.logged("spam")
    assert "cannot open bayes databases" in site.spamd.log_file.read_text()
    run(["chown", "-R", f"{ACCOUNT}:{ACCOUNT}", SITE])
    assert "BAYES_99" in site.logged("spam")


@on("virtual users")
def test_address_is_scored_by_its_own_training(site: Site) -> None:
    """One message for two, of whom one has trained SpamAssassin."""
    copies = {to: found[0] for to, found in by_recipient(site.send("spam", JANE, SAM)).items()}
    assert "BAYES_99" in hits(copies[JANE])
    assert "BAYES" not in hits(copies[SAM])
    assert score(copies[JANE]) >= score(copies[SAM]) + 3


@on("virtual users")
def test_address_with_extension_has_its_users_database(site: Site) -> None:
    assert "BAYES_99" in site.logged("spam", "jane+news@example.com")
    assert {folder.name for folder in USERS.iterdir()} == {JANE, SAM}


@on("virtual users")
def test_databases_of_addresses_belong_to_spamd_alone(site: Site) -> None:
    assert "BAYES_99" in site.logged("spam")
    files = [file for folder in USERS.iterdir() for file in folder.iterdir()]
    assert {f"{JANE}/bayes_toks", f"{SAM}/tx-reputation"} <= {f"{file.parent.name}/{file.name}" for file in files}
    assert {owner_and_mode(file) for file in files} == {(ACCOUNT, 0o600)}


@on("virtual users")
def test_address_has_preferences_in_its_folder(site: Site) -> None:
    assert required_of(site, SAM, USERS / SAM) == [2.5]
    assert required_of(site, JANE, USERS / SAM) == [5.0]


@on("virtual users")
def test_spamd_learns_for_the_address_that_it_is_told(site: Site) -> None:
    before = site.learned(ACCOUNT, "--dbpath", f"{USERS}/{JANE}/bayes")
    site.teach(SAM)
    assert site.learned(ACCOUNT, "--dbpath", f"{USERS}/{SAM}/bayes") == 1
    assert site.learned(ACCOUNT, "--dbpath", f"{USERS}/{JANE}/bayes") == before


@on("virtual users")
def test_senders_reputation_is_of_each_address_alone(site: Site) -> None:
    bad = 903
    for kind in ("spam", "other"):
        site.send(kind, SAM, fields=TWELVE, number=bad)
    copies = {to: found[0] for to, found in by_recipient(site.send("ham", JANE, SAM, number=bad)).items()}
    assert "TXREP" in hits(copies[SAM])
    assert "TXREP" not in hits(copies[JANE])


@on("system users")
def test_user_is_scored_by_his_own_training(site: Site) -> None:
    copies = {to: found[0] for to, found in by_recipient(site.send("spam", CAROL, DAVE)).items()}
    assert "BAYES_99" in hits(copies[CAROL])
    assert "BAYES" not in hits(copies[DAVE])


@on("system users")
def test_databases_of_users_are_their_own(site: Site) -> None:
    site.send("ham", CAROL, DAVE)
    for home in site.homes:
        assert (home / ".spamassassin" / "user_prefs").exists()
        databases = {file for file in (home / ".spamassassin").iterdir() if file.name != "user_prefs"}
        assert "tx-reputation" in {file.name for file in databases}
        assert {owner_and_mode(file) for file in databases} == {(home.name, 0o600)}


@on("system users")
def test_address_that_is_no_account_has_no_database(site: Site) -> None:
    """Then spamd becomes nobody, who has no home."""
    assert "BAYES" not in site.logged("spam", "erin@example.com")
    log = site.spamd.log_file.read_text()
    assert "spamd: handle_user (getpwnam) unable to find user: 'erin'" in log
    assert "falling back to nobody" in log


@on("system users")
def test_user_has_preferences_in_his_home(site: Site) -> None:
    """Here spamd runs as Debian starts it."""
    site.send("ham", CAROL, DAVE)
    folder = site.homes[1] / ".spamassassin"
    assert required_of(site, DAVE, folder) == [2.5]
    assert required_of(site, CAROL, folder) == [5.0]


@on("system users")
def test_spamd_learns_for_the_user_that_it_is_told(site: Site) -> None:
    before = site.learned("carol")
    site.teach("dave")
    assert (site.learned("dave"), site.learned("carol")) == (1, before)
    assert owner_and_mode(site.homes[1] / ".spamassassin" / "bayes_toks") == ("dave", 0o600)


def required_of(site: Site, recipient: str, folder: Path) -> list[float]:
    """Return what is required for an address when the preferences in this folder say 2.5."""
    (folder / "user_prefs").write_text("required_score 2.5\n")
    try:
        return [required(copy) for copy in site.send("other", recipient)]
    finally:
        (folder / "user_prefs").unlink()
