"""What a filter has kept in the stores of a quarantine, as mail programs find it there.

What is no store of its kind, such as a device in place of a folder, has nothing in it.
"""

import os
import re
from pathlib import Path

_ENTRY = re.compile(rb"^(?=From )", re.MULTILINE)
_QUOTED = re.compile(rb"^>(?=>*From )", re.MULTILINE)


def read(destination: str) -> list[tuple[int, bytes]]:
    """Return the messages in a store, `dir:/PATH` and so on, each with its time in nanoseconds."""
    kind, _, name = destination.partition(":")
    path = Path(name)
    if os.path.islink(path):
        return []
    if kind == "mbox":
        return _of_mbox(path) if os.path.isfile(path) else []
    folders = [path] if kind == "dir" else [path / "new", path / "cur"]
    files = [file for folder in folders if os.path.isdir(folder) for file in folder.iterdir() if file.name[0] != "."]
    return [(file.stat().st_mtime_ns, file.read_bytes()) for file in files if file.is_file()]


def _of_mbox(path: Path) -> list[tuple[int, bytes]]:
    """Return what is in an mbox, in the mboxrd form; an empty line ends each message."""
    entries = [entry for entry in _ENTRY.split(path.read_bytes()) if entry.startswith(b"From ")]
    messages = [entry.partition(b"\n")[2].removesuffix(b"\n") for entry in entries]
    return [(path.stat().st_mtime_ns, _QUOTED.sub(b"", message)) for message in messages]
