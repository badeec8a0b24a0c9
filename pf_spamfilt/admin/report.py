"""report: what the filter did, added up from its lines in the log. It reads, and changes nothing but its own files."""

from collections.abc import Sequence

import click

from pf_spamfilt.admin import output
from pf_spamfilt.admin.moments import ALLOWED, Moment, MomentType
from pf_spamfilt.admin.reports import prometheus, source, text, writing
from pf_spamfilt.admin.reports.figures import figures
from pf_spamfilt.admin.reports.lines import Foreign, Reader, Unreadable
from pf_spamfilt.admin.reports.source import Source
from pf_spamfilt.admin.reports.tally import Tally
from pf_spamfilt.admin.site import Site
from pf_spamfilt.exits import Ended
from pf_spamfilt.report import printable

EPILOG = f"""WHEN is {ALLOWED}.

\b
Examples:
  pf-spamfilt-admin report
  pf-spamfilt-admin report --since 1d --json
  pf-spamfilt-admin report --html week.html /var/log/mail.log.1 /var/log/mail.log
  zcat -f /var/log/mail.log* | pf-spamfilt-admin report --since 2026-11-01 -
  pf-spamfilt-admin report --prometheus /srv/node/pf-spamfilt.prom /var/log/mail.log
"""
# node_exporter runs as an account of its own.
_READABLE = 0o644
_SHOWN = 120
_KNOWN = '"Nov 23 03:49:12 HOST pf-spamfilt[PID]:", or with a time as 2026-11-23T03:49:12+01:00'


@click.command("report", epilog=EPILOG)
@click.argument("files", metavar="[FILE]...", nargs=-1, type=click.Path(allow_dash=True, readable=False))
@click.option("--journal", is_flag=True, help="Read the systemd journal.")
@click.option("--since", metavar="WHEN", type=MomentType(), help="Only what was logged then or later.")
@click.option("--until", metavar="WHEN", type=MomentType(), help="Only what was logged before.")
@click.option("--top", metavar="N", default=10, type=click.IntRange(1), help="Rows of each top list (default: 10).")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of tables.")
@click.option("--html", metavar="FILE", help="Write a page with charts, which needs no network and no scripts.")
@click.option("--prometheus", "metrics", metavar="FILE", help="Write metrics for node_exporter's textfile collector.")
@click.pass_obj
def command(
    site: Site,
    files: Sequence[str],
    journal: bool,
    since: Moment | None,
    until: Moment | None,
    top: int,
    as_json: bool,
    html: str | None,
    metrics: str | None,
) -> None:
    """Add up what the filter logged.

    Messages, verdicts, what became of them, scores, seconds, tests, addresses, causes of deferrals, days.

    The log is in FILEs, plain or gzip, "-" for standard input. Without any it is the file in [log] of the settings, if
    there is one, else /var/log/mail.log, else the journal. Tables are printed, unless --html or --prometheus writes a
    file instead.
    """
    if files and journal:
        raise click.UsageError("--journal and FILE exclude each other")
    if metrics is not None and any(moment and moment.moves for moment in (since, until)):
        raise click.UsageError("--prometheus counts from a fixed beginning: give a date, not an age, or neither")
    span = Span(since and since.seconds, until and until.seconds)
    count = Count(span)
    sources = _sources(site, files, journal, span)
    count.read(sources)
    found = {
        "sources": [source.name for source in sources],
        "lines": {"read": count.lines, "unreadable": count.unreadable},
        **figures(count.tally, top),
    }
    if as_json:
        output.as_json(found)
    if html is not None:
        from pf_spamfilt.admin.reports.html import page  # with Jinja2, which the rest does without

        writing.replace(html, page(found))
    if metrics is not None:
        writing.replace(metrics, prometheus.text(count.tally, count.unreadable), _READABLE)
    if not as_json and html is None and metrics is None:
        text.show(found)


class Span:
    """From when until before when, in seconds since 1970; None: without an end."""

    def __init__(self, since: float | None, until: float | None) -> None:
        self.since = since
        self.until = until

    def __contains__(self, moment: int) -> bool:
        return (self.since is None or moment >= self.since) and (self.until is None or moment < self.until)


def _sources(site: Site, files: Sequence[str], journal: bool, span: Span) -> list[Source]:
    if files:
        return [source.of_file(path) for path in files]
    if journal:
        return [source.of_journal(span.since, span.until)]
    found = source.default(_own_file(site), span.since, span.until)
    click.echo(f"reading {found.name}", err=True)
    return [found]


def _own_file(site: Site) -> str:
    """Return the filter's log file; empty if it has none, or settings that are wrong: their effect is in the log."""
    try:
        return site.settings().log.file
    except Ended:
        return ""


class Count:
    """The lines of all logs, added up; those that are cut or broken are told, and not guessed at."""

    def __init__(self, span: Span) -> None:
        self.tally = Tally()
        self.lines = self.unreadable = 0
        self._span = span
        self._ours = self._foreign = 0
        self._first_unreadable = ""

    def read(self, sources: Sequence[Source]) -> None:
        """Read the logs to their end, and say on stderr what was odd."""
        sizes = [source.size for source in sources]
        with output.Progress("reading", None if None in sizes else sum(size or 0 for size in sizes)) as progress:
            for source in sources:
                reader = Reader(source.latest)
                for block in source.blocks():
                    self.lines += block.number
                    for line in block.lines:
                        self._add(reader, line, source.name)
                    progress.advance(block.size)
        self._tell(sources)

    def _add(self, reader: Reader, text: bytes, name: str) -> None:
        try:
            line = reader.read(text)
        except Unreadable:
            self.unreadable += 1
            self._first_unreadable = self._first_unreadable or f"{name}: {printable(text, _SHOWN)}"
        except Foreign:
            self._foreign += 1
        else:
            self._ours += 1
            if line and line.moment in self._span:
                self.tally.add(line)

    def _tell(self, sources: Sequence[Source]) -> None:
        if self.unreadable:
            found = output.counted(self.unreadable, "line")
            click.echo(f"{found} cut or broken, and not counted; the first: {self._first_unreadable}", err=True)
        if not self._ours and not self.unreadable:
            names = ", ".join(source.name for source in sources)
            click.echo(f"no line of the filter in {names}: see LOGGING in pf-spamfilt(1)", err=True)
        if self._foreign and not self._ours:
            found = output.counted(self._foreign, "line")
            click.echo(f"{found} with pf-spamfilt, but not after {_KNOWN}", err=True)
