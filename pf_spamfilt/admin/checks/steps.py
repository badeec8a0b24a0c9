"""Try things as the account that the filter runs as: in a child process that is what pipe(8) makes of a command.

The child has that user and group and no others, pipe(8)'s environment and directory, and ends when it has said what it
found. It needs nothing that the account cannot reach: our code is in its memory already.
"""

import json
import os
import posix
import traceback
from collections.abc import Callable, Iterable
from typing import NoReturn

from pf_spamfilt.admin.account import World, become
from pf_spamfilt.admin.checks.findings import Finding, error

Step = Callable[[], Iterable[Finding]]


def findings(step: Step, world: World) -> list[Finding]:
    """Return what `step` finds as that account, in that world; if it breaks, that is a finding."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.close(reader)
        _run(step, world, writer)
    os.close(writer)
    with open(reader, "rb") as stream:
        said = stream.read()
    os.waitpid(child, 0)
    if not said:
        return [error("check", "a check was ended before it could say what it found", "Run it again")]
    return [Finding(*each) for each in json.loads(said)]


def _run(step: Step, world: World, writer: int) -> NoReturn:
    """Be the child: whatever happens, never go back into the parent's code."""
    status = 1
    try:
        with open(writer, "w", encoding="utf-8") as stream:
            json.dump(_found(step, world), stream)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        posix._exit(status)


def _found(step: Step, world: World) -> list[Finding]:
    try:
        become(world)
    except OSError as failure:
        text = f"{world.directory}: the filter's account cannot enter it, where pipe(8) starts the filter: mail waits"
        return [error("directory", f"{text}: {failure.strerror}", "Take directory= out of the transport, or mend that")]
    try:
        return list(step())
    except Exception as failure:
        text = f"{type(failure).__name__}: {failure}: a fault of pf-spamfilt-admin, or of this host"
        return [error("check", text, "Report it, with the settings")]
