"""A clean root: this host's distribution, freshly installed in a folder, with nothing but what it calls essential.

For packages: what they depend on comes from the distribution's mirror, their scripts run for real, and servers run on
their usual ports, in a network of their own. Nothing of the host is touched, and no process outlives the run that
has started it. What was downloaded is kept in CACHE, so that only the first run on a machine needs a network.
Failures are LabErrors with the programs' own words.
"""

import os
import platform
import shutil
import subprocess
from pathlib import Path

from lab import namespace
from lab.tools import ENVIRONMENT, LabError, run

# Only root can write there: what is in it is started by root. Remove it if the mirror has moved on.
CACHE = Path("/var/cache/pf-spamfilt-lab")
# As for pip, a proxy is what the caller's environment says.
_PROXIES = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
_ENVIRONMENT = ENVIRONMENT | {"HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"} | _PROXIES
# sh, with the root and apt's archives as $1 and $2, in namespaces of its own.
_ENTER = """\
mount -t proc proc "$1/proc"
mount -t devpts devpts "$1/dev/pts"
mount --bind "$2" "$1/var/cache/apt/archives"
root=$1
shift 2
exec chroot "$root" "$@"
"""
_ALONE = "ip link set lo up\n"


class CleanRoot:
    """A root at a path; it is what its layers hold, the topmost first."""

    def __init__(self, path: Path, layers: tuple[Path, ...]) -> None:
        self.path = path
        self._layers = layers

    def copy(self, place: Path) -> "CleanRoot":
        """Return a copy below a folder that does not exist; what becomes different there is in memory.

        The original must not change while there is the copy. It is seen by this process and its children only.
        """
        namespace.enter()
        place.mkdir()
        run(["mount", "-t", "tmpfs", "tmpfs", place])
        root, changes, work = (place / name for name in ("root", "changes", "work"))
        for folder in (root, changes, work):
            folder.mkdir()
        below = ":".join(map(str, self._layers))
        run(["mount", "-t", "overlay", "overlay", "-o", f"lowerdir={below},upperdir={changes},workdir={work}", root])
        return CleanRoot(root, (changes, *self._layers))

    def discard(self) -> None:
        """Remove a copy, with all that is different in it."""
        namespace.uncover(str(self.path))
        namespace.uncover(str(self.path.parent))
        self.path.parent.rmdir()

    def run(self, script: str, *, network: bool = False) -> str:
        """Run a shell script in it, as root, and return what it printed, errors too.

        What the script starts ends with it. Without `network` there is only a loopback interface. Raises LabError
        unless its status is 0.
        """
        separate = ["unshare", "--mount", "--pid", "--fork", "--kill-child", *([] if network else ["--net"])]
        enter = _ENTER if network else _ALONE + _ENTER
        return _host(*separate, "sh", "-ec", enter, "sh", self.path, CACHE / "archives", "sh", "-c", script)


def base() -> CleanRoot:
    """Return the clean root to make copies of, in which no service starts by itself; the first time, make it."""
    path = CACHE / _release()
    if not path.exists():
        _make_base(path)
    return CleanRoot(path, (path,))


def _make_base(path: Path) -> None:
    new = path.with_suffix(".new")
    shutil.rmtree(new, ignore_errors=True)
    (CACHE / "archives").mkdir(parents=True, exist_ok=True)
    mirror, components = _mirror()
    _host("debootstrap", "--variant=minbase", f"--components={components}", _release(), new, mirror)
    policy = new / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
    policy.chmod(0o755)
    (new / "etc/dpkg/dpkg.cfg.d/lab").write_text("force-unsafe-io\n", encoding="ascii")
    CleanRoot(new, (new,)).run("apt-get update", network=True)
    new.rename(path)


def _release() -> str:
    return platform.freedesktop_os_release()["VERSION_CODENAME"]


def _mirror() -> tuple[str, str]:
    """Return where this host has its release from, and which components, for debootstrap(8)."""
    listed = _host("apt-get", "indextargets", "--format", "$(RELEASE) $(SITE) $(COMPONENT)", "Created-By: Packages")
    lines = [line.split() for line in listed.splitlines()]
    sources = [(site, component) for release, site, component in lines if release == _release()]
    if not sources:
        raise LabError(f"no source of apt's has {_release()}, this host's release: see apt-get indextargets")
    mirror = sources[0][0]
    return mirror, ",".join(sorted({component for site, component in sources if site == mirror}))


def _host(*command: str | Path) -> str:
    done = subprocess.run(
        command, cwd="/", env=_ENVIRONMENT, timeout=600, check=False, text=True, errors="replace",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode != 0:
        raise LabError(f"{command[0]}: status {done.returncode}\n{done.stdout.strip()}")
    return done.stdout
