"""A mount namespace for this process, in which files of the lab lie over files of the host.

The host never sees these mounts, and the kernel removes them with the last process of the namespace. Nothing
is ever mounted below the lab's own directory, so that removing that directory can reach nothing else.
Failures are raised as LabError: no privilege (with the remedy), or the kernel's error for a mount.
"""

import ctypes
import os
import stat
from pathlib import Path

from lab.tools import LabError

CLONE_NEWNS = 0x00020000
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 1 << 18
MNT_DETACH = 2
DEVICES = (
    "null", "zero", "full", "random", "urandom", "tty", "pts", "shm",
    "fd", "stdin", "stdout", "stderr",
)  # fmt: skip
REMEDY = (
    "the lab needs a mount namespace of its own: run it as root, on a machine or in a virtual machine; "
    "in a container, start that with: docker run --privileged"
)

_libc = ctypes.CDLL(None, use_errno=True)
_own_namespace: list[int] = []


def enter() -> None:
    """Give this process its own mount namespace; does nothing when it has one already.

    Call it from the main thread before other threads start: only the calling thread and what it starts move.
    """
    if os.getpid() in _own_namespace:
        return
    if _libc.unshare(CLONE_NEWNS) != 0:
        raise LabError(f"{REMEDY} (unshare: {_reason()})")
    if not os.path.ismount("/"):
        raise LabError("/ is no mount point, as in a plain chroot: before chroot, mount --bind DIRECTORY DIRECTORY")
    _mount(b"none", b"/", b"", MS_REC | MS_PRIVATE)
    _own_namespace.append(os.getpid())


def bind(source: Path, target: str) -> None:
    """Show source at the place of target, for this process and its children."""
    _mount(os.fsencode(source), os.fsencode(os.path.realpath(target)), b"", MS_BIND)


def private_dev() -> None:
    """Put a small /dev with the usual devices in place of the host's, so that /dev/log can be the lab's."""
    present = [name for name in DEVICES if os.path.lexists(f"/dev/{name}")]
    old = {name: os.open(f"/dev/{name}", os.O_PATH | os.O_NOFOLLOW) for name in present}
    try:
        _mount(b"tmpfs", b"/dev", b"tmpfs", 0, b"mode=0755")
        for name, fd in old.items():
            _show_device(fd, f"/dev/{name}")
        os.symlink("pts/ptmx", "/dev/ptmx")
    finally:
        for fd in old.values():
            os.close(fd)


def uncover(target: str) -> None:
    """Take the topmost mount off target; a target without one is left as it is."""
    _libc.umount2(os.fsencode(os.path.realpath(target)), MNT_DETACH)


def _show_device(fd: int, place: str) -> None:
    kind = os.fstat(fd).st_mode
    if stat.S_ISLNK(kind):
        os.symlink(os.readlink("", dir_fd=fd), place)
        return
    if stat.S_ISDIR(kind):
        os.mkdir(place)
    else:
        os.close(os.open(place, os.O_CREAT | os.O_WRONLY, 0o600))
    _mount(f"/proc/self/fd/{fd}".encode(), place.encode(), b"", MS_BIND | MS_REC)


def _mount(source: bytes, target: bytes, kind: bytes, flags: int, options: bytes | None = None) -> None:
    if _libc.mount(source, target, kind, ctypes.c_ulong(flags), options) != 0:
        raise LabError(f"cannot mount {os.fsdecode(source)} over {os.fsdecode(target)}: {_reason()}")


def _reason() -> str:
    return os.strerror(ctypes.get_errno())
