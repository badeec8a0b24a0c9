"""What the faults do to a machine: a namespace of the command's own, settings files, damaged installations.

Every world is called in the child that becomes the command, with the stage's directory and the installation, and with
root's privileges. What it mounts is seen by the command and what that starts, and by nobody else.
"""

import contextlib
import ctypes
import errno
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from lab import namespace
from lab.stage import Install


def unreadable_cwd() -> None:
    """Enter a directory that the command's user may not read."""
    os.chdir("/proc/1/fd" if os.path.isdir("/proc/1/fd") else "/root")


def deleted_cwd() -> None:
    """Enter a directory and remove it."""
    place = f"/var/tmp/pf-spamfilt-gone-{os.getpid()}"
    os.mkdir(place)
    os.chdir(place)
    os.rmdir(place)


def trapped_cwd(directory: Path, _: Install | None) -> None:
    """Put modules that end the interpreter into the working directory."""
    for name in ("os.py", "sys.py", "pf_spamfilt.py", "encodings.py", "select.py", "sitecustomize.py"):
        (directory / "spool" / name).write_text("raise SystemExit(0)\n")


def hide(place: str, directory: Path, _: Install | None) -> None:
    """Put an empty directory that only root may write in front of a place."""
    namespace.enter()
    empty = directory / "empty"
    empty.mkdir()
    namespace.bind(empty, place)


def cover(place: str, text: str, mode: int, directory: Path, _: Install | None) -> None:
    """Put a file in front of a file."""
    namespace.enter()
    cover = directory / "cover"
    cover.write_text(text)
    cover.chmod(mode)
    namespace.bind(cover, place)


def full_tmp(_: Path, __: Install | None) -> None:
    """Put a small file system in front of /tmp, with not a byte left."""
    namespace.enter()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=1777", "none", "/tmp"], check=True)
    try:
        Path("/tmp/full").write_bytes(bytes(1 << 20))
    except OSError:
        pass  # as intended: not a byte is left


def small_tmp(kilobytes: int, _: Path, __: Install | None) -> None:
    """Put a file system of this size in front of /tmp."""
    namespace.enter()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k,mode=1777", "none", "/tmp"], check=True)


