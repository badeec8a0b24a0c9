"""The keys of [policy]: what each may be, in pf-spamfilt.toml or as text in a Postfix table.

Imported only where settings are read or a table has answered.

A check returns what is allowed if the value is wrong, otherwise an empty string. One that knows better what is wrong
raises ValueError with it.
"""

from pf_spamfilt import envelope, patterns, tagging
from pf_spamfilt.exits import Deferred
from pf_spamfilt.settings import DEFAULTS, STORES

TYPE_CHECKING = False
if TYPE_CHECKING:  # collections.abc costs a message with a table more than all else of its answer
    from collections.abc import Callable, Iterator

    Check = Callable[[object], str]

MACROS = ("recipient", "user", "mailbox", "extension", "domain")
MACROS_SHOWN = ", ".join("${" + name + "}" for name in MACROS)
LEVELS = ("always", "required", "never")
# An RFC 2047 word must not be longer than 75, in characters; a blank may be added to it.
_WORD_MAX = 72
# More than the longest key with blanks before it, in characters.
_KEY_MAX = 40
_TRUTHS = {"true": True, "yes": True, "y": True, "t": True, "1": True}
_TRUTHS |= {"false": False, "no": False, "n": False, "f": False, "0": False}


def one_of(*words: str) -> "Check":
    """Allow one of these words."""
    allowed = "one of " + ", ".join(f'"{word}"' for word in words)
    return lambda value: "" if value in words else allowed


def text(value: object) -> str:
    """Allow text of one line."""
    return "" if isinstance(value, str) and value.isprintable() else "text, without control characters"


def boolean(value: object) -> str:
    """Allow true and false."""
    return "" if isinstance(value, bool) else "true or false"


def texts(value: object) -> bool:
    """Tell whether `value` is a list of texts."""
    return isinstance(value, list) and all(not text(word) for word in value)


def pattern_list(value: object) -> str:
    """Allow a list of patterns; a bad one is named."""
    if not isinstance(value, list) or not all(isinstance(word, str) for word in value):
        return 'a list of patterns: ["user@example.com", ".example.com", "/^news@/", "hash:/etc/postfix/senders"]'
    patterns.compiled(value)
    return ""


def has_known_macros(value: str) -> bool:
    """Tell whether each `$` in `value` begins one of pipe(8)'s macros that we know."""
    pieces = value.split("$")[1:]
    return all(any(piece.startswith("{" + name + "}") for name in MACROS) for piece in pieces)


def _level(value: object) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= 1e9
    return "" if number or value in LEVELS else 'a number, or one of "always", "required", "never"'


def _tag(value: object) -> str:
    if allowed := text(value):
        return allowed
    return "" if len(tagging.encoded(str(value))) <= _WORD_MAX else f"text of at most {_WORD_MAX} characters"


def _address(value: object) -> str:
    return (
        ""
        if value == "" or (_is_address(value) and "$" not in str(value))
        else 'one address, "user@example.com", or empty'
    )


def _is_address(value: object) -> bool:
    """Tell whether `value` is one address that sendmail would take as it stands."""
    address = str(value).encode("utf-8", "surrogateescape")
    try:
        return not text(value) and address != b"" and envelope.for_sendmail(address) == address
    except Deferred:
        return False


def _quarantine(value: object) -> str:
    """Allow nothing, a store with an absolute path, or an address, which may have macros."""
    allowed = f'empty, "maildir:/PATH", "mbox:/PATH", "dir:/PATH", or an address, also with {MACROS_SHOWN}'
    path = str(value).partition(":")[2]
    if value == "":
        return ""
    if str(value).startswith(STORES):
        return "" if path.startswith("/") and not text(value) and "$" not in path else allowed
    sample = str(value)
    for name in MACROS:
        sample = sample.replace("${" + name + "}", "x@x" if name == "recipient" else "x")
    return "" if has_known_macros(str(value)) and "@" in sample and _is_address(sample) else allowed


