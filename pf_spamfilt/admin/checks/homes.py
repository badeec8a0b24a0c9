"""Read files in users' homes: each as its owner, so that no link leads further than it leads him, and not for ever.

A child does it. It is ended when the time is over, whatever a file or a file system has it wait for.
"""

import multiprocessing
import os
import pwd
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

MOUNTS = "/proc/self/mounts"
# How long homes are looked at, in seconds.
PATIENCE = 10
_REMOTE = ("nfs", "cifs", "smb", "autofs", "afs", "ceph", "lustre", "fuse.sshfs", "fuse.glusterfs")


def find(names: Sequence[str], is_wanted: Callable[[str], bool]) -> list[str]:
    """Return the files of these names in all homes of this host that are wanted, as far as they are found in time."""
    context = multiprocessing.get_context("fork")
    reader, writer = context.Pipe(duplex=False)
    child = context.Process(target=_look, args=(writer, names, is_wanted), daemon=True)
    child.start()
    writer.close()
    found: list[str] = []
    until = time.monotonic() + PATIENCE
    try:
        while reader.poll(max(0.0, until - time.monotonic())):
            found.append(reader.recv())
    except EOFError:  # it has looked at all
        pass
    child.kill()
    child.join(1)  # not for ever: a dead server can hold it in the kernel
    return found


def _look(writer: Connection, names: Sequence[str], is_wanted: Callable[[str], bool]) -> None:
    """Be the child."""
    is_root = os.geteuid() == 0
    if is_root:
        os.setgroups([])
    for home, user in _homes().items():
        if is_root:
            os.seteuid(0)
            os.setegid(user.pw_gid)
            os.seteuid(user.pw_uid)
        for file in (f"{home}/{name}" for name in names):
            if is_wanted(file):
                writer.send(file)


def _homes() -> dict[str, pwd.struct_passwd]:
    """Return all homes of this host, each once, with whose they are."""
    mounts = _mounts()
    users: dict[str, pwd.struct_passwd] = {}
    for user in pwd.getpwall():
        users.setdefault(user.pw_dir.rstrip("/"), user)
    return {home: user for home, user in users.items() if home and not _is_remote(home, mounts)}


def _mounts() -> dict[str, bool]:
    """Return each mounted folder, and whether what is seen there, which was mounted last, is on another host."""
    try:
        lines = Path(MOUNTS).read_text("utf-8", "replace").splitlines()
    except OSError:  # not on Linux
        return {}
    return {folder: kind.startswith(_REMOTE) for _, folder, kind, *_ in map(str.split, lines)}


def _is_remote(home: str, mounts: dict[str, bool]) -> bool:
    """Tell whether the file system of a home is on another host; the root of a diskless host does not count."""
    above = [str(folder) for folder in (Path(home), *Path(home).parents)]
    return next((mounts[folder] for folder in above if folder in mounts and folder != "/"), False)
