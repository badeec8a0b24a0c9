"""Fixtures for all tests: the command, installed as an administrator would do it."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.tools import PROJECT, run


@pytest.fixture(scope="session")
def prefix() -> Iterator[Path]:
    """The PREFIX of one `make install`, open to every account."""
    folder = Path(tempfile.mkdtemp(prefix="pf-spamfilt-prefix."))
    folder.chmod(0o755)
    run(["make", "-C", PROJECT, "install", f"PREFIX={folder}"])
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def command(prefix: Path) -> Path:
    """The installed command."""
    return prefix / "bin/pf-spamfilt"
