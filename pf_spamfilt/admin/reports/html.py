"""The figures of a report as one page with charts.

It holds all that it needs and loads nothing; it has no script, and says so to the browser. What came out of the log is
only ever text in it.
"""

import datetime
import itertools
from typing import Any

import jinja2

from pf_spamfilt import __version__
from pf_spamfilt.admin.output import counted
from pf_spamfilt.admin.reports.text import number, score_range, share

TEMPLATE = "page.html.jinja"
# More lines across a chart than these only hinder.
_TICKS = 5


def page(found: dict[str, Any]) -> str:
    """Return the page, as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pf_spamfilt.admin.reports", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "score_range": score_range}
    environment.globals |= {"counted": counted, "share": share, "ticks": ticks, "labelled": labelled}
    made = datetime.datetime.now().astimezone().isoformat(" ", "minutes")
    return environment.get_template(TEMPLATE).render(found, found=found, made=made, version=__version__)


def ticks(most: int) -> range:
    """Return round numbers from 0 to one that is not below `most`, at equal distances."""
    steps = (factor * 10**power for power in itertools.count() for factor in (1, 2, 5))
    step = next(step for step in steps if step * _TICKS >= most)
    end = -(-max(most, 1) // step) * step
    return range(0, end + 1, step)


def labelled(count: int, room: int) -> range:
    """Return which of so many columns get a label, at most `room` of them."""
    return range(0, count, -(-count // room))
