"""The filter's own lines in a log: which they are, when they were written, what they say.

Known beginnings are those of syslog files (`Nov 23 03:49:12 host`, RFC 3339), of journalctl -o short-iso, and of the
filter's own log file. A value in angle brackets may hold anything but these: report.py sees to that, and so an address
can look like another key to no one. A line that is cut before its keys are complete is not guessed at: Unreadable.
"""

import datetime
import re
from typing import NamedTuple

from pf_spamfilt import report

DEFERRED, REJECTED = b"deferred", b"rejected"
ACTIONS = *(action.encode() for action in report.ACTIONS), REJECTED, DEFERRED
# What every line of ours holds, and few others do.
MARK = b"pf-spamfilt["
_ISO = rb"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d):(\d\d)(?:[.,]\d+)?(Z|[+-]\d\d:?\d\d|)"
_CLASSIC = rb"([A-Z][a-z]{2} [ \d]\d \d\d:\d\d):(\d\d)"
_STAMP = rb"(?:<\d{1,3}>)?(?:" + _ISO + rb"|" + _CLASSIC + rb")"
_IDENT = rb" (?:[^ ]*[^ :] )?pf-spamfilt\[(\d+)\]: "
_KEYS = (
    rb"(\w+): from=<([^>]*)>, to=((?:<[^>]*>(?:,<[^>]*>)*(?:,\(\+\d{1,9} more\))?)?), size=\d+, user=[^,]*,"
    rb" score=([^ ]*), required=[^ ]*, verdict=(spam|ham|unscanned),(?: list=(welcome|block|both),)?"
    rb" action=(" + b"|".join(ACTIONS) + rb"),"
    rb"(?: quarantine=(<[^>]*>)[^,]*,)?"
    rb" scan=(\d{1,9}\.\d\d), total=(\d{1,9}\.\d\d), (?:tests=([^ \r]*)|reason=(.*))"
)
_LINE = re.compile(_STAMP + _IDENT + _KEYS)
_OURS = re.compile(_STAMP + _IDENT)
_OF_A_MESSAGE = re.compile(_STAMP + _IDENT + rb"\w+: from=")
_MONTHS = (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec")
# What report.py puts where it cuts a line.
_CUT = b"..."
_DAY = datetime.timedelta(days=1)
# What a clock can show. Outside of these a time zone may lead out of the calendar.
_YEARS = (1970, 9998)
# February 29 comes again after eight years at the latest.
_LEAP = 8


class Unreadable(Exception):
    """A line tells of a message, but not all that it should."""


class Foreign(Exception):
    """A line names the filter, but its beginning is none that is known."""


class Line(NamedTuple):
    """What a line says; `moment` in seconds since 1970, `day` as 2026-11-23 in local time, the rest as it stands."""

    moment: int
    day: str
    queue_id: bytes
    process: bytes
    sender: bytes
    to: bytes
    score: bytes
    verdict: bytes
    listed: bytes | None
    action: bytes
    kept: bytes | None
    scan: bytes
    total: bytes
    tests: bytes | None
    reason: bytes | None

    @property
    def recipients(self) -> list[bytes]:
        """Those who are named."""
        named = self.to.rpartition(b",(+")[0] if self.to.endswith(b")") else self.to
        return named[1:-1].split(b">,<") if named else []

    @property
    def recipient_count(self) -> int:
        """How many there are, named or not."""
        more = self.to.rpartition(b",(+")[2].removesuffix(b" more)") if self.to.endswith(b")") else b"0"
        return self.to.count(b"<") + int(more)

    @property
    def test_names(self) -> list[bytes]:
        """SpamAssassin's tests that hit; where the line was cut, without the last."""
        if not self.tests or self.tests == b"none":
            return []
        names = self.tests.split(b",")
        return names[:-1] if self.tests.endswith(_CUT) else names


class Reader:
    """Reads the lines of one log; `latest` is when it was last written, in seconds since 1970.

    Times of day are local ones, unless the stamp has an offset. A stamp without a year is of the twelve months before
    `latest`.
    """

    def __init__(self, latest: float) -> None:
        self._latest = datetime.datetime.fromtimestamp(latest) + _DAY  # another host's clock may be ahead
        self._minute: tuple[bytes | None, ...] = ()
        self._start = 0
        self._day = ""

    def read(self, text: bytes) -> Line | None:
        """Return what a line says that holds MARK; None if it is ours, but not of a message.

        Raises Unreadable, Foreign.
        """
        found = _LINE.match(text)
        if found is None:
            if _OF_A_MESSAGE.match(text):
                raise Unreadable
            if not _OURS.match(text):
                raise Foreign
            return None
        iso, iso_second, offset, classic, second, process, queue_id, *keys = found.groups()
        if (iso, offset, classic) != self._minute:  # lines of one minute stand together
            self._set_minute(iso, offset, classic)
        moment = self._start + int(iso_second or second)
        return Line(moment, self._day, queue_id, process, *keys)

    def _set_minute(self, iso: bytes | None, offset: bytes | None, classic: bytes | None) -> None:
        try:
            if iso is not None:
                minute = datetime.datetime.fromisoformat((iso + (offset or b"")).decode())
            else:
                minute = self._with_year(classic or b"")
            if not _YEARS[0] <= minute.year <= _YEARS[1]:
                raise Unreadable
            self._start = int(minute.timestamp())
            self._day = datetime.date.fromtimestamp(self._start).isoformat()
        except (ValueError, OverflowError, OSError):
            raise Unreadable from None
        self._minute = iso, offset, classic

    def _with_year(self, stamp: bytes) -> datetime.datetime:
        """Return the last minute of this stamp before the log was last written."""
        month, day = _MONTHS.index(stamp[:3]) + 1, int(stamp[4:6])
        hour, minute = int(stamp[7:9]), int(stamp[10:12])
        for year in range(self._latest.year, self._latest.year - _LEAP - 1, -1):
            try:
                found = datetime.datetime(year, month, day, hour, minute)
            except ValueError:
                continue
            if found <= self._latest:
                return found
        raise ValueError