def no_tmp(directory: Path, _: Install | None) -> None:
    """Make /tmp and /var/tmp read-only; the stage, which lies below the latter, stays writable."""
    namespace.enter()
    for place in ("/tmp", "/var/tmp"):
        subprocess.run(["mount", "--bind", place, place], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
    subprocess.run(["mount", "--bind", str(directory), str(directory)], check=True)
    subprocess.run(["mount", "-o", "remount,bind,rw", str(directory)], check=True)


def no_memory_file(_: Path, __: Install | None) -> None:
    """Let memfd_create(2) fail, as under an old kernel or in a container that forbids it: by seccomp(2)."""
    number = {"x86_64": 319, "aarch64": 279}[os.uname().machine]
    load, equal, give = 0x20, 0x15, 0x06
    allow, deny = 0x7FFF0000, 0x00050000 | errno.ENOSYS
    steps = [(load, 0, 0, 0), (equal, 0, 1, number), (give, 0, 0, deny), (give, 0, 0, allow)]
    program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    header = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(program)))
    set_seccomp, filter_mode = 22, 2
    if ctypes.CDLL(None, use_errno=True).prctl(set_seccomp, filter_mode, header, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def no_memory_file_and_no_tmp(directory: Path, install: Install | None) -> None:
    """Leave no place for a file that has no name."""
    no_tmp(directory, install)
    no_memory_file(directory, install)


def write(text: str, path: Path) -> None:
    """Write these settings; surrogates stand for bytes that are no UTF-8."""
    path.write_bytes(text.encode(errors="surrogateescape"))


def directory_instead(path: Path) -> None:
    """Put a directory in place of the settings."""
    path.unlink()
    path.mkdir()


def dangling_link(path: Path) -> None:
    """Put a link to nothing in place of the settings."""
    path.unlink()
    path.symlink_to("/nonexistent")


def fifo(path: Path) -> None:
    """Put a FIFO that nobody writes in place of the settings."""
    path.unlink()
    os.mkfifo(path, 0o644)


def log_to_fifo(path: Path) -> None:
    """Let the settings name a log file that is a FIFO which nobody reads."""
    os.mkfifo(path.with_name("log"))
    path.write_text(f'log.file = "{path.with_name("log")}"\n{path.read_text()}')
    path.with_name("log").chmod(0o666)


def log_to_syslog(path: Path) -> None:
    """Let the settings say that syslog is used."""
    path.write_text(path.read_text().replace("syslog = false", "syslog = true"))


def stopped_syslogd(_: Path, __: Install | None) -> None:
    """Put a syslog socket in place that has taken all it can, and a process that holds it for a while."""
    namespace.enter()
    namespace.private_dev()
    daemon = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    daemon.bind("/dev/log")
    os.chmod("/dev/log", 0o666)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client, contextlib.suppress(BlockingIOError):
        client.setblocking(False)
        client.connect("/dev/log")
        while True:
            client.send(b"<22>full")
    if os.fork() == 0:
        os.closerange(0, daemon.fileno())
        os.closerange(daemon.fileno() + 1, 4096)
        time.sleep(20)
        os._exit(0)
    daemon.close()


def compiled(content: bytes) -> Callable[[Path], None]:
    """Return what writes a compiled settings file that is newer than its source."""

    def write(path: Path) -> None:
        path.with_name(path.name + ".compiled").write_bytes(content)

    return write


_COMPILE = """
import marshal, os, sys
sys.path.insert(0, sys.argv[1])
from pf_spamfilt import schema, settings
_, _, source, other, values = sys.argv
with open(source + settings.COMPILED_SUFFIX, "wb") as file:
    right = schema.read(other)
    file.write(marshal.dumps((settings.stamp(os.stat(source)), eval(values))))
"""


def compile_settings(
    change: Callable[[Path], object] = lambda _: None, *, instead: str = "", values: str = "right"
) -> Callable[[Path, Install | None], None]:
    """Return a world with compiled settings that are fresh; they may have another policy, and `change` spoils the file.

    `values` is what they hold, an expression in which `right` is what they should.
    """

    def world(directory: Path, install: Install | None) -> None:
        installed, source, other = _need(install), directory / "pf-spamfilt.toml", directory / "other.toml"
        text = source.read_text()
        other.write_text(text.partition("[policy]")[0] + instead if instead else text)
        arguments = [str(installed.package.parent), str(source), str(other), values]
        subprocess.run([str(installed.interpreter), "-I", "-c", _COMPILE, *arguments], check=True)
        compiled = source.with_name(source.name + ".compiled")
        compiled.chmod(0o644)
        change(compiled)

    return world


def give_away(path: Path) -> None:
    """Give a file to nobody."""
    os.chown(path, 65534, 65534)


def touch(path: Path) -> None:
    """Change a file's time, and nothing else."""
    os.utime(path, (1, 1))


def own_programs(directory: Path, _: Install | None) -> None:
    """Cover the host's spamc and sendmail, which default settings name: no mail may leave this test."""
    namespace.enter()
    for name, place in (("spamc", "/usr/bin/spamc"), ("sendmail", "/usr/sbin/sendmail")):
        if os.path.exists(place):
            namespace.bind(directory / name, place)


def damages(name: str) -> dict[str, Callable[[Path], None]]:
    """Return ways to damage a module: what to call with the package's folder, by name."""
    return {
        "missing": lambda package: (package / name).unlink(),
        "empty": lambda package: (package / name).write_text(""),
        "cut": lambda package: _cut(package / name),
        "not readable": lambda package: (package / name).chmod(0o600),
        "of NULs": lambda package: (package / name).write_bytes(bytes(len((package / name).read_bytes()))),
        "with a syntax error": lambda package: (package / name).write_text("def (:\n"),
        "ends with 0": lambda package: (package / name).write_text("raise SystemExit(0)\n"),
        "ends with 2": lambda package: (package / name).write_text("raise SystemExit(2)\n"),
    }


def _cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def remove_all(package: Path) -> None:
    """Empty the package's folder."""
    shutil.rmtree(package)
    package.mkdir(mode=0o755)


def each_bytecode(change: Callable[[bytes], bytes], package: Path) -> None:
    """Change the content of every compiled module."""
    for path in package.glob("**/*.pyc"):
        path.write_bytes(change(path.read_bytes()))


def zeros(data: bytes) -> bytes:
    """Keep the header of compiled code, and nothing else."""
    return data[:16] + bytes(len(data) - 16)


def other_version(data: bytes) -> bytes:
    """Give compiled code the magic number of another Python."""
    return b"\x00\x01\r\n" + data[4:]


def no_bytecode(package: Path) -> None:
    """Remove all compiled modules."""
    for cache in package.glob("**/__pycache__"):
        shutil.rmtree(cache)


def _need(install: Install | None) -> Install:
    assert install is not None
    return install


def with_package(damage: Callable[[Path], None], directory: Path, install: Install | None) -> None:
    """Put a damaged copy of the package in its place."""
    copy = directory / "package"
    package = _need(install).package
    shutil.copytree(package, copy, symlinks=True)
    damage(copy)
    namespace.enter()
    namespace.bind(copy, str(package))


def with_interpreter(script: str, directory: Path, install: Install | None, mode: int = 0o755) -> None:
    """Put a script in front of the interpreter."""
    cover(str(_need(install).interpreter), script, mode, directory, install)


def without_interpreter(directory: Path, install: Install | None) -> None:
    """Leave the interpreter's name where it is, as a dangling link: what a distribution upgrade does."""
    interpreter = _need(install).interpreter
    if not interpreter.is_symlink():
        return with_interpreter("", directory, install, mode=0o644)
    copy = directory / "bin"
    shutil.copytree(interpreter.parent, copy, symlinks=True)
    for name in copy.glob("python*"):
        name.unlink()
        name.symlink_to("/nonexistent/python3")
    namespace.enter()
    namespace.bind(copy, str(interpreter.parent))
    return None


def _library(install: Install | None) -> Path:
    """Return the standard library of the installed command's interpreter."""
    ask = [
        str(_need(install).interpreter),
        "-I",
        "-S",
        "-c",
        "import os; print(os.path.dirname(os.__file__))",
    ]
    return Path(subprocess.run(ask, capture_output=True, text=True, check=True).stdout.strip())


def without_library(name: str, directory: Path, install: Install | None) -> None:
    """Put an empty directory in front of a package of the standard library, or of all of it."""
    hide(str(_library(install) / name), directory, install)


def with_library(name: str, text: str, directory: Path, install: Install | None) -> None:
    """Put a text in front of a module of the standard library."""
    cover(str(_library(install) / name), text, 0o644, directory, install)
