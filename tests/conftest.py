"""Fixtures for all tests: the command, installed once as an administrator would do it.

PF_SPAMFILT names a command that is installed already.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.stage import installed


@pytest.fixture(scope="session")
def command() -> Iterator[Path]:
    """The installed command, which every account can run."""
    with installed(os.environ.get("PF_SPAMFILT", "")) as path:
        yield path


@pytest.fixture(scope="session")
def prefix(command: Path) -> Path:
    """The PREFIX of its `make install`."""
    return command.parent.parent
