"""What pf-spamfilt.toml may say: keys, values, and errors that teach. Never imported for a message with fresh settings.

Every error names the file, the key, and what is allowed. `every_problem` finds all of them, `read` raises the first.
"""

import difflib
import marshal
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from pf_spamfilt import log, patterns, policy_keys, settings
from pf_spamfilt.exits import SettingsError
from pf_spamfilt.policy_keys import boolean, one_of, text, texts

Check = Callable[[object], str]


def _number(low: int, high: int) -> Check:
    def check(value: object) -> str:
        good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return "" if good else f"a number from {low} to {high}"

    return check


def _command(value: object) -> str:
    good = texts(value) and bool(value) and str(value[0]).startswith("/")  # type: ignore[index]
    return "" if good else 'a list of words, the first an absolute path: ["/usr/bin/program", "--option"]'


def _sendmail(value: object) -> str:
    if allowed := _command(value):
        return allowed
    words = value if isinstance(value, list) else []
    return "without -t: recipients are never taken from the header" if "-t" in words else ""


def _servers(value: object) -> str:
    good = texts(value) and all(map(_is_server, value))  # type: ignore[call-overload]
    return "" if good else 'a list of "host", "host:port", "[address]:port" or "/path/of/socket"'


def _is_server(server: str) -> bool:
    found = re.fullmatch(r"/\S+|(?:\[[0-9A-Fa-f:.]+\]|\w[\w.-]*)(?::(\d{1,5}))?|(?=.*:.*:)[0-9A-Fa-f:.]+", server)
    return found is not None and int(found[1] or 1) in range(1, 65536)


def _user(value: object) -> str:
    good = not text(value) and policy_keys.has_known_macros(str(value))
    return "" if good else f"text with the macros {policy_keys.MACROS_SHOWN}, or empty"


def _log_file(value: object) -> str:
    return "" if value == "" or (not text(value) and str(value).startswith("/")) else "an absolute path, or empty"


def _tables(value: object) -> str:
    if not texts(value):
        return 'a list of Postfix lookup tables: ["hash:/etc/postfix/spam"]'
    for name in value:  # type: ignore[attr-defined]
        if problem := patterns.table_problem(name):
            raise ValueError(f'"{name}" {problem}')
    return ""


CHECKS: dict[str, dict[str, Check]] = {
    "": {"recipient_delimiter": text},
    "spamc": {
        "command": _command,
        "servers": _servers,
        "order": one_of("listed", "random"),
        "user": _user,
        "per_recipient": boolean,
        "max_size": _number(1, settings.MAX_SIZE),
        "oversize": one_of("pass", "head"),
        "timeout": _number(1, 86400),
        "on_failure": one_of("defer", "pass"),
    },
    "sendmail": {"command": _sendmail},
    "limits": {"deadline": _number(1, 86400)},
    "log": {
        "syslog": boolean,
        "facility": one_of(*log.FACILITIES),
        "file": _log_file,
        "level": _number(log.ERRORS, log.CHILDREN),
    },
    "policy": policy_keys.CHECKS,
    "tables": {"command": _command, "recipients": _tables},
}
_MATCH: dict[str, Check] = {"match": policy_keys.pattern_list}
# What a block of [[recipients]] or [[senders]] may say.
BLOCK_CHECKS: dict[str, dict[str, Check]] = {
    "recipients": _MATCH | policy_keys.CHECKS,
    "senders": _MATCH | {key: policy_keys.CHECKS[key] for key in ("quarantine", "admin")},
}


def read(source: str) -> "settings.Values":
    """Return the checked sections and keys that the file `source` sets, patterns compiled. Raises SettingsError."""
    values = _sections(_parse(source))
    for problem in problems(values):
        raise SettingsError(f"{source}: {problem}")
    values["policy"] = _converted(values.get("policy", {}))
    for section in settings.BLOCKS:
        values[section] = _blocks(values.get(section, []))
    return values


def every_problem(source: str) -> list[str]:
    """Return all that is wrong with the file `source`, each with its name; what is no TOML is one problem."""
    try:
        values = _sections(_parse(source))
    except SettingsError as error:
        return [error.text]
    return [f"{source}: {problem}" for problem in problems(values)]


