"""One message from stdin to exit status: the sequence, and nothing else.

read -> decide what to scan -> scan -> judge -> tag -> dispose -> report. What hinders it is raised as an exits.Ended
and becomes a status in `run`, the one place for that.
"""

import posix
import sys
import time

from pf_spamfilt import examine, headers, policy, process, report, settings, spool, trace, wishes
from pf_spamfilt.dispose import Disposal
from pf_spamfilt.envelope import Envelope
from pf_spamfilt.exits import OK, UNAVAILABLE, USAGE, Deferred, Ended, Rejected, UsageError
from pf_spamfilt.log import Log
from pf_spamfilt.verdict import Scan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pf_spamfilt.reinject import Reinjection

# The share of the deadline, and the most of it in seconds, that a scan must leave for sendmail.
RESERVE = 0.25
RESERVE_MAX = 30


def run(form: "Reinjection", config: str = "") -> int:
    """Filter the message on stdin in one form of the command, tell what became of it, return the exit status.

    The settings are those in `config`, or of the Postfix instance that started us.
    """
    started = time.monotonic()
    record = report.Record()
    log = Log(settings.Settings({}).log)
    try:
        record.sender, *record.recipients = form.envelope()
        chosen = settings.load(config or settings.path(), required=bool(config))
        log = Log(chosen.log)
        if chosen.note:
            log.warning(chosen.note)
        refused = Filter(form, chosen, log, record, started).deliver()
        _log_outcomes(record, log, time.monotonic() - started)
        if refused or form.tells_success:
            tell(f"5.7.1 {refused}" if refused else report.summary(record), form.out)
        return UNAVAILABLE if refused else OK
    except Exception as error:
        return _failed(error, form.out, record, log, time.monotonic() - started)


def _log_outcomes(record: report.Record, log: Log, seconds: float) -> None:
    for outcome, line in report.lines(record, seconds):
        log.message(line, outcome.action == report.DISCARDED)


def _failed(error: Exception, out: int, record: report.Record, log: Log, seconds: float) -> int:
    """Report the end of a message that was not disposed of, and return its status."""
    ended = error if isinstance(error, Ended) else _bug(error)
    if isinstance(ended, UsageError) and posix.isatty(0):
        tell(ended.text, out)
        return USAGE
    reason = report.printable(f"{ended.code} {ended.text}", 300)
    outcome = record.undone("rejected" if isinstance(ended, Rejected) else "deferred")
    _log_outcomes(record, log, seconds)
    log.warning(report.line(record, outcome, seconds, reason))
    tell(reason, out)
    return ended.status


def _bug(error: Exception) -> Deferred:
    at = error.__traceback__
    while at and at.tb_next:
        at = at.tb_next
    where = f" at {at.tb_frame.f_code.co_filename}:{at.tb_lineno}" if at else ""
    return Deferred(f"{type(error).__name__}: {error}{where}")


def tell(line: str, out: int = 1) -> None:
    """Write one line to the file `out`; that nobody takes it changes nothing."""
    try:
        posix.write(out, line.encode("utf-8", "replace") + b"\n")
    except OSError:
        pass


class Filter:
    """The filter for one message: its settings, its log, and the record that fills on the way."""

    __slots__ = ("deadline", "envelope", "feeder", "fields", "form", "log", "record", "scan_deadline", "settings")

    def __init__(
        self, form: "Reinjection", chosen: settings.Settings, log: Log, record: report.Record, started: float
    ) -> None:
        process.prepare()
        self.form = form
        self.settings = chosen
        self.log = log
        self.record = record
        self.envelope = Envelope(record.sender, record.recipients)
        record.sender, record.recipients = self.envelope.sender, self.envelope.recipients
        self.feeder = spool.Feeder(sys._xoptions.get("pf_spamfilt", ""))
        self.fields: list[bytes] = []
        self.deadline = started + chosen.limits.deadline
        self.scan_deadline = self.deadline - min(RESERVE_MAX, RESERVE * chosen.limits.deadline)

    def deliver(self) -> str:
        """Take the message from stdin to where it goes, or raise what hindered it.

        Return why it is refused, if it is for all recipients; then the caller has to bounce it.
        """
        message = self.without_forgery(self.read())
        self.form.check(self)
        everybody = wishes.gather(self.envelope, self.fields, self.settings, self.scan_deadline, self.log)
        scans = examine.examine(self, message, everybody)
        treatments = self.decide(everybody, scans)
        self.feeder.check()
        return Disposal(self, message, treatments).dispose()

    def read(self) -> spool.Message:
        """Return the message on stdin, whole; refuse one that is cut, or that runs in circles."""
        message = spool.read(0, self.settings.spamc.max_size, self.deadline)
        self.fields = trace.telling(headers.split(message.head)[0])
        self.record.size = message.size
        self.record.queue_id = trace.queue_id(self.fields)
        self.feeder.check()
        if not self.form.is_hook and trace.is_loop(self.fields, posix.getuid()):
            raise Deferred(
                "mail loop: reinjected mail comes back to this filter; set content_filter"
                " on the smtpd service in master.cf, not in main.cf",
                "4.4.6",
            )
        return message

    def without_forgery(self, original: spool.Message) -> spool.Message:
        """Return the message without the sender's X-Spam-* fields, and see what these may have pushed out of sight."""
        message = spool.without_forgery(original, self.settings.spamc.max_size)
        if message is not original:
            self.fields = trace.telling(headers.split(spool.head(message))[0])
        return message

    def decide(self, everybody: list[policy.Wishes], scans: list[Scan]) -> list[policy.Treatment]:
        """Return what becomes of each recipient's copy."""
        pairs = list(zip(everybody, scans, strict=True))
        if any(found.verdict and found.verdict.number is None and policy.needs_number(each) for each, found in pairs):
            self.log.warning(f"{self.record.queue_id}: no score from SpamAssassin: levels that are numbers do not hold")
        may_bounce = self.form.may_bounce(self)
        treatments = [policy.decide(each, found, may_bounce) for each, found in pairs]
        if not self.form.obeys_destiny:
            for treatment in treatments:
                treatment.end = report.REINJECTED
        return treatments
