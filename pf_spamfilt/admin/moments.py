"""Moments on a command line: a date, a date and a time, or how long ago."""

import datetime
import re
import time
from typing import NamedTuple

import click

_AGE = re.compile(r"(\d+(?:\.\d+)?)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_DATE = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d)?)?")
ALLOWED = 'a date (2026-11-23), a date and a time ("2026-11-23 04:00"), or an age (90m, 12h, 1d, 2w)'


class Moment(NamedTuple):
    """Seconds since 1970; `moves`: they are others at the next call, as it was said how long ago."""

    seconds: float
    moves: bool


class MomentType(click.ParamType):  # type: ignore[type-arg]
    """A moment in local time."""

    name = "moment"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Moment:
        """Return the moment; usage is wrong if the text is none."""
        text = str(value)
        moment = _read(text)
        if moment is None:
            self.fail(f"{text!r} must be {ALLOWED}", param, ctx)
        return moment


def _read(text: str) -> Moment | None:
    try:
        if age := _AGE.fullmatch(text):
            return Moment(time.time() - float(age[1]) * _SECONDS[age[2]], True)
        return Moment(datetime.datetime.fromisoformat(text).timestamp(), False) if _DATE.fullmatch(text) else None
    except (ValueError, OverflowError):  # no such day, or too long ago for this calendar
        return None
