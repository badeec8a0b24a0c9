"""What a message costs more where a Postfix table is asked, each kind in turn: examples/policy, and servers of the lab.

Against the same settings without tables; all compiled, and run as the filter's account, as PostgreSQL wants it. What is
missing for a kind is named, and the kind is not measured; a table that does not answer is a LabError.
"""

import contextlib
import os
import shutil
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import policies
from bench.report import Row, Section, compared, rotated
from bench.scene import MESSAGE, RECIPIENT, SENDER, Scene, checked
from bench.stubbed import Runner, compile_settings, stubs
from lab import postgres
from lab.postgres import Postgres
from lab.slapd import Slapd
from lab.tools import PROJECT, LabError, run

PAIRS = 15  # in each round
POSTMAP = "/usr/sbin/postmap"
EXAMPLES = PROJECT / "examples" / "policy"
PLACE = "/etc/postfix/spam-policy"  # what the examples name
NONE, AS_LIST = "no table", "hash, a list of senders"
TABLES = {
    "hash": f"hash:{PLACE}/recipients",
    "lmdb": f"lmdb:{PLACE}/recipients",
    "pcre": f"pcre:{PLACE}/recipients.pcre",
    "sqlite": f"sqlite:{PLACE}/sqlite/recipients.cf",
    "pgsql": f"pgsql:{PLACE}/pgsql/recipients.cf",
    "ldap": f"ldap:{PLACE}/ldap/recipients.cf",
}
LIST = f"hash:{PLACE}/welcome"


def measure(scene: Scene) -> Section:
    """Run the benchmark."""
    missing = _missing()
    kinds = [kind for kind in TABLES if kind not in missing]
    scene.progress.step("tables: making them")
    with _made(scene, kinds), stubs(scene, message := MESSAGE.read_bytes()):
        runners = _runners(scene, kinds)
        with _as_filter(scene.host.number):
            for runner in runners.values():
                runner.run(message)
                runner.forget()
            for number, order in rotated(runners, PAIRS * scene.rounds):
                if number % PAIRS == 0:
                    scene.progress.step(f"tables: round {number // PAIRS + 1} of {scene.rounds}")
                for name in order:
                    runners[name].run(message)
    return _section(runners, missing)


def _missing() -> dict[str, str]:
    """Return the kinds that cannot be measured here, each with what is missing."""
    known = run(["postconf", "-m"]).split()
    missing = {kind: f"this Postfix has no {kind} tables (postconf -m)" for kind in TABLES if kind not in known}
    try:
        postgres.program("initdb")
    except LabError as error:
        missing.setdefault("pgsql", str(error))
    if not all(map(os.path.exists, ("/usr/sbin/slapd", "/usr/bin/ldapadd"))):
        missing.setdefault("ldap", "no packages slapd and ldap-utils")
    return missing


@contextlib.contextmanager
def _made(scene: Scene, kinds: Sequence[str]) -> Iterator[None]:
    """Put the examples where they name each other, and what they need; see that each answers."""
    place = scene.host.postfix.configuration / Path(PLACE).name
    with contextlib.ExitStack() as clean_up:
        shutil.copytree(EXAMPLES, place)
        clean_up.callback(shutil.rmtree, place)
        for kind in kinds:
            if kind in ("hash", "lmdb"):
                run([POSTMAP, TABLES[kind]])
            elif kind == "sqlite":
                _make_sqlite(place / "sqlite")
            elif kind == "pgsql":
                _start_postgres(scene, place / "pgsql", clean_up)
            elif kind == "ldap":
                _start_slapd(scene, place / "ldap", clean_up)
        if "hash" in kinds:
            run([POSTMAP, LIST])
        for kind in kinds:
            command = [POSTMAP, "-q", RECIPIENT, TABLES[kind]]
            checked(scene.host.as_filter(command), command)
        yield


def _make_sqlite(place: Path) -> None:
    import sqlite3  # not every Python has it

    with contextlib.closing(sqlite3.connect(place / "policy.db")) as database:
        for script in ("schema.sql", "sample.sql"):
            database.executescript((place / script).read_text(encoding="utf-8"))


def _start_postgres(scene: Scene, place: Path, clean_up: contextlib.ExitStack) -> None:
    server = Postgres(scene.host.directory)
    clean_up.callback(server.stop)
    server.start()
    server.create("spamfilt", place / "schema.sql", place / "sample.sql")
    _point(place / "recipients.cf", "unix:/run/postgresql", f"unix:{server.sockets}")


def _start_slapd(scene: Scene, place: Path, clean_up: contextlib.ExitStack) -> None:
    server = Slapd(scene.host.directory)
    clean_up.callback(server.stop)
    server.start()
    server.add(place / "schema.ldif", place / "sample.ldif")
    _point(place / "recipients.cf", "ldap://localhost:389", f"ldap://{server.address}")


def _point(file: Path, host: str, ours: str) -> None:
    """Write the lab's server into an example."""
    text = file.read_text(encoding="utf-8")
    if f"= {host}\n" not in text:
        raise LabError(f"{file}: expected {host}")
    file.write_text(text.replace(f"= {host}\n", f"= {ours}\n"), encoding="utf-8")


def _runners(scene: Scene, kinds: Sequence[str]) -> dict[str, Runner]:
    runners = {NONE: _runner(scene, NONE, "")}
    runners |= {kind: _runner(scene, kind, f'[tables]\nrecipients = ["{TABLES[kind]}"]\n') for kind in kinds}
    if "hash" in kinds:
        runners[AS_LIST] = _runner(scene, "list", f'[policy]\nwelcome_senders = ["{LIST}"]\n')
    return runners


def _runner(scene: Scene, name: str, tables: str) -> Runner:
    folder = scene.directory / f"settings with {name}"
    folder.mkdir()
    source = folder / "pf-spamfilt.toml"
    source.write_text(f"{policies.plain()}\n{tables}", encoding="utf-8")
    compile_settings(scene, source)
    return Runner([str(scene.command), "--config", str(source), "--", SENDER, RECIPIENT], Path("/etc/postfix"))


@contextlib.contextmanager
def _as_filter(number: int) -> Iterator[None]:
    """Let what is started inside the with block run as the filter's account."""
    groups = os.getgroups()
    os.setgroups([])
    os.setresgid(number, number, 0)
    os.setresuid(number, number, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)


def _section(runners: dict[str, Runner], missing: dict[str, str]) -> Section:
    section = Section("user and system time more for a table, stub spamc and sendmail, against none")
    section.rows += _rows("", {name: runner.seconds for name, runner in runners.items()})
    section.rows += _rows("elapsed: ", {name: runner.elapsed for name, runner in runners.items()})
    count = len(runners[NONE].seconds)
    section.notes.append(f"{count} runs of each, in turns; all but the list of senders are [tables] recipients")
    section.notes.append("user and system time are those of the filter and of postmap; a server's own are in elapsed")
    section.notes += [f"{kind} not measured: {what}" for kind, what in missing.items()]
    return section


def _rows(label: str, measured: dict[str, list[float]]) -> Iterator[Row]:
    """Yield what no table costs, and for the others how much more it is, each beside it in its round."""
    none = measured[NONE]
    for name, figures in measured.items():
        more = [ours - theirs for ours, theirs in zip(figures, none, strict=True)]
        shown = f"{_milliseconds(none)} ms" if name == NONE else f"+{_milliseconds(more)} ms"
        yield compared(label + name, shown, figures, none)


def _milliseconds(seconds: list[float]) -> str:
    return f"{1000 * statistics.median(seconds):.1f}"
