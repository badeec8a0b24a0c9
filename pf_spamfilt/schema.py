"""What pf-spamfilt.toml may say: keys, values, and errors that teach. Never imported for a message with fresh settings.

Every error names the file, the key, and what is allowed. `problems` finds all of them, `read` raises the first.
"""

import difflib
import marshal
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

from pf_spamfilt import log, settings
from pf_spamfilt.exits import SettingsError

Check = Callable[[object], str]
"""A check returns what is allowed if the value is wrong, otherwise an empty string."""

_MACROS = ("recipient", "user", "mailbox", "extension", "domain")


def _one_of(*words: str) -> Check:
    allowed = "one of " + ", ".join(f'"{word}"' for word in words)
    return lambda value: "" if value in words else allowed


def _number(low: int, high: int) -> Check:
    def check(value: object) -> str:
        good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return "" if good else f"a number from {low} to {high}"

    return check


def _text(value: object) -> str:
    return "" if isinstance(value, str) and value.isprintable() else "text, without control characters"


def _boolean(value: object) -> str:
    return "" if isinstance(value, bool) else "true or false"


def _command(value: object) -> str:
    good = _is_texts(value) and bool(value) and str(value[0]).startswith("/")  # type: ignore[index]
    return "" if good else 'a list of words, the first an absolute path: ["/usr/bin/program", "--option"]'


def _sendmail(value: object) -> str:
    if allowed := _command(value):
        return allowed
    words = value if isinstance(value, list) else []
    return "without -t: recipients are never taken from the header" if "-t" in words else ""


def _servers(value: object) -> str:
    good = _is_texts(value) and all(map(_is_server, value))  # type: ignore[call-overload]
    return "" if good else 'a list of "host", "host:port", "[address]:port" or "/path/of/socket"'


def _is_server(server: str) -> bool:
    found = re.fullmatch(r"/\S+|(?:\[[0-9A-Fa-f:.]+\]|\w[\w.-]*)(?::(\d{1,5}))?|(?=.*:.*:)[0-9A-Fa-f:.]+", server)
    return found is not None and int(found[1] or 1) in range(1, 65536)


def _user(value: object) -> str:
    macros = re.findall(r"\$\{(\w+)\}", str(value))
    good = not _text(value) and set(macros) <= set(_MACROS) and str(value).count("$") == len(macros)
    return "" if good else f"text with the macros {', '.join('${' + name + '}' for name in _MACROS)}, or empty"


def _log_file(value: object) -> str:
    return "" if value == "" or (not _text(value) and str(value).startswith("/")) else "an absolute path, or empty"


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(not _text(word) for word in value)


CHECKS: dict[str, dict[str, Check]] = {
    "": {"recipient_delimiter": _text},
    "spamc": {
        "command": _command,
        "servers": _servers,
        "order": _one_of("listed", "random"),
        "user": _user,
        "max_size": _number(1, settings.MAX_SIZE),
        "timeout": _number(1, 86400),
        "on_failure": _one_of("defer", "pass"),
    },
    "sendmail": {"command": _sendmail},
    "limits": {"deadline": _number(1, 86400)},
    "log": {
        "syslog": _boolean,
        "facility": _one_of(*log.FACILITIES),
        "file": _log_file,
        "level": _number(log.ERRORS, log.CHILDREN),
    },
}


def read(source: str) -> dict[str, dict[str, object]]:
    """Return the checked sections and keys that the file `source` sets. Raises SettingsError."""
    values = _sections(_parse(source))
    for problem in problems(values):
        raise SettingsError(f"{source}: {problem}")
    return values


def compile_file(source: str) -> str:
    """Store the settings of `source` where a message finds them parsed; return that file's name.

    The file appears whole or not at all, with the source's owner, and readable by those who can read the source.
    Raises SettingsError or OSError.
    """
    file = os.stat(source)
    target = source + settings.COMPILED_SUFFIX
    new = f"{target}.{os.getpid()}"
    data = marshal.dumps((settings.stamp(file), read(source)))  # type: ignore[arg-type]
    with open(new, "xb") as output:
        output.write(data)
        os.fchmod(output.fileno(), file.st_mode & 0o644)
        if os.geteuid() == 0:
            os.fchown(output.fileno(), file.st_uid, file.st_gid)
        os.fsync(output.fileno())
    os.rename(new, target)
    return target


def problems(values: dict[str, dict[str, object]]) -> Iterator[str]:
    """Yield what is wrong with sections and keys, each as `[section] key: what is allowed`."""
    for section, keys in values.items():
        if section not in CHECKS:
            yield f"[{section}]: there is no such section{_instead(section, [name for name in CHECKS if name])}"
            continue
        for key, value in keys.items():
            where = f"[{section}] {key}" if section else key
            if not section and key in CHECKS:
                yield f"{where}: must be a section: [{key}]"
            elif key not in CHECKS[section]:
                yield f"{where}: there is no such key{_instead(key, list(CHECKS[section]))}"
            elif allowed := CHECKS[section][key](value):
                yield f"{where}: must be {allowed}, not {_shown(value)}"


def _shown(value: object) -> str:
    try:
        return f"{value!r:.60}"
    except ValueError:  # a number of more digits than Python prints
        return "this"


def _parse(source: str) -> dict[str, object]:
    try:
        return tomllib.loads(Path(source).read_text("utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"{source}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # not UTF-8, not TOML, or not meant seriously
        raise SettingsError(f"{source}: {error}") from None


def _sections(table: dict[str, object]) -> dict[str, dict[str, object]]:
    """Order TOML's table by section, the keys outside any under an empty name."""
    values: dict[str, dict[str, object]] = {"": {}}
    for name, value in table.items():
        if isinstance(value, dict) and name:
            values[name] = value
        else:
            values[""][name] = value
    return values


def _instead(word: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(word, allowed, 1)
    if near:
        return f'; did you mean "{near[0]}"?'
    return f"; there are {', '.join(name for name in allowed if name)}"
