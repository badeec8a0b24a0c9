"""Several faults played at the same time, each in a worker process with one thread, as forking wants it.

Faults hold functions, which no pipe can carry: workers are forked with the faults in memory, and get their numbers.
"""

import multiprocessing
import signal
import sys
from collections.abc import Sequence
from multiprocessing.pool import AsyncResult
from types import TracebackType

from lab.stage import Fault, HarnessError, Install, Result, play

_played: list[tuple[Sequence[Fault], Install | None]] = []


class Players:
    """Workers that play these faults; a context manager."""

    def __init__(self, faults: Sequence[Fault], install: Install | None, jobs: int) -> None:
        _played[:] = [(faults, install)]
        self._pool = multiprocessing.get_context("fork").Pool(jobs, signal.signal, (signal.SIGINT, signal.SIG_IGN))

    def __enter__(self) -> "Players":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.terminate()
        self._pool.join()

    def submit(self, filter_name: str, number: int) -> AsyncResult[Result]:
        """Have the fault of this number played to a filter; `get` of what is returned waits for the result."""
        return self._pool.apply_async(_play, (filter_name, number))


def _play(filter_name: str, number: int) -> Result:
    """Play one fault. A worker that is ended in the middle, as by `pytest -x`, takes its stage down first.

    Only in the middle: one that waits for work in a semaphore would never get to a handler in Python.
    """
    faults, install = _played[0]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        return play(faults[number], filter_name, install)
    except Exception as error:
        raise HarnessError(f"{faults[number]}, {filter_name}: {error!r}") from error
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
