"""The faults played to the installed command, several at a time. They need root: they drop privileges, and mount."""

from collections.abc import Iterator
from multiprocessing.pool import AsyncResult
from pathlib import Path

import pytest

from lab.faults import table
from lab.players import Players
from lab.stage import PF_SPAMFILT, Install, Result, find_install

JOBS = 4


@pytest.fixture(scope="session")
def install(command: Path) -> Install:
    """What belongs to the installed command."""
    return find_install(command)


@pytest.fixture(scope="session")
def results(request: pytest.FixtureRequest, install: Install) -> Iterator[dict[int, AsyncResult[Result]]]:
    """The result to come of each selected fault, by its place in the table."""
    specs = (getattr(item, "callspec", None) for item in request.session.items)
    numbers = [spec.params["number"] for spec in specs if spec and "number" in spec.params]
    with Players(table(), install, JOBS) as players:
        yield {number: players.submit(PF_SPAMFILT, number) for number in numbers}
