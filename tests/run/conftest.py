"""The installed command for the tests of this folder, and the faults played to it, several at a time.

PF_SPAMFILT names a command that is installed already. Without root nothing here can run.
"""

import os
from collections.abc import Iterator
from multiprocessing.pool import AsyncResult
from pathlib import Path

import pytest

from lab.faults import table
from lab.players import Players
from lab.stage import PF_SPAMFILT, Install, Result, find_install, installed

JOBS = 4


@pytest.fixture(scope="session")
def command() -> Iterator[Path]:
    """The installed command."""
    with installed(os.environ.get("PF_SPAMFILT", "")) as path:
        yield path


@pytest.fixture(scope="session")
def install(command: Path) -> Install:
    """What belongs to the installed command."""
    if os.geteuid() != 0:
        pytest.skip("faults need root")
    return find_install(command)


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest, install: Install) -> Iterator[dict[int, AsyncResult[Result]]]:
    """The result to come of each selected fault, by its place in the table."""
    specs = (getattr(item, "callspec", None) for item in request.session.items)
    numbers = [spec.params["number"] for spec in specs if spec and "number" in spec.params]
    with Players(table(), install, JOBS) as players:
        yield {number: players.submit(PF_SPAMFILT, number) for number in numbers}
