"""The accounts of the lab: the host's, and `spamfilt`, which the filter runs as.

Copies of passwd(5) and group(5) are written into the lab and laid over the host's in the namespace; the
host's files are only read. The account has no home and no shell, and its number is nobody's on this host.
Raises LabError when no number is free.
"""

import grp
import pwd
from pathlib import Path

from lab.tools import LabError

FILTER_ACCOUNT = "spamfilt"


def unused_number() -> int:
    """Return a number of the system range which is neither a user nor a group of this host."""
    for number in range(998, 200, -1):
        if not _is_user(number) and not _is_group(number):
            return number
    raise LabError("no unused system account number between 201 and 998")


def write_copies(directory: Path, number: int) -> None:
    """Write passwd and group into directory: the host's entries and the filter's account."""
    account = f"{FILTER_ACCOUNT}:x:{number}:{number}::/nonexistent:/usr/sbin/nologin"
    _copy_with("/etc/passwd", directory / "passwd", account)
    _copy_with("/etc/group", directory / "group", f"{FILTER_ACCOUNT}:x:{number}:")


def _copy_with(source: str, target: Path, entry: str) -> None:
    lines = Path(source).read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    kept = [line for line in lines if not line.startswith(f"{FILTER_ACCOUNT}:")]
    target.write_text("\n".join([*kept, entry, ""]), encoding="utf-8", errors="surrogateescape")
    target.chmod(0o644)


def _is_user(number: int) -> bool:
    try:
        return bool(pwd.getpwuid(number))
    except KeyError:
        return False


def _is_group(number: int) -> bool:
    try:
        return bool(grp.getgrgid(number))
    except KeyError:
        return False
