"""A private PostgreSQL server, on a loopback port and a socket in the lab, with a cluster of its own.

It never sees the host's clusters. Its administrator is the account that it runs as; all others come in by the socket
under the name of their account (peer), and by the port with a password, as Debian's pg_hba.conf has it.
"""

import shutil
from pathlib import Path

from lab.daemon import ACCOUNT, GROUP, Daemon, as_account
from lab.tools import LabError, free_port, run

PROGRAMS = Path("/usr/lib/postgresql")
# Small, and quick to start: what is lost in a crash is of no use to anybody.
SETTINGS = {
    "fsync": "off",
    "max_connections": "20",
    "shared_buffers": "8MB",
    "listen_addresses": "127.0.0.1",
}


class Postgres(Daemon):
    """The private PostgreSQL of one lab; the cluster is made at once, start() starts it."""

    def __init__(self, lab: Path) -> None:
        super().__init__(lab, "postgres")
        self.port = free_port()
        self.sockets = self.directory / "sockets"
        self._data = self.directory / "data"
        self.sockets.mkdir()
        shutil.chown(self.sockets, ACCOUNT, GROUP)
        # Whoever names no port looks for PostgreSQL's usual one.
        (self.sockets / ".s.PGSQL.5432").symlink_to(f".s.PGSQL.{self.port}")
        run(as_account([
            program("initdb"), f"--pgdata={self._data}", "--encoding=UTF8", "--locale=C", "--no-sync",
            "--auth-local=peer", "--auth-host=scram-sha-256",
        ]))  # fmt: skip

    def command(self) -> list[str]:
        """Return the server's command line."""
        place = ["-D", str(self._data), "-p", str(self.port), "-k", str(self.sockets)]
        return [program("postgres"), *place, *(f"--{key}={value}" for key, value in SETTINGS.items())]

    def ready(self) -> list[str]:
        """Return a question that the server answers when it is ready."""
        return [program("pg_isready"), "-q", "-h", str(self.sockets), "-p", str(self.port)]

    def create(self, database: str, *files: Path) -> None:
        """Make a database and run files of SQL in it, each to its end or not at all.

        The server's account need not be able to read them: a checkout may be in root's home.
        """
        self._psql("postgres", "-c", f'CREATE DATABASE "{database}"')
        for file in files:
            self._psql(database, "-c", file.read_text(encoding="utf-8"))

    def execute(self, database: str, statement: str) -> None:
        """Run a statement as the server's administrator."""
        self._psql(database, "-c", statement)

    def _psql(self, database: str, *what: str) -> None:
        server = ["-h", str(self.sockets), "-p", str(self.port), "-d", database]
        run(as_account([program("psql"), "-X", "-q", "-v", "ON_ERROR_STOP=1", *server, *what]))


def program(name: str) -> str:
    """Return the path of one of PostgreSQL's programs, of the newest version that is installed."""
    versions = [folder for folder in PROGRAMS.glob("*/bin") if (folder / name).exists()]
    if not versions:
        raise LabError(f"no {name} below {PROGRAMS}: install the package postgresql")
    return str(max(versions, key=lambda folder: int(folder.parent.name.partition(".")[0])) / name)
