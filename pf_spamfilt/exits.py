"""Exit statuses, enhanced status codes, and the errors that carry them.

Every end of the command but success is an `Ended`: it holds the status for Postfix (see sysexits(3)) and the line
that goes with it. pipe(8) believes an enhanced code (RFC 3463) at the start of the output before it believes the
status, so code and status are of one class, always: they are set together here and nowhere else.
"""

OK = 0
USAGE = 64
DATAERR = 65
UNAVAILABLE = 69
TEMPFAIL = 75
# What Postfix takes the statuses of sysexits(3) to mean, if a delivery agent says nothing else.
SYSEXITS = {
    64: "5.3.0",
    65: "5.6.0",
    66: "5.3.0",
    67: "5.1.1",
    68: "5.1.2",
    69: "5.3.0",
    70: "5.3.0",
    71: "4.3.0",
    72: "5.3.0",
    73: "5.2.0",
    74: "5.3.0",
    75: "4.3.0",
    76: "5.5.0",
    77: "5.7.0",
    78: "5.3.5",
}
# The enhanced code of a scanner that could not be reached, or did not answer in time.
UNREACHED = "4.4.1"


class Ended(Exception):
    """The message was not disposed of: `status` for the caller, `code` and `text` (str) for its log."""

    status = TEMPFAIL
    code = "4.3.0"

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.code = code or self.code


class Deferred(Ended):
    """A fault of this host, or one that may pass: Postfix keeps the message and tries again."""


class Stopped(Ended):
    """A signal asked us to stop: what was started is ended, and nothing is queued."""


class SettingsError(Deferred):
    """The settings file or the command line is wrong: a person has to mend it, the mail waits."""

    code = "4.3.5"


class UsageError(SettingsError):
    """A command line that is none of the forms of this command."""


class ScanFailed(Deferred):
    """No answer of the scanner that can be used; whether that defers is `spamc.on_failure`'s to say."""


class Rejected(Ended):
    """Sendmail, or the command that gets the message, said that it can never be accepted: it is bounced."""

    status = DATAERR
    code = "5.6.0"


def enhanced_code(said: bytes) -> str:
    """Return the enhanced status code (RFC 3463, 2) with which a program's words begin; empty if there is none."""
    parts = b"".join(said.split(None, 1)[:1]).split(b".")
    is_code = len(parts) == 3 and all(part.isdigit() and len(part) <= 3 for part in parts)
    return b".".join(parts).decode() if is_code else ""


def system_error(doing: str, error: OSError) -> Deferred:
    """Return the deferral for a failed system call; a full disk has a code of its own (RFC 3463, X.3.1)."""
    import errno

    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return Deferred(f"{doing}: {error.strerror or error}", "4.3.1" if full else "4.3.0")
