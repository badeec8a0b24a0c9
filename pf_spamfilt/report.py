"""What is told of a message: the line for Postfix's log and the line for ours; text made fit for either."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pf_spamfilt.policy import Treatment
    from pf_spamfilt.verdict import Scan, Verdict

# What became of a copy, in the order in which it is told.
REINJECTED, WRITTEN, PIPED, QUARANTINED = "reinjected", "written", "piped", "quarantined"
DISCARDED, BOUNCED = "discarded", "bounced"
ACTIONS = REINJECTED, WRITTEN, PIPED, QUARANTINED, DISCARDED, BOUNCED
# Which of them is a delivery, in one form of the command or another.
DELIVERED = REINJECTED, WRITTEN, PIPED
# Postfix shows so much of a command's output when it delivers.
SUMMARY_MAX = 100
LINE_MAX = 900
_SHOWN_RECIPIENTS = 5
# Not told where there is nothing to tell.
_ABSENT = ("", "list=", "quarantine=")
# So many bytes of what a program said are looked at for a line.
_QUOTED = 4096


class Outcome:
    """What became of one message for some recipients: `action` is one of ACTIONS, after `scan` and as `treatment`."""

    __slots__ = ("action", "recipients", "scan", "treatment")

    def __init__(
        self,
        recipients: list[bytes],
        action: str,
        scan: "Scan | None" = None,
        treatment: "Treatment | None" = None,
    ) -> None:
        self.recipients = recipients
        self.action = action
        self.scan = scan
        self.treatment = treatment

    @property
    def spam(self) -> bool:
        """Whether they are told that it is."""
        return self.treatment.spam if self.treatment else self.verdict is not None and self.verdict.spam

    @property
    def required(self) -> str:
        """The score that says so."""
        return self.treatment.required if self.treatment else self.verdict.required if self.verdict else ""

    @property
    def verdict(self) -> "Verdict | None":
        """SpamAssassin's, if it was asked."""
        return self.scan.verdict if self.scan else None


class Record:
    """What became known of one message on its way; times in seconds."""

    __slots__ = ("outcomes", "queue_id", "recipients", "scan_seconds", "scans", "sender", "size")

    def __init__(self) -> None:
        self.queue_id = "NOQUEUE"
        self.sender = b""
        self.recipients: list[bytes] = []
        self.size = 0
        self.scans: list[Scan] = []
        self.scan_seconds = 0.0
        self.outcomes: list[Outcome] = []

    def undone(self, action: str) -> Outcome:
        """Return the outcome of a message that was not disposed of."""
        return Outcome(self.recipients, action, self.scans[0] if self.scans else None)


def printable(text: bytes | str, limit: int = 200) -> str:
    """Make `text` one line of at most `limit` printable characters; what cannot be shown becomes "?"."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    line = " ".join(text.split())
    if not line.isprintable():
        line = "".join(char if char.isprintable() else "?" for char in line)
    return line if len(line) <= limit else line[: limit - 3] + "..."


def quote(said: bytes) -> str:
    """Return what a program said as something to append to a sentence; empty if it said nothing."""
    text = printable(said[:_QUOTED])
    return f": {text}" if text else ""


def ending(status: int) -> str:
    """Describe how a program ended: `status` is its exit status, or minus a signal."""
    return f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"


def summary(record: Record) -> str:
    """Return the line for Postfix's log, such as `spam 15.3/5.0, tagged; 1 reinjected`."""
    counts = dict.fromkeys(ACTIONS, 0)
    for outcome in record.outcomes:
        counts[outcome.action] += len(outcome.recipients)
    tail = "; " + ", ".join(f"{count} {action}" for action, count in counts.items() if count)
    judgement = _judgement(record.outcomes).encode("ascii", "replace")
    return printable(judgement, SUMMARY_MAX - len(tail)) + tail


def _judgement(outcomes: list[Outcome]) -> str:
    """Return verdict and score for the worst that any recipient is told, and who is told it."""
    outcome = max(outcomes, key=lambda outcome: outcome.spam)
    verdict = outcome.verdict
    if verdict is None and not outcome.spam:
        return f"not scanned ({outcome.scan.unscanned if outcome.scan else ''})"
    score = f" {verdict.score}/{outcome.required}" if verdict and verdict.score else ""
    return f"{'spam' if outcome.spam else 'ham'}{score}{_tagged(outcomes)}"


def _tagged(outcomes: list[Outcome]) -> str:
    delivered = [outcome for outcome in outcomes if outcome.action in DELIVERED]
    count = sum(len(outcome.recipients) for outcome in delivered if outcome.spam)
    if not count:
        return ""
    return ", tagged" if all(outcome.spam for outcome in delivered) else f", tagged for {count}"


def lines(record: Record, seconds: float) -> "Iterator[tuple[Outcome, str]]":
    """Yield each outcome with its line for the log; what was discarded is told of every recipient."""
    for outcome in record.outcomes:
        step = _SHOWN_RECIPIENTS if outcome.action == DISCARDED else len(outcome.recipients)
        for place in range(0, len(outcome.recipients), step):
            yield outcome, line(record, outcome, seconds, recipients=outcome.recipients[place : place + step])


def line(
    record: Record, outcome: Outcome, seconds: float, reason: str = "", recipients: list[bytes] | None = None
) -> str:
    """Return the line for the log in Postfix's manner, of a message that took `seconds` in all.

    `reason` says why it was not disposed of; `recipients` are those to show, otherwise the outcome's.
    """
    verdict, treatment = outcome.verdict, outcome.treatment
    parts = [
        f"from=<{address(record.sender)}>",
        f"to={_addresses(outcome.recipients if recipients is None else recipients)}",
        f"size={record.size}",
        f"user={address(outcome.scan.user).replace(',', '?') if outcome.scan else ''}",
        f"score={verdict.score if verdict else ''}",
        f"required={outcome.required}",
        f"verdict={_word(outcome)}",
        f"list={treatment.listed}" if treatment else "",
        f"action={outcome.action}",
        f"quarantine={treatment.kept}" if treatment else "",
        f"scan={record.scan_seconds:.2f}",
        f"total={seconds:.2f}",
        f"reason={reason}" if reason else f"tests={verdict.tests if verdict else ''}",
    ]
    return printable(f"{record.queue_id}: {', '.join(part for part in parts if part not in _ABSENT)}", LINE_MAX)


def _word(outcome: Outcome) -> str:
    if outcome.verdict is None and not outcome.spam:
        return "unscanned"
    return "spam" if outcome.spam else "ham"


def address(text: bytes) -> str:
    """Return an address that cannot end its own brackets, and so cannot look like another key of the line."""
    return printable(text).replace("<", "?").replace(">", "?")


def _addresses(addresses: list[bytes]) -> str:
    shown = ",".join(f"<{address(each)}>" for each in addresses[:_SHOWN_RECIPIENTS])
    more = len(addresses) - _SHOWN_RECIPIENTS
    return f"{shown},(+{more} more)" if more > 0 else shown
