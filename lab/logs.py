"""Log files that a process of their own writes, such as postlogd(8): who logs goes on before his line is in the file.

So a file that is read at once may lack what has happened already. Failures are LabErrors.
"""

import time
from collections.abc import Callable
from pathlib import Path

from lab.tools import LabError, wait_until

_MARK = "mark-of-the-lab-"


def matching(file: Path, texts: tuple[str, ...]) -> list[str]:
    """Return the lines that hold all of these texts, as far as they are written; none if there is no file."""
    return [line for line in _text(file).splitlines() if _MARK not in line and all(text in line for text in texts)]


def catch_up(file: Path, write: Callable[[str], object], timeout: float = 10) -> None:
    """Wait until all that has been logged is in the file: a mark goes the same way, and comes in last."""
    mark = f"{_MARK}{time.monotonic_ns()}"
    write(mark)
    if not wait_until(lambda: mark in _text(file), timeout, pause=0.005):
        raise LabError(f"what is logged does not come into {file}")


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
