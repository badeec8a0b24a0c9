"""Patterns of mail addresses: one grammar wherever an address is matched, the first pattern that matches decides.

`user@example.com`, `example.com`, `.example.com` (it and all below), `.` (everyone), `<>` (the null sender),
`/regular expression/` and `type:name` (a Postfix lookup table), each with `!` before it for "no". Case never matters,
and `user+extension@` also matches as `user@`. A domain may have an `@` before it, as it has in tables.

A list of them is compiled when the settings are read: neighbouring plain addresses that say the same become texts with
an address a line, of which one is searched. So it loads at the cost of a file, however many there are.
"""

from pf_spamfilt.envelope import NULL_SENDER, is_local_part, split_address, split_extension, unquoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    # Kind, content, and what a match says; the content of _PLAIN are texts.
    Segment = tuple[str, Any, bool]
    Patterns = list[Segment]
    # In which lists a plain address is, and the lists that have to be matched.
    Index = tuple[dict[str, list[int]], dict[int, Patterns]]

    class Lookup(Protocol):
        """What a message needs beyond plain addresses: tables, and regular expressions."""

        def has(self, table: str, address: "Address") -> bool:
            """Tell whether a Postfix table has an entry for an address."""

        def search(self, regex: str, address: "Address") -> bool:
            """Tell whether a regular expression matches an address."""


# Kinds of segments: plain addresses, a regular expression, a table.
_PLAIN, _REGEX, _TABLE = "plain", "regex", "table"
_DOMAIN_MAX = 255  # bytes (RFC 5321, 4.5.3.1.2)
_LINES = 16  # about so many addresses are in one text
_TYPE_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_")


class Address:
    """An address as patterns see it: `text`, its lower-case `keys` from itself to `.`, and each as a line."""

    __slots__ = ("keys", "lines", "text")

    def __init__(self, address: bytes, delimiters: str) -> None:
        self.text = text(address)
        self.keys = _keys(address, delimiters)
        self.lines = [(_number(key), f"\n{key}\n") for key in self.keys]


def text(address: bytes) -> str:
    """Return `address` as str; bytes that are not UTF-8 stay what they are, as surrogates."""
    return address.decode("utf-8", "surrogateescape")


def _keys(address: bytes, delimiters: str) -> list[str]:
    """Return what a pattern for `address` may say, the most specific first."""
    if address == NULL_SENDER:
        return ["<>", "."]
    local, at, name = split_address(address)
    if not at or len(name) > _DOMAIN_MAX:
        return ["."]
    local = unquoted(local)
    user, _ = split_extension(local, delimiters.encode())
    domain = text(name).lower().rstrip(".")
    if not domain:
        return ["."]
    # An address that begins with "!" would look like somebody else's exception.
    users = [text(each).lower() for each in dict.fromkeys((local, user)) if not each.startswith(b"!")]
    return [f"{each}@{domain}" for each in users] + domain_keys(domain)


def domain_keys(domain: str) -> list[str]:
    """Return `domain`, `.domain`, `.parent` and so on to `.`."""
    parts = domain.split(".")
    return [domain, *("." + ".".join(parts[place:]) for place in range(len(parts))), "."]


def words(patterns: "Patterns") -> list[str]:
    """Return the patterns as they were written, but in lower case, and neighbouring addresses in another order."""
    found = []
    for kind, content, yes in patterns:
        lines = [f"/{content}/" if kind == _REGEX else content]
        if kind == _PLAIN:
            lines = sorted(line for text in content for line in text.split("\n")[1:-1])
        found += ["!" * (not yes) + line for line in lines]
    return found


def matching(patterns: "Patterns", addresses: list[Address], lookup: "Lookup") -> bool | None:
    """Return what the first pattern says that matches any of `addresses`; None if none does."""
    for kind, content, yes in patterns:
        if any(_matches(kind, content, address, lookup) for address in addresses):
            return yes
    return None


def _matches(kind: str, content: "Any", address: Address, lookup: "Lookup") -> bool:
    if kind == _PLAIN:
        return any(line in content[number % len(content)] for number, line in address.lines)
    return lookup.has(content, address) if kind == _TABLE else lookup.search(content, address)


def _number(key: str) -> int:
    """Return what tells in which text an address is. It is the same in every process, unlike hash()."""
    return int.from_bytes(key.encode("utf-8", "surrogateescape"), "big")


