"""The settings that hold for this message: the defaults, with what pf-spamfilt.toml says.

Parsing TOML costs more than starting Python, so a compiled file beside it is taken instead while it is fresh: stamped
with the source's size and times, of the source's owner, and writable by nobody else. A stale, broken or
missing one is only slower. What is allowed in the file is schema.py's matter, imported only when it must be read.
"""

import marshal
import posix
import stat
import sys

from pf_spamfilt import __version__
from pf_spamfilt.exits import SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pf_spamfilt.patterns import Index

    # By section, and its keys; a section of blocks is Blocks.
    Values = dict[str, Any]
    # Whom the blocks are for, and the keys of each.
    Blocks = tuple[Index, list[dict[str, Any]]]

FILE_NAME = "pf-spamfilt.toml"
DEFAULT_FOLDER = "/etc/postfix"
COMPILED_SUFFIX = ".compiled"
# What spamc can be given at the most, in bytes.
MAX_SIZE = 256 << 20
# Compiled settings of another program version, or another Python's marshal, are not believed.
_MAKER = (__version__, marshal.version, sys.version_info[:2])

DEFAULTS: dict[str, dict[str, object]] = {
    "": {"recipient_delimiter": "+"},
    "spamc": {
        "command": ["/usr/bin/spamc"],
        "servers": [],
        "order": "listed",
        "user": "${recipient}",
        "per_recipient": False,
        "max_size": 512000,
        "oversize": "pass",
        "timeout": 300,
        "on_failure": "defer",
    },
    "sendmail": {"command": ["/usr/sbin/sendmail", "-G", "-i"]},
    "limits": {"deadline": 900},
    "log": {"syslog": True, "facility": "mail", "file": "", "level": 1},
    "policy": {
        "tag_level": "always",
        "tag2_level": "required",
        "kill_level": "never",
        "subject_tag": "",
        "destiny": "pass",
        "quarantine": "",
        "quarantine_name": "spam-%b-%i-%n",
        "bypass": False,
        "spam_lover": False,
        "welcome_senders": [],
        "block_senders": [],
        "admin": "",
        "warn_sender": False,
    },
    "tables": {"command": ["/usr/sbin/postmap"], "recipients": []},
}
# What a quarantine begins with that is no address.
STORES = ("maildir:", "mbox:", "dir:")
# Sections that are lists of blocks, each with the patterns whom it is for.
BLOCKS = ("recipients", "senders")
_NO_BLOCKS: "Blocks" = (({}, {}), [])


class Spamc:
    """[spamc]: which program, servers and user; sizes in bytes, times in seconds."""

    command: list[str]
    servers: list[str]
    order: str
    user: str
    per_recipient: bool
    max_size: int
    oversize: str
    timeout: int
    on_failure: str


class Sendmail:
    """[sendmail]: the program that takes the result."""

    command: list[str]


class Limits:
    """[limits]: seconds for one message in all."""

    deadline: int


class LogSettings:
    """[log]: where lines go and how many."""

    syslog: bool
    facility: str
    file: str
    level: int


class TableSettings:
    """[tables]: postmap(1), and the tables that are asked for each recipient."""

    command: list[str]
    recipients: list[str]


class Settings:
    """All settings, checked; `note` is what the log should say of how they were read.

    `policy` holds the keys that [policy] says, `recipients` and `senders` the blocks, their patterns compiled.
    """

    recipient_delimiter: str

    def __init__(self, values: "Values", note: str = "") -> None:
        self.note = note
        self.spamc, self.sendmail, self.limits, self.log = Spamc(), Sendmail(), Limits(), LogSettings()
        self.tables = TableSettings()
        self.policy: dict[str, object] = values.get("policy", {})
        self.recipients: Blocks = values.get("recipients", _NO_BLOCKS)
        self.senders: Blocks = values.get("senders", _NO_BLOCKS)
        for section, keys in DEFAULTS.items():
            if section != "policy":
                vars(getattr(self, section) if section else self).update(keys | values.get(section, {}))


def path() -> str:
    """Return the settings file of this Postfix instance: pipe(8) and local(8) always set MAIL_CONFIG."""
    folder = posix.environ.get(b"MAIL_CONFIG", b"").decode("utf-8", "surrogateescape")
    return f"{folder or DEFAULT_FOLDER}/{FILE_NAME}"


def load(source: str, required: bool = False) -> Settings:
    """Return the settings in the file `source`; the defaults if there is none and it is not `required`.

    Raises SettingsError, which names file and key.
    """
    try:
        file = posix.stat(source)
    except (FileNotFoundError, NotADirectoryError) as error:
        if required:
            raise SettingsError(f"{source}: {error.strerror}") from None
        return Settings({})
    except OSError as error:
        raise SettingsError(f"{source}: {error.strerror}") from None
    if not stat.S_ISREG(file.st_mode):
        raise SettingsError(f"{source}: is not a regular file")
    values, note = _read_compiled(source + COMPILED_SUFFIX, file)
    if values is None:
        from pf_spamfilt import schema

        values = schema.read(source)
    return Settings(values, note)


def stamp(file: posix.stat_result) -> tuple[object, ...]:
    """Return what makes compiled settings fresh: of this source file, by this program and Python."""
    return (*_MAKER, file.st_ino, file.st_size, file.st_mtime_ns, file.st_ctime_ns)


def _read_compiled(name: str, source: posix.stat_result) -> "tuple[Values | None, str]":
    """Return the compiled settings if they can be believed, otherwise None, and a note for the log if there are any."""
    note = f"{name} is stale or not trusted: compile it anew"
    try:
        fd = posix.open(name, posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK)
    except OSError as error:
        return None, "" if isinstance(error, FileNotFoundError) else note
    try:
        file = posix.fstat(fd)
        if stat.S_ISREG(file.st_mode) and file.st_uid == source.st_uid and not file.st_mode & 0o022:
            made, values = marshal.loads(posix.read(fd, file.st_size))
            if made == stamp(source):
                return values, ""
    except Exception:  # garbage can make marshal raise anything
        pass
    finally:
        posix.close(fd)
    return None, note
