"""A private Postfix: its configuration, starting and stopping it, its queue and its log.

All mail for any recipient in any domain is delivered into one maildir. There is no SMTP client in its
master.cf, so it cannot send mail to another machine. The filter's entries are those of examples/master.cf.
Failures are LabErrors: Postfix's own words, or which expected text is missing in a file that was read.
"""

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from lab import logs
from lab.tools import PROJECT, LabError, free_port, run, tail, wait_until

EXAMPLE = PROJECT / "examples" / "master.cf"
DISTRIBUTED = (Path("/usr/share/postfix/master.cf.dist"), Path("/etc/postfix/master.cf.proto"))
NEEDED_SERVICES = (
    "pickup", "cleanup", "qmgr", "rewrite", "bounce", "defer", "trace", "verify", "flush", "proxymap",
    "proxywrite", "showq", "error", "retry", "discard", "virtual", "anvil", "postlog",
)  # fmt: skip
QUEUES = ("maildrop", "incoming", "active", "deferred", "hold", "corrupt")

MAIN_CF = """\
compatibility_level = 3.6
myhostname = lab.example
queue_directory = {lab}/queue
data_directory = {lab}/data
maillog_file = {lab}/maillog
maillog_file_prefixes = {lab}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8
smtpd_peername_lookup = no
smtp_dns_support_level = disabled

# Every recipient of every domain is in one maildir; nothing is local, nothing leaves.
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
relay_domains =
relay_transport = error:nothing is relayed
default_transport = error:nothing is relayed
virtual_mailbox_domains = static:all
virtual_mailbox_maps = static:all/
virtual_mailbox_base = {lab}/mail
virtual_minimum_uid = 100
virtual_uid_maps = static:{number}
virtual_gid_maps = static:{number}

# Mail arrives as it was sent: no headers added or completed on the way in, no limit that a test would meet.
local_header_rewrite_clients =
smtputf8_enable = yes
allow_min_user = yes
message_size_limit = 104857600
mailbox_size_limit = 0
virtual_mailbox_limit = 0
smtpd_error_sleep_time = 0
in_flow_delay = 0
notify_classes =

# A queue id is never used twice, and a deferred message is tried again after seconds.
enable_long_queue_ids = yes
queue_run_delay = 3s
minimal_backoff_time = 3s
maximal_backoff_time = 3s
transport_retry_time = 3s
"""


class Postfix:
    """The private Postfix of one lab; its `configuration` must lie over /etc/postfix before start()."""

    _place: tuple[str, ...] = ()  # options that say which Postfix of several is meant

    def __init__(self, lab: Path, number: int, command: str, main: str = "", master: str = "") -> None:
        self.lab = lab
        self.log_file = lab / "maillog"
        self.configuration = lab / "etc"
        self.port = free_port()
        self.plain_port = free_port()
        self.command = command
        self._main = MAIN_CF.format(lab=lab, number=number) + main
        self._master = master
        self._make_directories(number)

    def configure(self, main: str = "", master: str = "") -> None:
        """Write main.cf and master.cf: what the lab needs, then these settings and entries, which win."""
        entries = distributed_entries() | example_entries(example(), self.command, self.port)
        entries |= parse_entries(f"127.0.0.1:{self.plain_port} inet n - y - - smtpd\n")
        entries |= parse_entries(self._master) | parse_entries(master)
        self._write("main.cf", merge_settings(self._main + main))
        self._write("master.cf", "".join(entries.values()))

    @contextlib.contextmanager
    def changed(self, main: str = "", master: str = "") -> Iterator[None]:
        """Run with further main.cf settings and master.cf entries inside the with block, not after it."""
        self._restart_with(main, master)
        try:
            yield
        finally:
            self._restart_with("", "")

    def transport(self, command: str) -> str:
        """Return examples/master.cf's transport entry with another command, for changed(master=...)."""
        return example_entries(example(), command, self.port)["spamcheck", "unix"]

    def start(self) -> None:
        """Start it and return when it accepts mail."""
        try:
            run(["postfix", *self._place, "start"])
        except LabError as error:
            raise LabError(f"{error}; the end of its log:\n{self.log_tail()}") from error

    def stop(self) -> None:
        """Stop it at once, in the middle of whatever it does; does nothing when it is not running."""
        if not self.running():
            return
        run(["postfix", *self._place, "abort"])
        if not wait_until(lambda: not self.running(), timeout=5):
            run(["postfix", *self._place, "stop"])

    def reload(self) -> None:
        """Have the configuration read again while it runs; work under way ends with the old one."""
        run(["postfix", *self._place, "reload"])

    def running(self) -> bool:
        """Tell whether the master daemon runs, by its lock file: a process id proves nothing here."""
        return (self.lab / "queue/pid/master.pid").exists() and self._status()

    def flush(self) -> None:
        """Try all deferred mail again now."""
        run(["postqueue", *self._place, "-f"])

    def queued(self) -> list[str]:
        """Return QUEUE/ID of all mail which is not delivered yet."""
        found = []
        for queue in QUEUES:
            for _, _, files in os.walk(self.lab / "queue" / queue):
                found += [f"{queue}/{name}" for name in files]
        return found

    def discard_queue(self) -> None:
        """Delete all queued mail."""
        run(["postsuper", *self._place, "-d", "ALL"])

    def wait_idle(self, timeout: float = 30) -> None:
        """Wait until all mail has left the queue; LabError, with what is left, after timeout seconds."""
        if not wait_until(lambda: not self.queued(), timeout):
            raise LabError(f"still queued after {timeout} s: {self.queued()}\n{self.log_tail()}")

    def log_lines(self, *texts: str) -> list[str]:
        """Return the mail log's lines that hold all of these texts, none missing; a queue id finds a message's life."""
        logs.catch_up(self.log_file, lambda mark: run(["postlog", *self._place, mark]))
        return logs.matching(self.log_file, texts)

    def wait_log(self, *texts: str, timeout: float = 30) -> str:
        """Wait for a log line that holds all of these texts and return the first."""
        if not wait_until(lambda: bool(logs.matching(self.log_file, texts)), timeout, pause=0.05):
            raise LabError(f"no log line with {texts} after {timeout} s\n{self.log_tail()}")
        return logs.matching(self.log_file, texts)[0]

    def log_tail(self, lines: int = 30) -> str:
        """Return the end of the mail log."""
        return tail(self.log_file, lines)

    def _write(self, name: str, text: str) -> None:
        """Write a configuration file and date it back: Postfix waits until one is more than a second old."""
        file = self.configuration / name
        file.write_text(text, encoding="utf-8")
        os.utime(file, (time.time() - 60, time.time() - 60))

    def _restart_with(self, main: str, master: str) -> None:
        self.stop()
        self.configure(main, master)
        self.start()

    def _status(self) -> bool:
        try:
            run(["postfix", *self._place, "status"])
        except LabError:
            return False
        return True

    def _make_directories(self, number: int) -> None:
        for name in ("queue", "mail", "etc", "data"):
            (self.lab / name).mkdir(mode=0o755)
        os.chown(self.lab / "mail", number, number)
        run(["chown", "postfix:", self.lab / "data"])
        copy_program_files(self.configuration)


