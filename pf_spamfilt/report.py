"""What is told of a message: the line for Postfix's log and the line for ours; text made fit for either."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pf_spamfilt.verdict import Verdict

# Postfix shows so much of a command's output when it delivers.
SUMMARY_MAX = 100
LINE_MAX = 900
_SHOWN_RECIPIENTS = 5


class Record:
    """What became known of one message on its way; times in seconds."""

    __slots__ = ("action", "queue_id", "recipients", "scan_seconds", "sender", "size", "unscanned", "user", "verdict")

    def __init__(self) -> None:
        self.queue_id = "NOQUEUE"
        self.sender = b""
        self.recipients: list[bytes] = []
        self.size = 0
        self.user = b""
        self.verdict: Verdict | None = None
        self.unscanned = ""
        self.scan_seconds = 0.0
        self.action = ""


def printable(text: bytes | str, limit: int = 200) -> str:
    """Make `text` one line of at most `limit` printable characters; what cannot be shown becomes "?"."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    line = "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))
    return line if len(line) <= limit else line[: limit - 3] + "..."


def quote(said: bytes) -> str:
    """Return what a program said as something to append to a sentence; empty if it said nothing."""
    text = printable(said)
    return f": {text}" if text else ""


def ending(status: int) -> str:
    """Describe how a program ended: `status` is its exit status, or minus a signal."""
    return f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"


def summary(record: Record) -> str:
    """Return the line for Postfix's log, such as `spam 15.3/5.0, tagged; 1 reinjected`."""
    tail = f"; {len(record.recipients)} {record.action}"
    judgement = _judgement(record).encode("ascii", "replace")
    return printable(judgement, SUMMARY_MAX - len(tail)) + tail


def _judgement(record: Record) -> str:
    verdict = record.verdict
    if verdict is None:
        return f"not scanned ({record.unscanned})"
    score = f" {verdict.score}/{verdict.required}" if verdict.score else ""
    return f"spam{score}, tagged" if verdict.spam else f"ham{score}"


def line(record: Record, seconds: float, reason: str = "") -> str:
    """Return the line for the log in Postfix's manner, of a message that took `seconds` in all.

    `reason` says why it was not disposed of.
    """
    verdict = record.verdict
    parts = [
        f"from=<{_address(record.sender)}>",
        f"to={_addresses(record.recipients)}",
        f"size={record.size}",
        f"user={printable(record.user)}",
        f"score={verdict.score if verdict else ''}",
        f"required={verdict.required if verdict else ''}",
        f"verdict={_word(record)}",
        f"action={record.action}",
        f"scan={record.scan_seconds:.2f}",
        f"total={seconds:.2f}",
        f"reason={reason}" if reason else f"tests={verdict.tests if verdict else ''}",
    ]
    return printable(f"{record.queue_id}: {', '.join(parts)}", LINE_MAX)


def _word(record: Record) -> str:
    if record.verdict is None:
        return "unscanned"
    return "spam" if record.verdict.spam else "ham"


def _address(address: bytes) -> str:
    """Return an address that cannot end its own brackets, and so cannot look like another key of the line."""
    return printable(address).replace("<", "?").replace(">", "?")


def _addresses(addresses: list[bytes]) -> str:
    shown = ",".join(f"<{_address(address)}>" for address in addresses[:_SHOWN_RECIPIENTS])
    more = len(addresses) - _SHOWN_RECIPIENTS
    return f"{shown},(+{more} more)" if more > 0 else shown
