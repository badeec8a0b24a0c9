"""spamd: whether each server answers, takes GTUBE for spam, and marks it as the settings need it.

No other message is tried, for SpamAssassin may learn from it (bayes_auto_learn): never from GTUBE. It is asked by the
filter's own code. To be run as the filter's account, whose preferences count: steps.py.
"""

import time
from collections.abc import Iterable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import NamedTuple

from pf_spamfilt import headers, scan, spool
from pf_spamfilt.admin.checks.findings import ERROR, WARNING, Finding, error, ok, warning
from pf_spamfilt.describe import Notes
from pf_spamfilt.exits import ScanFailed
from pf_spamfilt.settings import Spamc
from pf_spamfilt.verdict import Scan

# How long one scan may take here, in seconds.
PATIENCE = 60.0
LOCAL_CF = "in SpamAssassin's local.cf, and restart spamd"
_MESSAGE = """\
From: Somebody <pf-spamfilt-gtube@example.com>
To: postmaster@example.com
Subject: Test of pf-spamfilt-admin check
Date: {date}
Message-ID: <pf-spamfilt-gtube@example.com>
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii

This message was written by pf-spamfilt-admin check, and is delivered to
nobody. It asks SpamAssassin what it thinks of it.

{gtube}
"""
_HERE = ("127.", "localhost", "::1", "[::1]", "/")
_DEFAULT_CHILDREN = 5
# The parts are joined here, so that no file of ours is spam itself.
_GTUBE = "XJS*C4JDBQADN1.NSBN3" + "*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


class Needs(NamedTuple):
    """What the settings do that SpamAssassin's markup could hinder."""

    has_numbers: bool = False
    tag2_differs: bool = False
    has_subject_tag: bool = False


def look(spamc: Spamc, needs: Needs) -> Iterator[Finding]:
    """Yield what is found about each server; that one of several is down is a warning."""
    servers = [(server, list(_about(server, spamc, needs))) for server in spamc.servers or [""]]
    lives = any(each.id != "spamd" or each.severity != ERROR for _, found in servers for each in found)
    for _, found in servers:
        for each in found:
            yield each._replace(severity=WARNING) if each.id == "spamd" and each.severity == ERROR and lives else each


def _about(server: str, spamc: Spamc, needs: Needs) -> Iterator[Finding]:
    name = f"spamd {server}" if server else "spamd"
    original = _MESSAGE.format(date=formatdate(), gtube=_GTUBE).encode()
    try:
        spam = _ask(original, server, spamc)
    except ScanFailed as failure:
        refusal = ", or let this host in (spamd --allowed-ips)" if "lost the connection" in failure.text else ""
        yield error("spamd", f"{name}: {failure.text}", f"Start spamd there{refusal}, or mend [spamc] servers")
        return
    yield ok("spamd", f"{name} answers: {_version(spam)}")
    yield from about_spam(name, spam, original, needs)


def _ask(message: bytes, server: str, spamc: Spamc) -> Scan:
    """Have a message scanned by one server as the filter does. Raises ScanFailed."""
    one = Spamc()
    vars(one).update(vars(spamc), servers=[server] if server else [])
    return scan.scan(spool.from_bytes(message), b"", one, time.monotonic() + PATIENCE, Notes())


def _fields(found: Scan) -> list[bytes]:
    return headers.split(found.answer.head)[0] if found.answer else []


def _value(fields: Iterable[bytes], name: bytes) -> str | None:
    values = [headers.value_of(each).decode("utf-8", "replace") for each in fields if headers.name_of(each) == name]
    return values[0] if values else None


def _version(found: Scan) -> str:
    return _value(_fields(found), b"x-spam-checker-version") or "its version is not told"


def about_spam(name: str, found: Scan, original: bytes, needs: Needs) -> Iterator[Finding]:
    """Yield whether GTUBE is spam, and whether how that is marked suits the settings."""
    verdict = found.verdict
    if verdict is None or not verdict.spam:
        text = f"{name}: the test message GTUBE is not spam"
        yield error("gtube", text, "See that spamd has its rules: run sa-update, spamassassin --lint")
        return
    yield ok("gtube", f"{name}: GTUBE is spam: score {verdict.score or 'not told'}")
    fields = _fields(found)
    yield from _about_score(name, verdict.number is not None, needs)
    if _value(fields, b"x-spam-flag") != "YES":
        text = f"{name}: SpamAssassin's preferences have removed X-Spam-Flag: who sorts mail by it finds no spam"
        yield warning("spam-flag", text, f"Write add_header spam Flag _YESNOCAPS_ {LOCAL_CF}")
    yield from _about_wrapping(name, _value(fields, b"content-type") or "", needs)
    yield from _about_subject(name, fields, headers.split(original)[0], needs)


def _about_score(name: str, is_told: bool, needs: Needs) -> Iterator[Finding]:
    if is_told:
        yield ok("spam-status", f"{name}: the score is told (X-Spam-Status)")
        return
    text = f"{name}: SpamAssassin's preferences have removed X-Spam-Status, or its score: "
    remedy = f'Write add_header all Status "_YESNO_, score=_SCORE_ required=_REQD_ tests=_TESTS_" {LOCAL_CF}'
    if needs.has_numbers:
        yield error("spam-status", f"{text}levels that are numbers do not hold, no mail reaches kill_level", remedy)
    else:
        yield warning("spam-status", f"{text}neither the log nor users see it", remedy)


def _about_wrapping(name: str, kind: str, needs: Needs) -> Iterator[Finding]:
    wrapped = kind.startswith("multipart/")
    if wrapped and needs.tag2_differs:
        text = (
            f"{name}: report_safe puts spam into an attachment, but tag2_level decides what is marked:"
            " marked mail comes wrapped where SpamAssassin takes it for spam, too, and else not"
        )
        yield warning("report-safe", text, f"Write report_safe 0 {LOCAL_CF}")
    else:
        yield ok(
            "report-safe", f"{name}: spam is {'an attachment to a report' if wrapped else 'not wrapped'} (report_safe)"
        )


def _about_subject(name: str, fields: list[bytes], original: list[bytes], needs: Needs) -> Iterator[Finding]:
    after = _value(fields, b"subject")
    if after == _value(original, b"subject"):
        yield ok("subject", f"{name}: SpamAssassin leaves the subject alone")
    elif needs.has_subject_tag:
        text = f'{name}: rewrite_header and subject_tag both tag the subject: "{after}"'
        yield warning(
            "subject", text, f"Take rewrite_header Subject out {LOCAL_CF}, or subject_tag out of the settings"
        )
    else:
        yield ok("subject", f'{name}: SpamAssassin tags the subject: "{after}"')


def is_here(servers: list[str]) -> bool:
    """Tell whether all servers are on this host."""
    return all(server.startswith(_HERE) for server in servers)


def children() -> int:
    """Return how many messages the spamd of this host scans at once; 0 if that cannot be known, as with several."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = file.read_text("utf-8", "replace").replace("\0", " ").split()
        except OSError:  # it has ended
            continue
        if words and "perl" in words[0] and any(word.endswith("/spamd") for word in words[:4]):
            found.append(children_option(words))
    return found[0] if len(found) == 1 else 0


def children_option(words: list[str]) -> int:
    """Return what spamd's command line says of --max-children."""
    for place, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in ("--max-children", "-m"):
            value = value if equals else "".join(words[place + 1 : place + 2])
            return int(value) if value.isdigit() else 0
    return _DEFAULT_CHILDREN