def copy_program_files(directory: Path) -> None:
    """Copy what Postfix's own programs need in /etc/postfix: lists of files and table types, no settings."""
    for name in ("postfix-files", "postfix-files.d", "postfix-script", "post-install", "dynamicmaps.cf",
                 "dynamicmaps.cf.d", "main.cf.proto", "master.cf.proto"):  # fmt: skip
        if os.path.exists(f"/etc/postfix/{name}"):
            run(["cp", "-R", f"/etc/postfix/{name}", directory])


def parse_entries(text: str) -> dict[tuple[str, str], str]:
    """Split a master.cf into entries by (service, type), comments left out; the last of a name wins."""
    entries: dict[tuple[str, str], str] = {}
    key = ("", "")
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        if line[0].isspace():
            entries[key] += f"{line}\n"
        else:
            name, kind = line.split()[:2]
            key = (name, kind)
            entries[key] = f"{line}\n"
    return entries


def distributed_entries() -> dict[tuple[str, str], str]:
    """Return the services that mail needs inside this host, as the installed Postfix came with them."""
    source = next((file for file in DISTRIBUTED if file.exists()), None)
    if source is None:
        raise LabError(f"no Postfix here: neither {DISTRIBUTED[0]} nor {DISTRIBUTED[1]} exists")
    entries = parse_entries(source.read_text(encoding="utf-8"))
    kept = {key: text for key, text in entries.items() if key[0] in NEEDED_SERVICES}
    missing = set(NEEDED_SERVICES) - {name for name, _ in kept}
    if missing:
        raise LabError(f"{source} has no entry for {', '.join(sorted(missing))}")
    return kept


def example() -> str:
    """Return the text of examples/master.cf."""
    return EXAMPLE.read_text(encoding="utf-8")


def example_entries(text: str, command: str, port: int) -> dict[tuple[str, str], str]:
    """Return examples/master.cf's entries with this command path and this port, all else as it is."""
    entries = parse_entries(text)
    if set(entries) != {("spamcheck", "unix"), ("smtp", "inet")}:
        raise LabError(f"{EXAMPLE}: expected spamcheck unix and smtp inet, found {sorted(entries)}")
    path = r"(?<=argv=)/usr/local/bin/pf-spamfilt(?= -- )"
    transport = _replace_one(entries["spamcheck", "unix"], path, command)
    server = _replace_one(entries["smtp", "inet"], r"^smtp(?= +inet )", f"127.0.0.1:{port}")
    _replace_one(server, r"-o content_filter=spamcheck:$", "")
    return {("spamcheck", "unix"): transport} | parse_entries(server)


def merge_settings(text: str) -> str:
    """Return a main.cf with each setting once, with its last value; values may have further lines."""
    settings: dict[str, str] = {}
    name = ""
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        name = name if line[0].isspace() else line.partition("=")[0].strip()
        settings[name] = (settings.get(name, "") if line[0].isspace() else "") + f"{line}\n"
    return "".join(settings.values())


def _replace_one(text: str, pattern: str, replacement: str) -> str:
    changed, times = re.subn(pattern, lambda _: replacement, text, flags=re.MULTILINE)
    if times != 1:
        raise LabError(f"{EXAMPLE}: expected once, found {times} times: {pattern}\n{text}")
    return changed
