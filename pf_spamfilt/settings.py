"""The settings that hold for this message: the defaults, with what pf-spamfilt.toml says.

Parsing TOML costs more than starting Python, so a compiled file beside it is taken instead while it is fresh: stamped
with the source's size and modification time, of the source's owner, and writable by nobody else. A stale, broken or
missing one is only slower. What is allowed in the file is schema.py's matter, imported only when it must be read.
"""

import marshal
import os
import stat
import sys

from pf_spamfilt import __version__
from pf_spamfilt.exits import SettingsError

FILE_NAME = "pf-spamfilt.toml"
DEFAULT_FOLDER = "/etc/postfix"
COMPILED_SUFFIX = ".compiled"
# Compiled settings of another program version, or another Python's marshal, are not believed.
_MAKER = (__version__, marshal.version, sys.version_info[:2])

DEFAULTS: dict[str, dict[str, object]] = {
    "": {"recipient_delimiter": "+"},
    "spamc": {
        "command": ["/usr/bin/spamc"],
        "servers": [],
        "order": "listed",
        "user": "${recipient}",
        "max_size": 512000,
        "timeout": 300,
        "on_failure": "defer",
    },
    "sendmail": {"command": ["/usr/sbin/sendmail", "-G", "-i"]},
    "limits": {"deadline": 900},
    "log": {"syslog": True, "facility": "mail", "file": "", "level": 1},
}


class Spamc:
    """[spamc]: which program, servers and user; sizes in bytes, times in seconds."""

    command: list[str]
    servers: list[str]
    order: str
    user: str
    max_size: int
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


class Settings:
    """All settings, checked; `note` is what the log should say of how they were read."""

    recipient_delimiter: str

    def __init__(self, values: dict[str, dict[str, object]], note: str = "") -> None:
        self.note = note
        self.spamc, self.sendmail, self.limits, self.log = Spamc(), Sendmail(), Limits(), LogSettings()
        for section, keys in DEFAULTS.items():
            vars(getattr(self, section) if section else self).update(keys | values.get(section, {}))


def path() -> str:
    """Return the settings file of this Postfix instance: pipe(8) and local(8) always set MAIL_CONFIG."""
    return os.path.join(os.environ.get("MAIL_CONFIG") or DEFAULT_FOLDER, FILE_NAME)


def load(source: str, required: bool = False) -> Settings:
    """Return the settings in the file `source`; the defaults if there is none and it is not `required`.

    Raises SettingsError, which names file and key.
    """
    try:
        file = os.stat(source)
    except (FileNotFoundError, NotADirectoryError) as error:
        if required:
            raise SettingsError(f"{source}: {error.strerror}") from None
        return Settings({})
    except OSError as error:
        raise SettingsError(f"{source}: {error.strerror}") from None
    if not stat.S_ISREG(file.st_mode):
        raise SettingsError(f"{source}: is not a regular file")
    values = _read_compiled(source, file)
    if values is not None:
        return Settings(values)
    from pf_spamfilt import schema

    compiled = os.path.exists(source + COMPILED_SUFFIX)
    note = f"{source}{COMPILED_SUFFIX} is stale or not trusted: compile it anew" if compiled else ""
    return Settings(schema.read(source), note)


def stamp(file: os.stat_result) -> tuple[object, ...]:
    """Return what makes compiled settings fresh: of this source file, by this program and Python."""
    return (*_MAKER, file.st_size, file.st_mtime_ns)


def _read_compiled(source: str, file: os.stat_result) -> dict[str, dict[str, object]] | None:
    try:
        fd = os.open(source + COMPILED_SUFFIX, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        compiled = os.fstat(fd)
        if compiled.st_uid != file.st_uid or compiled.st_mode & 0o022 or not stat.S_ISREG(compiled.st_mode):
            return None
        made, values = marshal.loads(os.read(fd, compiled.st_size))
        return values if made == stamp(file) else None
    except Exception:  # garbage can make marshal raise anything
        return None
    finally:
        os.close(fd)
