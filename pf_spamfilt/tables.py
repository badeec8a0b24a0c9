"""Postfix lookup tables, by postmap(1): every type that this host's Postfix knows works, no driver is ours.

All keys of a message are asked in one call for each table. A table that cannot be read is a Deferred that names it,
never "not found".
"""

import posix

from pf_spamfilt import process, report, spool
from pf_spamfilt.exits import Deferred, SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pf_spamfilt.log import Log
    from pf_spamfilt.patterns import Address
    from pf_spamfilt.policy import Source

# How large all answers to the keys of one message may be, in bytes.
_ANSWER_MAX = 1 << 20
_FOUND, _NOT_FOUND = 0, 1
_AMBIGUOUS = set(' ",=')


class Tables:
    """The tables, as these addresses are looked up in them: recipients or senders of one message."""

    __slots__ = ("_addresses", "_answers", "_command", "_deadline", "_log", "_settings")

    def __init__(self, addresses: "list[Address]", command: list[str], deadline: float, log: "Log") -> None:
        """`command` runs postmap; `deadline` is a time.monotonic()."""
        self._addresses = addresses
        self._answers: dict[tuple[str, bool], dict[str, str]] = {}
        self._settings: dict[tuple[str, str], dict[str, object]] = {}
        self._command = process.encode(command)
        self._deadline = deadline
        self._log = log

    def has(self, name: str, address: "Address") -> bool:
        """Tell whether table `name`, as a list of patterns, has an entry for `address`."""
        found = self._found(name, _pattern_keys)
        return any(key in found for key in _pattern_keys(address))

    def sources(self, names: list[str], address: "Address") -> "Iterator[Source]":
        """Yield what the tables `names` say of a recipient, the most specific first."""
        for name in names:
            found = self._found(name, keys)
            for key in keys(address):
                if key in found:
                    if (name, key) not in self._settings:
                        self._settings[name, key] = _parsed(name, key, found[key])
                    yield f"{name}, key {key}", self._settings[name, key]

    def _found(self, name: str, keys_of: "Callable[[Address], list[str]]") -> dict[str, str]:
        """Return what table `name` says of the keys of all addresses; it is asked once."""
        asked = (name, keys_of is _pattern_keys)
        if asked not in self._answers:
            wanted = dict.fromkeys(key for address in self._addresses for key in keys_of(address))
            self._answers[asked] = self._ask(name, [key for key in wanted if key.isprintable()])
        return self._answers[asked]

    def _ask(self, name: str, wanted: list[str]) -> dict[str, str]:
        """Run postmap for these keys. Its status 1 is "none found", and also a failure that it tells on stderr."""
        argv = [*self._command, b"-q", b"-", *process.encode([name])]
        asked = spool.from_bytes("".join(f"{key}\n" for key in wanted).encode("utf-8", "surrogateescape"))
        output = spool.memory_file()
        try:
            ended = process.run(argv, asked.fd, self._deadline, output, _ANSWER_MAX)
            answer = spool.from_file(output, in_memory=True).head.decode("utf-8", "surrogateescape")
            is_read = posix.lseek(asked.fd, 0, 1) == asked.size
        except Deferred as error:
            raise Deferred(f"table {name}: {error.text}", error.code) from None
        finally:
            asked.close()
            posix.close(output)
        self._log.child(argv, ended)
        failure = _failure(ended.said)
        if failure or ended.status not in (_FOUND, _NOT_FOUND):
            said = report.quote(failure or ended.said)
            raise Deferred(f"table {name}: postmap {report.ending(ended.status)}{said}")
        if not is_read or answer[-1:] != ("\n" if ended.status == _FOUND else ""):
            raise Deferred(f"table {name}: postmap {report.ending(ended.status)}, but did not answer as it should")
        if ended.said:
            self._log.warning(f"table {name}{report.quote(ended.said)}")
        return _pairs(name, answer, set(wanted))


def _pairs(name: str, answer: str, wanted: set[str]) -> dict[str, str]:
    """Read postmap's lines of key and result. A line break in a result would be somebody else's entry."""
    found: dict[str, str] = {}
    for line in filter(None, answer.split("\n")):
        key, tab, result = line.partition("\t")
        if not tab or key in found or key not in wanted:
            raise SettingsError(f"table {name}: there is a line break in a result, before {report.printable(line)!r}")
        found[key] = result
    return found


def _failure(said: bytes) -> bytes:
    """Return what postmap said from the line on that says it gave up, before which a database may have said much."""
    for line in said.splitlines(keepends=True):
        own = line.partition(b'"')[0]  # behind a quote may stand an address
        if b": fatal: " in own or b": panic: " in own:
            return said[said.find(line) :]
    return b""


def keys(address: "Address") -> list[str]:
    """Return what Postfix's own tables are asked: user+extension@domain, user@domain, @domain, @.domain ... @. .

    Not a user whose name could be read as more than one setting, where a table makes its result of the key.
    """
    found = [key if "@" in key else "@" + key for key in address.keys if key != "<>"]
    return [key for key in found if not set(key) & _AMBIGUOUS]


def _pattern_keys(address: "Address") -> list[str]:
    """Return the keys for a table that is a list of patterns: as above, and as patterns are written."""
    return list(dict.fromkeys([*keys(address), *address.keys]))


def _parsed(name: str, key: str, result: str) -> dict[str, object]:
    """Read `key=value key=value`. Raises SettingsError, which names the table and its key."""
    from pf_spamfilt import policy_keys

    try:
        return policy_keys.from_result(result)
    except ValueError as error:
        raise SettingsError(f"table {name}, key {key}: {error}") from None