def _file_name(value: object) -> str:
    rest = str(value)
    for macro in ("%b", "%i", "%n"):
        rest = rest.replace(macro, "")
    good = not text(value) and value != "" and not set(rest) & set("/%") and not rest.startswith(".")
    return "" if good else "the name of a file, with %b, %i and %n, and without a slash"


CHECKS: "dict[str, Check]" = {
    "tag_level": _level,
    "tag2_level": _level,
    "kill_level": _level,
    "subject_tag": _tag,
    "destiny": one_of("pass", "discard", "bounce"),
    "quarantine": _quarantine,
    "quarantine_name": _file_name,
    "bypass": boolean,
    "spam_lover": boolean,
    "welcome_senders": pattern_list,
    "block_senders": pattern_list,
    "admin": _address,
    "warn_sender": boolean,
}


def converted(key: str, value: object) -> object:
    """Return a checked value as a message wants it: lists of patterns are compiled, a tag has one blank after it."""
    if isinstance(value, str):
        return value.strip()
    return patterns.compiled(value) if CHECKS.get(key) is pattern_list else value  # type: ignore[arg-type]


def from_text(key: str, word: str) -> object:
    """Return what a table's `word` says for `key`. Raises ValueError."""
    if key not in CHECKS:
        raise ValueError(f"{key}: there is no such key; there are {', '.join(CHECKS)}")
    value = _read(DEFAULTS["policy"][key], CHECKS[key], word)
    if allowed := CHECKS[key](value):
        raise ValueError(f"{key}: must be {allowed}, not {word!r:.60}")
    return converted(key, value)


def from_result(result: str) -> dict[str, object]:
    """Return the keys and values of a table's `key=value key=value`; a list may come in parts. Raises ValueError."""
    values: dict[str, object] = {}
    for key, word in assignments(result):
        value = from_text(key, word)
        if key not in values:
            values[key] = value
        elif isinstance(value, list):
            values[key] += value  # type: ignore[operator]
        else:
            raise ValueError(f"{key}: is there twice")
    return values


def _read(default: object, check: "Check", word: str) -> object:
    """Read a word as what its key's default is."""
    if isinstance(default, bool):
        return _TRUTHS.get(word.lower(), word)
    if isinstance(default, list):
        return [part.strip() for part in word.split(",") if part.strip()]
    if check is not _level:
        return word
    digits = word.removeprefix("-").replace(".", "", 1)
    return float(word) if digits.isascii() and digits.isdigit() else word


def assignments(result: str) -> "Iterator[tuple[str, str]]":
    """Yield the keys and values of a table's `key=value key=value`.

    Blanks separate, and so does a comma before a key, with which Postfix joins several results. A value with blanks
    stands in double quotes. Raises ValueError.
    """
    rest = result.strip()
    while rest:
        key, equals, rest = rest.partition("=")
        if not equals or not key.replace("_", "").isalnum():
            raise ValueError(f'must be "key=value key=value", with double quotes around blanks, not {result!r:.100}')
        value, rest = _value(rest)
        yield key, value


def _value(text: str) -> tuple[str, str]:
    """Split a value from what follows it."""
    if text.startswith('"'):
        value, quote, rest = text[1:].partition('"')
        if not quote or (rest and rest[0] not in " ,\t"):
            raise ValueError(f"a double quote is missing: {text!r:.100}")
        return value, rest.lstrip(", \t")
    place = 0
    while place < len(text) and not text[place].isspace() and not _ends_value(text, place):
        place += 1
    return text[:place], text[place:].lstrip(", \t")


def _ends_value(text: str, place: int) -> bool:
    """Tell whether at `place` there is a comma, and then a key."""
    if text[place] != ",":
        return False
    rest = text[place + 1 : place + 2 + _KEY_MAX].lstrip()
    return any(rest.startswith(key + "=") for key in CHECKS)
