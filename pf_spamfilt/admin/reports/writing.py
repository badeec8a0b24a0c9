"""Write a file for others to read: the old one is there until the new one is whole."""

import contextlib
import os
import secrets
import stat

import click


def replace(path: str, text: str, mode: int | None = None) -> None:
    """Write `text` to a file; its `mode` is what the umask leaves, unless given. Raises ClickException."""
    target = os.path.realpath(path)  # a symbolic link stays one
    new = os.path.join(os.path.dirname(target), f".{os.path.basename(target)}.{secrets.token_hex(6)}")
    try:
        if _is_device(path) or (os.path.exists(target) and not stat.S_ISREG(os.stat(target).st_mode)):
            raise click.ClickException(f"{path}: is no regular file, and would be replaced by one")
        with open(new, "x", encoding="utf-8", errors="replace") as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(text)
        os.rename(new, target)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise click.ClickException(f"{path}: cannot be written: {error.strerror}") from None


def _is_device(path: str) -> bool:
    """Tell whether this is such as /dev/stdout, whatever is behind it."""
    folder = os.path.realpath(os.path.dirname(path))
    return folder == "/dev" or folder.startswith("/proc/")