def index(lists: "list[Patterns]") -> "Index":
    """Return `lists`, by their numbers, as those_matching() wants them: hundreds cost no more than one."""
    places: dict[str, list[int]] = {}
    others: dict[int, Patterns] = {}
    for number, patterns in enumerate(lists):
        if all(kind == _PLAIN and yes for kind, _, yes in patterns):
            for word in words(patterns):
                places.setdefault(word, []).append(number)
        else:
            others[number] = patterns
    return places, others


def those_matching(index: "Index", address: Address, lookup: "Lookup") -> list[int]:
    """Return the numbers of the lists that match `address`, in their order."""
    places, others = index
    found = {number for key in address.keys for number in places.get(key, ())}
    found.update(number for number, patterns in others.items() if matching(patterns, [address], lookup))
    return sorted(found)


def compiled(words: list[str]) -> "Patterns":
    """Return `words` as matching() wants them. Raises ValueError, which shows the bad one and says what is wrong."""
    patterns: Patterns = []
    lines: list[str] = []
    said = True
    for word in words:
        kind, content = _parsed(word)
        yes = not word.startswith("!")
        if kind != _PLAIN or yes != said:
            patterns += _joined(lines, said)
            lines, said = [], yes
        if kind == _PLAIN:
            lines.append(content)
        else:
            patterns.append((kind, content, yes))
    return patterns + _joined(lines, said)


def _joined(lines: list[str], yes: bool) -> "Patterns":
    """Return plain addresses as a segment, each in the text that its number tells."""
    if not lines:
        return []
    texts = ["\n"] * (len(lines) // _LINES | 1)
    for line in lines:
        texts[_number(line) % len(texts)] += f"{line}\n"
    return [(_PLAIN, texts, yes)]


def _parsed(word: str) -> tuple[str, str]:
    """Return kind and content of one pattern."""
    pattern = word.removeprefix("!")
    if pattern.startswith("/"):
        return _REGEX, _regex(word, pattern)
    if _is_table(pattern):
        if problem := _table_problem(pattern):
            raise ValueError(f'"{word}" {problem}')
        return _TABLE, pattern
    pattern = pattern[1:] if pattern.startswith("@") and pattern != "@" else pattern  # as tables write it
    if problem := _problem(pattern):
        raise ValueError(f'"{word}" {problem}')
    return _PLAIN, _canonical(pattern)


def _canonical(pattern: str) -> str:
    local, at, domain = pattern.lower().rpartition("@")
    return text(unquoted(local.encode("utf-8", "surrogateescape"))) + at + domain


def _regex(word: str, pattern: str) -> str:
    import re
    import warnings

    if len(pattern) < 3 or not pattern.endswith("/"):
        raise ValueError(f'"{word}" must be a regular expression between two slashes')
    try:
        with warnings.catch_warnings(action="error"):  # a warning would come before what Postfix reads
            re.compile(pattern[1:-1], re.IGNORECASE)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise ValueError(f'"{word}" is no regular expression: {error}') from None
    return pattern[1:-1]


def _is_table(pattern: str) -> bool:
    kind, colon, _ = pattern.partition(":")
    return colon != "" and "@" not in kind and "[" not in kind


def table_problem(name: str) -> str:
    """Return what is wrong with `name` as that of a Postfix table, otherwise an empty string."""
    return _table_problem(name) if _is_table(name) else 'must be a Postfix table, "type:name"'


def _table_problem(name: str) -> str:
    kind, _, rest = name.partition(":")
    if kind == "proxy":
        return f'cannot be asked by the filter\'s account: write it without proxy, "{rest}"'
    good = kind and set(kind) <= _TYPE_LETTERS and rest.strip() == rest != "" and rest.isprintable()
    return "" if good else 'must be a Postfix table, "type:name"'


def _problem(pattern: str) -> str:
    """Return what is wrong with a pattern that is a plain address, otherwise an empty string."""
    if not pattern:
        return "is empty"
    if pattern.startswith("!"):
        return 'has one "!" too many'
    if pattern in (".", "<>"):
        return ""
    local, at, domain = pattern.rpartition("@")
    if at and local in ("", "*"):
        return f'names no user: did you mean "{domain}"?'
    if not domain.removeprefix("." if not at else ""):
        return "has no domain"
    good = pattern.isprintable() and not set(domain) & set(' ,;<>()"!*/')
    if not good or (at and not is_local_part(local.encode("utf-8", "surrogateescape"))):
        wildcard = ': all below a domain is ".example.com"' if "*" in domain else ""
        return f"is no address, domain, .domain, /regular expression/ or type:table{wildcard}"
    if domain.endswith(".") or ".." in domain:
        return "has an empty part in its domain"
    return ""
