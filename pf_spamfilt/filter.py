"""One message from stdin to exit status: the sequence, and nothing else.

read -> decide what to scan -> scan -> judge -> tag -> dispose -> report. What hinders it is raised as an exits.Ended
and becomes a status in `run`, the one place for that.
"""

import posix
import sys
import time

from pf_spamfilt import headers, process, reinject, report, scan, settings, spool, tagging, trace
from pf_spamfilt.envelope import Envelope, spamc_user
from pf_spamfilt.exits import OK, TEMPFAIL, USAGE, Deferred, Ended, ScanFailed, UsageError
from pf_spamfilt.log import Log

# The share of the deadline, and the most of it in seconds, that a scan must leave for sendmail.
RESERVE = 0.25
RESERVE_MAX = 30
USAGE_TEXT = "usage: pf-spamfilt SENDER RECIPIENT... (see pf-spamfilt --help)"


def run(arguments: list[str], config: str = "") -> int:
    """Filter the message on stdin for the addresses in `arguments`, tell what became of it, return the exit status.

    The settings are those in `config`, or of the Postfix instance that started us.
    """
    started = time.monotonic()
    record = report.Record()
    log = Log(settings.Settings({}).log)
    try:
        if len(arguments) < 2:
            raise UsageError(USAGE_TEXT)
        record.sender, *record.recipients = process.encode(arguments)
        chosen = settings.load(config or settings.path(), required=bool(config))
        log = Log(chosen.log)
        if chosen.note:
            log.warning(chosen.note)
        Filter(chosen, log, record, started).deliver()
        log.message(report.line(record, time.monotonic() - started))
        tell(report.summary(record))
        return OK
    except Exception as error:
        return _failed(error, record, log, time.monotonic() - started)


def _failed(error: Exception, record: report.Record, log: Log, seconds: float) -> int:
    """Report the end of a message that was not disposed of, and return its status."""
    ended = error if isinstance(error, Ended) else _bug(error)
    if isinstance(ended, UsageError) and posix.isatty(0):
        tell(ended.text)
        return USAGE
    record.action = "rejected" if ended.status != TEMPFAIL else "deferred"
    reason = report.printable(f"{ended.code} {ended.text}", 300)
    log.warning(report.line(record, seconds, reason))
    tell(reason)
    return ended.status


def _bug(error: Exception) -> Deferred:
    at = error.__traceback__
    while at and at.tb_next:
        at = at.tb_next
    where = f" at {at.tb_frame.f_code.co_filename}:{at.tb_lineno}" if at else ""
    return Deferred(f"{type(error).__name__}: {error}{where}")


def tell(line: str) -> None:
    """Write one line to stdout; that nobody takes it changes nothing."""
    try:
        posix.write(1, line.encode("utf-8", "replace") + b"\n")
    except OSError:
        pass


class Filter:
    """The filter for one message: its settings, its log, and the record that fills on the way."""

    __slots__ = ("deadline", "envelope", "feeder", "log", "record", "settings")

    def __init__(self, chosen: settings.Settings, log: Log, record: report.Record, started: float) -> None:
        process.prepare()
        self.settings = chosen
        self.log = log
        self.record = record
        self.envelope = Envelope(record.sender, record.recipients)
        self.feeder = spool.Feeder(sys._xoptions.get("pf_spamfilt", ""))
        self.deadline = started + chosen.limits.deadline

    def deliver(self) -> None:
        """Take the message from stdin to sendmail, or raise what hindered it."""
        argv = reinject.command(self.envelope, self.settings.sendmail.command)
        message = self.read()
        result = self.examine(message)
        self.feeder.check()
        reinject.submit(result, argv, self.deadline, self.log)
        self.record.action = "reinjected"

    def read(self) -> spool.Message:
        """Return the message on stdin, whole; refuse one that is cut, or that runs in circles."""
        message = spool.read(0, self.settings.spamc.max_size, self.deadline)
        fields, _ = headers.split(message.head)
        self.record.size = message.size
        self.record.queue_id = trace.queue_id(fields)
        self.feeder.check()
        if trace.is_loop(fields, posix.getuid()):
            raise Deferred(
                "mail loop: reinjected mail comes back to this filter; set content_filter"
                " on the smtpd service in master.cf, not in main.cf",
                "4.4.6",
            )
        return message

    def examine(self, message: spool.Message) -> spool.Message:
        """Return the message as it is to be delivered: scanned and tagged, or the original without forgery."""
        clean = spool.without_forgery(message)
        if not message.in_memory:
            self.record.unscanned = f"{message.size} bytes"
            return clean
        self.record.user = self._user()
        started = time.monotonic()
        deadline = self.deadline - min(RESERVE_MAX, RESERVE * self.settings.limits.deadline)
        try:
            result, self.record.verdict = scan.scan(clean, self.record.user, self.settings.spamc, deadline, self.log)
            return result
        except ScanFailed as error:
            return self._pass_unscanned(clean, error)
        finally:
            self.record.scan_seconds = time.monotonic() - started

    def _user(self) -> bytes:
        """Return spamc's user: with several recipients none, so that nobody's preferences hold for another."""
        if len(self.envelope.recipients) != 1:
            return b""
        return spamc_user(self.settings.spamc.user, self.envelope.recipients[0], self.settings.recipient_delimiter)

    def _pass_unscanned(self, message: spool.Message, error: ScanFailed) -> spool.Message:
        if self.settings.spamc.on_failure != "pass":
            raise error
        self.record.unscanned = error.text
        self.log.warning(f"{self.record.queue_id}: passed without a scan: {error.text}")
        return spool.from_bytes(tagging.unscanned(message.head, error.text))
