"""Dispose of a message: each recipient's copy goes where its treatment says, or nothing is said to be done.

First all that is kept in quarantine, then the copies for sendmail, one for all recipients whose copy is the same, then
notices. Whatever fails raises, and Postfix tries again: a copy may then come twice, but none is lost.
"""

import posix

from pf_spamfilt import headers, policy, reinject, report, spool, tagging, trace
from pf_spamfilt.envelope import NULL_SENDER, expand
from pf_spamfilt.exits import Ended, Rejected, SettingsError
from pf_spamfilt.settings import STORES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pf_spamfilt.filter import Filter
    from pf_spamfilt.policy import Treatment
    from pf_spamfilt.spool import Message
    from pf_spamfilt.stores import Undo


class Disposal:
    """One message on its way out: `message` is the original without forged fields, `fields` are trace.telling()."""

    def __init__(self, running: "Filter", message: "Message", treatments: "list[Treatment]") -> None:
        self.settings = running.settings
        self.envelope = running.envelope
        self.record = running.record
        self.fields = running.fields
        self.message = message
        self.treatments = treatments
        self.log = running.log
        self.deadline = running.deadline
        self.untold = running.form.untold
        self.is_hook = running.form.is_hook
        self._form = running.form
        self._undo: list[Undo] = []
        self._feeder = running.feeder

    def dispose(self) -> str:
        """Do what the treatments say; return why the message is refused for all, empty if it is not."""
        self.check()
        bounced = self._ending(report.BOUNCED)
        if self._wants_notices() or 0 < len(bounced) < len(self.treatments):
            _import_notices()  # if they cannot be: before anything is sent
        try:
            return self._dispose()
        except Rejected:
            raise
        except BaseException:  # it comes again, and is kept again then
            self._withdraw()
            raise

    def _dispose(self) -> str:
        self._quarantine()
        self._reinject()
        refusal = self.refusal()
        bounced = [] if refusal else self._ending(report.BOUNCED)
        self.record_outcomes()
        if bounced or self._wants_notices():
            _import_notices()(self, bounced)
        return refusal

    def check(self) -> None:
        """Raise Ended for what would fail after something has been sent."""
        if self.is_hook and len({treatment.copy_key for treatment in self.treatments}) > 1:
            raise SettingsError("the recipients' policies make different copies: name one recipient")
        for treatment in self._kept():
            from pf_spamfilt import quarantine

            quarantine.check(self, treatment)

    def refusal(self) -> str:
        """Return why the message is refused for all recipients; empty if it is not."""
        refused = all(each.end == report.BOUNCED and not each.rejected for each in self.treatments)
        return reason(self.treatments) if refused else ""

    def submit(self, message: "Message", sender: bytes, recipients: list[bytes]) -> None:
        """Give a message to sendmail."""
        reinject.submit(message, self.argv(sender, recipients), self.deadline, self.log)

    def argv(self, sender: bytes, recipients: list[bytes]) -> list[bytes]:
        """Return the command line of sendmail."""
        return reinject.command(sender, recipients, self.settings.sendmail.command)

    def copy(self, treatment: "Treatment") -> "Message":
        """Return the message as a recipient with this treatment gets it."""
        scan = treatment.scan
        base = scan.answer if scan.answer and treatment.is_agreed else self.message
        rounds = [] if base is self.message else trace.rounds(self.fields, posix.getuid())
        if treatment.is_agreed and treatment.status and not treatment.tag and not rounds:
            return base
        fields, rest = headers.split(spool.head(base))
        answer = headers.split(scan.answer.head)[0] if scan.answer and not treatment.is_agreed else []
        # Where SpamAssassin wraps the message, it must still be seen that it was here.
        there = set(fields)
        hidden = [field for field in rounds if field not in there]
        changed = tagging.on_top(tagging.fields(fields, answer, treatment), hidden)
        if treatment.tag and (b"\n" in rest or base.in_memory):  # in a larger header the subject may be still to come
            changed = tagging.tagged(changed, treatment)
        return spool.with_header(base, fields, changed)

    def _wants_notices(self) -> bool:
        handled = [treatment.wishes for treatment in self.treatments if treatment.handled]
        return any(wishes["admin"] or wishes["warn_sender"] for wishes in handled)

    def _ending(self, end: str) -> "list[Treatment]":
        return [treatment for treatment in self.treatments if treatment.end == end]

    def _kept(self) -> "list[Treatment]":
        return [treatment for treatment in self.treatments if treatment.handled and treatment.wishes["quarantine"]]

    def _quarantine(self) -> None:
        """Keep what is handled, one copy for all who share a destination: first what can be taken out again."""
        groups = policy.grouped(self._kept(), self.destination)
        for group in sorted(groups, key=lambda group: not group[0].wishes["quarantine"].startswith(STORES)):
            from pf_spamfilt import quarantine

            destination = self.destination(group[0])
            name, undo = quarantine.keep(self, destination, group)
            if undo:
                self._undo.append(undo)
            for treatment in group:
                treatment.kept = f"<{report.address(destination)}>/{name}"

    def _withdraw(self) -> None:
        """Take what was kept out again; where that fails it is there twice."""
        for undo in self._undo:
            try:
                undo()
            except (Ended, OSError) as error:
                self.log.warning(f"{self.record.queue_id}: quarantine: {error}")

    def destination(self, treatment: "Treatment") -> bytes:
        """Return where in quarantine a message is kept, macros expanded."""
        wishes = treatment.wishes
        return expand(wishes["quarantine"], wishes.recipient, self.settings.recipient_delimiter)

    def _reinject(self) -> None:
        """Give each copy to sendmail. What it will never take is bounced, without what it took for others."""
        failure: Rejected | None = None
        for group in policy.grouped(self._ending(report.REINJECTED), lambda treatment: treatment.copy_key):
            copy = self.copy(group[0])
            self._feeder.check()  # without it, Postfix tries all of them again
            try:
                self._form.deliver(self, copy, recipients_of(group))
            except Rejected as error:
                failure = error
                recipients = ", ".join(f"<{report.address(each)}>" for each in recipients_of(group))
                self.log.warning(f"{self.record.queue_id}: {error.text}; not taken for {recipients}")
                for treatment in group:
                    treatment.end, treatment.rejected = report.BOUNCED, True
            if copy not in (self.message, group[0].scan.answer):
                copy.close()
        if failure and all(treatment.rejected for treatment in self.treatments):
            raise failure
        if failure and self.envelope.sender == NULL_SENDER:  # nobody to tell: Postfix does what it does then
            self.record_outcomes()
            raise failure

    def record_outcomes(self) -> None:
        """Tell the record what became of whom."""
        for group in policy.grouped(self.treatments, _outcome_key):
            action = self._form.action if group[0].end == report.REINJECTED else group[0].end
            self.record.outcomes.append(report.Outcome(recipients_of(group), action, group[0].scan, group[0]))


def _outcome_key(treatment: "Treatment") -> "Hashable":
    return treatment.end, treatment.rejected, treatment.listed, treatment.kept, treatment.copy_key


def _import_notices() -> "Callable[[Disposal, list[Treatment]], None]":
    from pf_spamfilt.notices import send

    return send


def recipients_of(group: "list[Treatment]") -> list[bytes]:
    """Return the recipients of whom the same becomes."""
    return [treatment.wishes.recipient for treatment in group]


def reason(group: "list[Treatment]") -> str:
    """Return in words for its sender why a message was handled."""
    reasons = {_reason(treatment) for treatment in group}
    return reasons.pop() if len(reasons) == 1 else "the message looks like spam"


def _reason(treatment: "Treatment") -> str:
    if treatment.is_blocked:
        return "the sender is blocked by the recipient"
    verdict, limit = treatment.scan.verdict, policy.limit(treatment)
    figures = [f"score {verdict.score}"] if verdict and verdict.score else []
    figures += [f"{limit} required"] if figures and limit else []
    return f"the message looks like spam{' (' + ', '.join(figures) + ')' if figures else ''}"
