"""Fixtures of the tests that need a real Postfix and a real spamd: one private mail host for the whole run.

Needs root (see lab/namespace.py); without it each test that asks for the mail host errs and says so.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from proving import MESSAGES, Host

from lab.mailhost import stop_on_signals

OTHERS_COMMAND = "PF_SPAMFILT_COMMAND"


@pytest.fixture(scope="session")
def lab_command(request: pytest.FixtureRequest) -> str:
    """The filter to run: $PF_SPAMFILT_COMMAND, otherwise this project, installed."""
    return os.environ.get(OTHERS_COMMAND) or str(request.getfixturevalue("command"))


@pytest.fixture(scope="session")
def session_mailhost(lab_command: str) -> Iterator[Host]:
    """The mail host of this run, as the tests before have left it; use `mailhost` instead."""
    stop_on_signals()
    with Host(lab_command) as host:
        yield host


@pytest.fixture
def mailhost(session_mailhost: Host) -> Host:
    """The mail host, as new: both servers run, the lab's own settings, nothing queued, an empty mailbox."""
    session_mailhost.reset()
    return session_mailhost


@pytest.fixture(scope="module")
def module_mailhost(session_mailhost: Host) -> Host:
    """The same for a fixture that sends the mail for a whole module of tests."""
    session_mailhost.reset()
    return session_mailhost


@pytest.fixture
def installed(lab_command: str) -> Path:
    """The folder of the installed program, to be broken by a test and mended again."""
    if OTHERS_COMMAND in os.environ:
        pytest.skip(f"${OTHERS_COMMAND} is not ours to break")
    return Path(lab_command).parent.parent / "lib" / "pf-spamfilt"


@pytest.fixture(scope="session")
def message() -> Callable[[str], bytes]:
    """Read a message file by its name, without .eml."""
    return MESSAGES.__getitem__
