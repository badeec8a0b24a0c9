"""The files of examples/policy at the place that they name, with databases and servers, for tests to ask and to break.

They are used as they are: only the servers' addresses in the .cf files are the lab's.
"""

import contextlib
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from proving import Host, moved

from lab.accounts import FILTER_ACCOUNT
from lab.postgres import Postgres
from lab.slapd import Slapd
from lab.tools import PROJECT, Entered, run

PLACE = "/etc/postfix/spam-policy"
EXAMPLES = PROJECT / "examples" / "policy"
AMAVIS = PROJECT / "tests" / "postfix" / "tables"


def named(table: str) -> str:
    """Return the example's name for a table: type:FILE with the place before FILE."""
    return table.replace(":", f":{PLACE}/", 1)


class Kind(NamedTuple):
    """Tables of one type that say who wants what, and the file that the first of them is read from."""

    tables: list[str]
    file: str


KINDS = {
    "hash": Kind([named("hash:recipients")], "recipients.db"),
    "lmdb": Kind([named("lmdb:recipients")], "recipients.lmdb"),
    "pcre": Kind([named("pcre:recipients.pcre")], "recipients.pcre"),
    "sqlite": Kind([named("sqlite:sqlite/recipients.cf")], "sqlite/recipients.cf"),
    "pgsql": Kind([named("pgsql:pgsql/recipients.cf")], "pgsql/recipients.cf"),
    "ldap": Kind([named("ldap:ldap/recipients.cf")], "ldap/recipients.cf"),
    "amavis-pgsql": Kind([named("pgsql:amavis/pgsql-recipients.cf")], "amavis/pgsql-recipients.cf"),
    "amavis-ldap": Kind(
        [named("ldap:amavis/ldap-tag2_level.cf"), named("ldap:amavis/ldap-kill_level.cf")],
        "amavis/ldap-tag2_level.cf",
    ),
}
# Those whose sample rows have subject tags and lists, too.
WHOLE_KINDS = {name: kind for name, kind in KINDS.items() if name != "amavis-ldap"}
WELCOME = {
    "hash": named("hash:welcome"),
    "lmdb": named("lmdb:welcome"),
    "sqlite": named("sqlite:sqlite/welcome.cf"),
    "pgsql": named("pgsql:pgsql/welcome.cf"),
    "ldap": named("ldap:ldap/welcome.cf"),
}
BLOCK = {
    "pcre": named("pcre:block.pcre"),
    "sqlite": named("sqlite:sqlite/block.cf"),
    "pgsql": named("pgsql:pgsql/block.cf"),
    "ldap": named("ldap:ldap/block.cf"),
}


class Policies(Entered):
    """The example's tables in one mail host; entering starts their servers, install() makes the files as new."""

    def __init__(self, host: Host) -> None:
        super().__init__()
        self.directory = host.postfix.configuration / "spam-policy"
        self.database = Postgres(host.directory)
        self.ldap = Slapd(host.directory)

    def install(self) -> None:
        """Put the files there and make what is made from them, as README.md in the examples says."""
        shutil.rmtree(self.directory, ignore_errors=True)
        shutil.copytree(EXAMPLES, self.directory)
        for table in ("hash:recipients", "lmdb:recipients", "hash:welcome", "lmdb:welcome"):
            run(["postmap", named(table)])
        for script in ("schema.sql", "sample.sql"):
            run(["sqlite3", self.directory / "sqlite" / "policy.db", f".read {EXAMPLES}/sqlite/{script}"])
        for file in self.directory.glob("*/*.cf"):
            self._adapt(file)

    def _begin(self) -> None:
        for server in (self.database, self.ldap):
            self._clean_up.callback(server.stop)
            server.start()
        self.database.create("spamfilt", EXAMPLES / "pgsql" / "schema.sql", EXAMPLES / "pgsql" / "sample.sql")
        self.database.create("mail_prefs", AMAVIS / "amavis.sql")
        self.ldap.add(EXAMPLES / "ldap" / "schema.ldif", EXAMPLES / "ldap" / "sample.ldif", AMAVIS / "amavis.ldif")

    def _adapt(self, file: Path) -> None:
        """Write the lab's addresses into a .cf file, and let only the filter read it when it has a password."""
        text = file.read_text(encoding="utf-8")
        for place, ours in (
            ("hosts = unix:/run/postgresql\n", f"hosts = unix:{self.database.sockets}\n"),
            ("hosts = localhost:5432\n", f"hosts = 127.0.0.1:{self.database.port}\n"),
            ("server_host = ldap://localhost:389\n", f"server_host = ldap://{self.ldap.address}\n"),
        ):
            text = text.replace(place, ours)
        file.write_text(text, encoding="utf-8")
        if "= change-me\n" in text:
            shutil.chown(file, group=FILTER_ACCOUNT)
            file.chmod(0o640)


Broken = contextlib.AbstractContextManager[None]
# What can be wrong with a table: inside the with block it is.
Fault = Callable[[Policies, Kind], Broken]


@contextlib.contextmanager
def between(before: Callable[[], object], after: Callable[[], object]) -> Iterator[None]:
    """Do one thing before the with block, and another after it, whatever happens in it."""
    before()
    try:
        yield
    finally:
        after()


def missing(policies: Policies, kind: Kind) -> Broken:
    """The file is not there."""
    return moved(policies.directory / kind.file)


def damaged(policies: Policies, kind: Kind) -> Broken:
    """The file is something else."""
    return moved(policies.directory / kind.file, lambda file: file.write_bytes(5000 * b"x"))


def unreadable(policies: Policies, kind: Kind) -> Broken:
    """Only root can read the file."""
    file = policies.directory / kind.file
    mode = file.stat().st_mode
    return between(lambda: file.chmod(0o600), lambda: file.chmod(mode))


def database_down(policies: Policies, kind: Kind) -> Broken:
    """PostgreSQL is stopped."""
    return between(policies.database.stop, policies.database.start)


def directory_down(policies: Policies, kind: Kind) -> Broken:
    """The LDAP server is stopped."""
    return between(policies.ldap.stop, policies.ldap.start)


def other_password(policies: Policies, kind: Kind) -> Broken:
    """The server no longer takes the password that is in the file."""
    return _statements(policies, "ALTER ROLE amavis PASSWORD 'another'", "ALTER ROLE amavis PASSWORD 'change-me'")


def forbidden(policies: Policies, kind: Kind) -> Broken:
    """The filter's role may not read in the database."""
    return _statements(policies, "REVOKE SELECT ON setting FROM spamfilt", "GRANT SELECT ON setting TO spamfilt")


def _statements(policies: Policies, before: str, after: str) -> Broken:
    execute = policies.database.execute
    return between(lambda: execute("spamfilt", before), lambda: execute("spamfilt", after))


@contextlib.contextmanager
def locked(policies: Policies, kind: Kind) -> Iterator[None]:
    """Another program is changing the SQLite database."""
    with contextlib.closing(sqlite3.connect(policies.directory / "sqlite" / "policy.db")) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


FAULTS: dict[str, tuple[Kind, Fault]] = {
    f"{name} {fault.__name__}": (KINDS[name], fault)
    for fault, names in (
        (missing, KINDS),
        (unreadable, KINDS),
        (damaged, ("hash", "lmdb")),
        (database_down, ("pgsql", "amavis-pgsql")),
        (directory_down, ("ldap", "amavis-ldap")),
        (other_password, ("amavis-pgsql",)),
        (forbidden, ("pgsql",)),
        (locked, ("sqlite",)),
    )
    for name in names
}
