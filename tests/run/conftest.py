"""The faults played to the installed command, several at a time, and a site with stub programs.

The faults need root: they drop privileges, and mount.
"""

from collections.abc import Callable, Iterator
from multiprocessing.pool import AsyncResult
from pathlib import Path

import pytest

from lab.faults import table
from lab.players import Players
from lab.stage import PF_SPAMFILT, Install, Result, find_install

JOBS = 4


@pytest.fixture
def make_site(tmp_path: Path) -> Callable[..., Path]:
    """Make a configuration directory whose settings name two shell scripts: a spamc and a sendmail."""

    def make_site(spamc: str, sendmail: str, more: str = "") -> Path:
        for name, script in (("spamc", spamc), ("sendmail", sendmail)):
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(0o755)
        commands = f'[spamc]\ncommand = ["{tmp_path}/spamc"]\n[sendmail]\ncommand = ["{tmp_path}/sendmail"]\n'
        (tmp_path / "pf-spamfilt.toml").write_text(f"{commands}[log]\nsyslog = false\n{more}")
        return tmp_path

    return make_site


@pytest.fixture(scope="session")
def install(command: Path) -> Install:
    """What belongs to the installed command."""
    return find_install(command)


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest, install: Install) -> Iterator[dict[int, AsyncResult[Result]]]:
    """The result to come of each selected fault, by its place in the table."""
    faults = (item for item in request.session.items if "results" in getattr(item, "fixturenames", ()))
    numbers = [item.callspec.params["number"] for item in faults]  # type: ignore[attr-defined]
    with Players(table(), install, JOBS) as players:
        yield {number: players.submit(PF_SPAMFILT, number) for number in numbers}
