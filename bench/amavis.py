"""amavisd-new, as lean as it can be set up: two children, SpamAssassin with the same rules, no virus scan, no decoding.

Only if it is installed (Debian's package amavisd-new); its configuration and its own service are left alone. It
takes mail by SMTP on a loopback port and gives it back to the lab's port without filter. It is ended with the
benchmark; if that is killed, by the lab's watcher. Failures are LabErrors that show the end of its log.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from bench.scene import Scene
from lab.tools import ENVIRONMENT, LabError, free_port, tail, wait_until

ACCOUNT = "amavis"
CHILDREN = 2
PATIENCE = 60  # seconds until it has read its rules
MISSING = "amavisd-new is not installed here (on Debian and Ubuntu: lab/packages.sh amavisd-new)"
CONFIGURATION = """\
use strict;
$daemon_user = $daemon_group = '{account}';
$MYHOME = '{home}'; $TEMPBASE = "$MYHOME/tmp"; $db_home = "$MYHOME/db"; $QUARANTINEDIR = undef;
$pid_file = "$MYHOME/amavisd.pid"; $lock_file = "$MYHOME/amavisd.lock"; $LOGFILE = "$MYHOME/log"; $do_syslog = 0;
$myhostname = 'lab.example'; $mydomain = 'example.com'; @local_domains_maps = (1);
$max_servers = {children}; $enable_db = 0; $log_level = 0; $enable_dkim_verification = 0;
$inet_socket_bind = '127.0.0.1'; $inet_socket_port = {port}; $unix_socketname = undef;
$forward_method = $notify_method = 'smtp:[127.0.0.1]:{plain_port}';
@bypass_virus_checks_maps = @bypass_banned_checks_maps = (1);
$sa_configpath = '{rules}/rules'; $sa_siteconfigpath = '{rules}/site'; $sa_local_tests_only = 1;
$sa_tag_level_deflt = undef; $sa_tag2_level_deflt = 5; $sa_kill_level_deflt = 9999; $final_spam_destiny = D_PASS;
1;
"""


def program() -> str:
    """Return the path of the daemon, or an empty string."""
    return next((path for path in ("/usr/sbin/amavisd-new", "/usr/sbin/amavisd") if os.access(path, os.X_OK)), "")


@contextlib.contextmanager
def running(scene: Scene) -> Iterator[int]:
    """Run it inside the with block; the value is its port."""
    home, port = _home(scene), free_port()
    configuration = scene.directory / "amavisd.conf"
    configuration.write_text(
        CONFIGURATION.format(
            account=ACCOUNT, home=home, children=CHILDREN, port=port,
            plain_port=scene.host.postfix.plain_port, rules=scene.host.spamd.directory,
        ), encoding="ascii",
    )  # fmt: skip
    with (home / "said").open("wb") as said:
        process = subprocess.Popen(
            [program(), "-c", str(configuration), "foreground"], cwd="/", env=ENVIRONMENT, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=said, stderr=said,
        )  # fmt: skip
    pid_file = scene.host.directory / "amavisd.pid"  # for the lab's watcher
    pid_file.write_text(f"{process.pid}\n", encoding="ascii")
    try:
        _wait_ready(process, port, home)
        yield port
    finally:
        _end(process)
        pid_file.unlink()


def version() -> str:
    """Return what it calls itself; its status is 1 even so."""
    said = subprocess.run([program(), "-V"], cwd="/", env=ENVIRONMENT, capture_output=True, text=True, check=False)
    return said.stdout.strip()


def _home(scene: Scene) -> Path:
    home = scene.directory / "amavis"
    for folder in (home, home / "tmp", home / "db"):
        folder.mkdir(mode=0o750)
        shutil.chown(folder, ACCOUNT, ACCOUNT)
    return home


def _wait_ready(process: "subprocess.Popen[bytes]", port: int, home: Path) -> None:
    if not wait_until(lambda: process.poll() is not None or _greets(port), PATIENCE, pause=0.1) or process.poll():
        raise LabError(f"amavisd-new does not start:\n{tail(home / 'said')}\n{tail(home / 'log')}")


def _greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
            return client.recv(100).startswith(b"220 ")
    except OSError:
        return False


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End it in an orderly way; what is left of it after a while is killed."""
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        pass
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
