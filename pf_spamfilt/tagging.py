"""The header edits that a verdict and a policy ask for. Pure: fields in, fields out; see headers.py.

Where the policy judges as SpamAssassin did, its copy is delivered, with at most the subject tagged and the score taken
out. Where it judges otherwise, the original is, under SpamAssassin's fields, corrected: a message that says one thing.
"""

from pf_spamfilt import headers
from pf_spamfilt.report import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pf_spamfilt.policy import Treatment

_SCORE_FIELDS = (b"x-spam-status", b"x-spam-level")
_FIGURE = b"0123456789.-?"
_FIGURE_HERE = "0FIGURE0"
_LINE = 76
_WORD_END = b"?="


def fields(base: list[bytes], answer: list[bytes], treatment: "Treatment") -> list[bytes]:
    """Return the header fields of a copy, made from those of `base`: SpamAssassin's copy where that is agreed to.

    Otherwise `base` is the original; `answer` are the fields of SpamAssassin's copy, if there is one.
    """
    if not treatment.is_agreed:
        return on_top(base, _marks(answer, treatment, headers.line_end_of(base)))
    return base if treatment.status else [each for each in base if headers.name_of(each) not in _SCORE_FIELDS]


def on_top(base: list[bytes], marks: list[bytes]) -> list[bytes]:
    """Put fields before the others, but after mbox lines: sendmail(1) takes those for no fields only at the top."""
    place = headers.mbox_lines(base)
    above = base[:place]
    if above and not above[-1].endswith(b"\n"):  # the message is this one line
        above[-1] += b"\n"
    return [*above, *marks, *base[place:]]


def _marks(answer: list[bytes], treatment: "Treatment", end: bytes) -> list[bytes]:
    """Return the X-Spam-* fields of a copy that is the original: SpamAssassin's where they say what the policy does."""
    scan = treatment.scan
    marks = [mark for field in answer if (mark := _mark(field, treatment, end))]
    names = [headers.name_of(mark) for mark in marks]
    if treatment.spam and b"x-spam-flag" not in names:
        marks.insert(0, b"X-Spam-Flag: YES" + end)
    if treatment.spam and b"x-spam-report" not in names:
        marks.append(_folded(["X-Spam-Report:", *_report(treatment)], end))
    if scan.failed:
        marks.insert(0, b"X-Spam-Unscanned: " + _ascii(printable(scan.unscanned, 120)) + end)
    return marks


def _mark(field: bytes, treatment: "Treatment", end: bytes) -> bytes:
    """Return what becomes of a field of SpamAssassin's copy; empty: it is not for this one.

    Where it judged otherwise, a field that is not known here may speak of its verdict.
    """
    name, verdict = headers.name_of(field), treatment.scan.verdict
    if not headers.is_spam_field(field) or name.startswith(b"x-spam-prev-"):
        return b""
    if name in _SCORE_FIELDS and not treatment.status:
        return b""
    if verdict and verdict.spam == treatment.spam:
        return field
    if name == b"x-spam-status":
        return _folded(["X-Spam-Status:", *_status(treatment)], end)
    is_figure = name == b"x-spam-level" and len(set(headers.value_of(field))) < 2
    return field if is_figure or name == b"x-spam-checker-version" else b""


def _status(treatment: "Treatment") -> list[str]:
    """Return the words of X-Spam-Status as SpamAssassin writes it by default, whatever the user's preferences are."""
    verdict = treatment.scan.verdict
    known = verdict is not None and verdict.number is not None
    pairs = (("score", verdict.score), ("required", treatment.required)) if verdict and known else ()
    figures = [f" {key}={value}" for key, value in pairs if value]
    tests = verdict.tests.replace(",", ", ").split() if verdict else []
    words = [*figures, *([f" tests={tests[0]}", *tests[1:]] if tests else [])]
    return [f" {'Yes' if treatment.spam else 'No'}{',' if words else ''}", *words]


def _report(treatment: "Treatment") -> list[str]:
    """Return the words of X-Spam-Report for what SpamAssassin did not report as spam."""
    words = [" the sender is on a block list here;"] if treatment.is_blocked else []
    verdict = treatment.scan.verdict
    if verdict is None:
        return [*words, " not scanned"]
    if verdict.score:
        words += [f" score {verdict.score},", f" {treatment.required} required;"]
    return [*words, " tests:", *(f" {test}" for test in (verdict.tests.replace(",", ", ") or "none").split())]


def _folded(words: list[str], end: bytes) -> bytes:
    """Return a header field of these words, joined as they are, folded where it is too long (RFC 5322, 2.2.3)."""
    lines = [""]
    for word in words:
        if lines[-1] and len(lines[-1]) + len(word) > _LINE:
            lines.append("\t" + word.lstrip())
        else:
            lines[-1] += word
    return end.join(_ascii(line) for line in lines) + end


def _ascii(text: str) -> bytes:
    return text.encode("ascii", "replace")


def tagged(base: list[bytes], treatment: "Treatment") -> list[bytes]:
    """Return the fields with the tag before the text of each Subject, which keeps its bytes; on top if there is none.

    A subject that begins with the tag, with whatever figures, is left alone.
    """
    verdict = treatment.scan.verdict
    score = verdict.score if verdict else ""
    word = encoded(treatment.tag.replace("_SCORE_", score or "?").replace("_REQD_", treatment.required or "?"))
    if not any(headers.name_of(field) == b"subject" for field in base):
        return on_top(base, [b"Subject: " + word + headers.line_end_of(base)])
    return [_with_tag(each, word, treatment.tag) if headers.name_of(each) == b"subject" else each for each in base]


def _with_tag(field: bytes, word: bytes, tag: str) -> bytes:
    name, colon, value = field.partition(b":")
    text = value.lstrip()
    if _begins_with(text, tag):
        return field
    if not text:
        return name + colon + b" " + word + value
    if not tag.isascii() and text.startswith(b"=?"):  # the blank between two encoded words is not shown
        word = word.removesuffix(_WORD_END) + b"=20" + _WORD_END
    return name + colon + value[: len(value) - len(text)] + word + b" " + text


def _begins_with(text: bytes, tag: str) -> bool:
    """Tell whether a subject begins with the tag, any figure standing for _SCORE_ and _REQD_."""
    template = encoded(tag.replace("_REQD_", _FIGURE_HERE).replace("_SCORE_", _FIGURE_HERE))
    first, *rest = template.removesuffix(_WORD_END).split(_FIGURE_HERE.encode())
    if not text.startswith(first):
        return False
    text = text[len(first) :]
    for literal in rest:
        place = text.find(literal, 1)
        if place < 0 or text[:place].strip(_FIGURE):
            return False
        text = text[place + len(literal) :]
    return True


def encoded(text: str) -> bytes:
    """Return a tag as it may stand in a header: what is not ASCII as one RFC 2047 word."""
    if text.isascii():
        return text.encode()
    plain = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ!*+-/.[]"
    quoted = b"".join(bytes((byte,)) if byte in plain else b"=%02X" % byte for byte in text.encode())
    return b"=?utf-8?q?" + quoted + _WORD_END
