"""Fixtures of the tests that need a real Postfix and a real spamd: one private mail host for the whole run.

Needs root (see lab/namespace.py); without it each test that asks for the mail host errs and says so.
"""

import os
from collections.abc import Callable, Iterator

import pytest

from lab.mailhost import MailHost, stop_on_signals
from lab.tools import PROJECT


@pytest.fixture(scope="session")
def lab_command() -> str | None:
    """The filter to run: $PF_SPAMFILT_COMMAND; None: the project is installed into the lab first."""
    return os.environ.get("PF_SPAMFILT_COMMAND")


@pytest.fixture(scope="session")
def session_mailhost(lab_command: str | None) -> Iterator[MailHost]:
    """The mail host of this run, as the tests before have left it; use `mailhost` instead."""
    stop_on_signals()
    with MailHost(lab_command) as host:
        yield host


@pytest.fixture
def mailhost(session_mailhost: MailHost) -> MailHost:
    """The mail host, as new: both servers run, the lab's own settings, nothing queued, an empty mailbox."""
    session_mailhost.reset()
    return session_mailhost


@pytest.fixture(scope="session")
def message() -> Callable[[str], bytes]:
    """Read a message file of tests/messages by its name, without .eml."""
    return lambda name: (PROJECT / "tests" / "messages" / f"{name}.eml").read_bytes()
