"""What spamc said, and whether its answer can be trusted with the message.

The scanner is not trusted: its answer is used only if every header field of the original that SpamAssassin leaves
alone, and all that follows the header, is in it, byte for byte. Anything else raises ScanFailed.
"""

from pf_spamfilt import headers
from pf_spamfilt.exits import ScanFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pf_spamfilt.spool import Message

HAM, SPAM = 0, 1
# What may be assigned in X-Spam-Status.
_KEYS = ("score", "hits", "required", "tests", "autolearn", "autolearn_force", "version")
# SpamAssassin's rewrite_header may change these three.
_REWRITABLE = (b"subject", b"from", b"to")


class Verdict:
    """Spam or not, and why: score and required score (str as printed, "" if not told), names of tests (str)."""

    __slots__ = ("required", "score", "spam", "tests")

    def __init__(self, spam: bool, score: str = "", required: str = "", tests: str = "") -> None:
        self.spam = spam
        self.score = score
        self.required = required
        self.tests = tests

    @property
    def number(self) -> float | None:
        """The score as a number, if it is known."""
        try:
            number = float(self.score)
        except ValueError:
            return None
        return number if abs(number) < float("inf") else None


class Scan:
    """One scan, or why there was none: for which user (bytes), SpamAssassin's copy and verdict, or the reason (str).

    `failed`: the enhanced code, if there should have been one. `partial`: only the head of the message was scanned.
    """

    __slots__ = ("answer", "failed", "partial", "unscanned", "user", "verdict")

    def __init__(self, user: bytes = b"", unscanned: str = "", failed: str = "") -> None:
        self.user = user
        self.unscanned = unscanned
        self.failed = failed
        self.partial = False
        self.answer: Message | None = None
        self.verdict: Verdict | None = None

    def equals(self, other: "Scan") -> bool:
        """Tell whether the other scan came to the same, byte for byte."""
        if self.answer is None or other.answer is None:
            return self.answer is other.answer and self.unscanned == other.unscanned
        return self.answer.head == other.answer.head


def figure(number: float) -> str:
    """Return a score as SpamAssassin prints it, with one decimal; with more where that would change it."""
    short = f"{number:.1f}"
    return short if float(short) == number else f"{number:g}"


def judge(status: int, answer: bytes, original: bytes) -> Verdict:
    """Return the verdict of `spamc -E`, which exited with `status` HAM or SPAM and wrote `answer`.

    `original` is what it was given: a message without X-Spam-* fields, so that any in the answer are SpamAssassin's.
    """
    if not answer:
        raise ScanFailed("spamc returned nothing")
    fields, rest = headers.split(answer)
    if not fields:
        raise ScanFailed("spamc returned something without a header")
    if not (_is_same_message(fields, rest, original) or (status == SPAM and _is_wrapped(rest, original))):
        raise ScanFailed("spamc did not return the whole message")
    if not any(headers.is_spam_field(field) for field in fields):
        # SpamAssassin always adds X-Spam-Checker-Version. Without it spamc gave the message back, with status 0, as it
        # does when the answer is larger than it allows.
        raise ScanFailed("spamc returned the message without a scan")
    return _read_status(status == SPAM, fields)


def _is_same_message(fields: list[bytes], rest: bytes, original: bytes) -> bool:
    """Tell whether fields and rest are the original's, with fields added, and at most those changed that may be."""
    original_fields, original_rest = headers.split(original)
    if _without_separator(rest) != _without_separator(original_rest):
        return False
    remaining = (field.replace(b"\r\n", b"\n") for field in fields)
    return all(
        field.replace(b"\r\n", b"\n") in remaining
        for field in original_fields
        if not _is_changeable(headers.name_of(field))
    )


def _is_changeable(name: bytes) -> bool:
    """Tell whether SpamAssassin may change a field; a name with a blank is an mbox "From " line, which it may drop."""
    return name in _REWRITABLE or b" " in name


def _without_separator(rest: bytes) -> bytes:
    """Take the empty line off: SpamAssassin gives it, and the header, the line ends of the message's first line."""
    return rest[2:] if rest.startswith(b"\r\n") else rest.removeprefix(b"\n")


def _is_wrapped(rest: bytes, original: bytes) -> bool:
    """Tell whether what follows a header is a report that ends with the original attached (report_safe 1 and 2).

    The part is found by the boundary in the last line, which SpamAssassin makes sure is not in the original.
    """
    line_end = b"\r\n" if rest.endswith(b"\r\n") else b"\n"
    parts, _, last = rest.rpartition(line_end + b"--")
    delimiter = line_end + b"--" + last.rstrip().removesuffix(b"--") + line_end
    header, _, attached = parts.rpartition(delimiter)[2].partition(line_end * 2)
    return b"x-spam-type=original" in header and _is_same_message(*headers.split(attached), original)


def told(status: bytes) -> dict[str, str]:
    """Return what the field X-Spam-Status assigns: score or hits, required, tests and more, as printed."""
    return _assignments(_words(headers.value_of(status).decode("utf-8", "replace")))


def _read_status(spam: bool, fields: list[bytes]) -> Verdict:
    """Read X-Spam-Status, as SpamAssassin writes it by default; the user's preferences may have removed it."""
    for field in fields:
        if headers.name_of(field) == b"x-spam-status":
            words = _words(headers.value_of(field).decode("utf-8", "replace"))
            if words and words[0].rstrip(",") == ("No" if spam else "Yes"):
                raise ScanFailed("spamc's exit status and its X-Spam-Status contradict each other")
            found = _assignments(words)
            score = found.get("score") or found.get("hits", "")
            return Verdict(spam, score, found.get("required", ""), found.get("tests", ""))
    return Verdict(spam)


def _words(text: str) -> list[str]:
    """Split at blanks and after commas, but not within a number that is written with one."""
    words: list[str] = []
    for piece in text.replace(",", ", ").split():
        if words and words[-1][-2:-1].isdigit() and words[-1].endswith(",") and piece[:1].isdigit():
            words[-1] += piece
        else:
            words.append(piece)
    return words


def _assignments(words: list[str]) -> dict[str, str]:
    """Collect `key=value` words, of which the first counts: what a sender wrote may stand behind them.

    The list of tests goes on where it ends in a comma.
    """
    found: dict[str, str] = {}
    key = ""
    for word in words:
        name, equals, value = word.partition("=")
        if equals and name in _KEYS:
            key = "" if name in found else name
            found.setdefault(name, value)
        elif key == "tests" and found[key].endswith(","):
            found[key] += word
    return {key: value.rstrip(",") for key, value in found.items()}