def _blocks(blocks: list[dict[str, object]]) -> "settings.Blocks":
    index = patterns.index([patterns.compiled(block["match"]) for block in blocks])  # type: ignore[arg-type]
    return index, [_converted({key: block[key] for key in block if key != "match"}) for block in blocks]


def _converted(keys: Mapping[str, object]) -> dict[str, object]:
    return {key: policy_keys.converted(key, value) for key, value in keys.items()}


def compile_file(source: str) -> str:
    """Store the settings of `source` where a message finds them parsed; return that file's name.

    The file appears whole or not at all, with the source's owner, and readable by those who can read the source.
    Raises SettingsError or OSError.
    """
    file = os.stat(source)
    target = source + settings.COMPILED_SUFFIX
    new = f"{target}.{os.getpid()}"
    data = marshal.dumps((settings.stamp(file), read(source)))  # type: ignore[arg-type]
    try:
        with open(new, "xb", opener=lambda path, flags: os.open(path, flags, 0o600)) as output:
            output.write(data)
            if os.geteuid() == 0:
                os.fchown(output.fileno(), file.st_uid, file.st_gid)
            os.fchmod(output.fileno(), file.st_mode & 0o644)
            os.fsync(output.fileno())
        os.rename(new, target)
    except BaseException:
        Path(new).unlink(missing_ok=True)
        raise
    return target


def problems(values: "settings.Values") -> Iterator[str]:
    """Yield what is wrong with sections and keys, each as `[section] key: what is allowed`."""
    for section, content in values.items():
        if section in settings.BLOCKS:
            yield from _block_problems(section, content)
        elif section not in CHECKS:
            yield f"[{section}]: there is no such section{_instead(section, [*filter(None, CHECKS), *settings.BLOCKS])}"
        elif isinstance(content, dict):
            where = f"[{section}] " if section else ""
            for key, value in content.items():
                yield from _key_problems(where, key, value, CHECKS[section])
        else:
            yield f"{section}: must be a section: [{section}]"


def _block_problems(section: str, blocks: object) -> Iterator[str]:
    if not isinstance(blocks, list) or not all(isinstance(block, dict) for block in blocks):
        yield from _key_problems("", section, blocks, {})
        return
    for number, block in enumerate(blocks, 1):
        where = f"[[{section}]] {number} "
        if not block.get("match"):
            yield f'{where}match: must say whom the block is for: match = ["user@example.com"]'
        for key, value in block.items():
            yield from _key_problems(where, key, value, BLOCK_CHECKS[section])


def _key_problems(where: str, key: str, value: object, checks: Mapping[str, Check]) -> Iterator[str]:
    if not where and key in settings.BLOCKS:
        yield f"{key}: must be blocks, each under a line of its own: [[{key}]]"
    elif not where and key and key in CHECKS:
        yield f"{key}: must be a section: [{key}]"
    elif not where and key in policy_keys.CHECKS:
        yield f"{key}: belongs below a line [policy], or in a block"
    elif key not in checks:
        yield f"{where}{key}: there is no such key{_instead(key, list(checks))}"
    else:
        try:
            if allowed := checks[key](value):
                yield f"{where}{key}: must be {allowed}, not {_shown(value)}"
        except ValueError as error:
            yield f"{where}{key}: {error}"


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


def _sections(table: dict[str, object]) -> "settings.Values":
    """Order TOML's table by section, the keys outside any under an empty name."""
    values: settings.Values = {"": {}}
    for name, value in table.items():
        is_blocks = isinstance(value, list) and value and all(isinstance(block, dict) for block in value)
        if name and (isinstance(value, dict) or is_blocks or (name in settings.BLOCKS and isinstance(value, list))):
            values[name] = value
        else:
            values[""][name] = value
    return values


def _instead(word: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(word, allowed, 1)
    if near:
        return f'; did you mean "{near[0]}"?'
    return f"; there are {', '.join(name for name in allowed if name)}"
