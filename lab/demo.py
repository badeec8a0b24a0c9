"""Show what the filter does: four messages through a private Postfix, its log, and the headers as delivered.

`python3 -m lab.demo [COMMAND]`, as root, from the project's folder; without COMMAND the project is installed
into the lab first. Nothing of the host's mail is touched and nothing is left behind. Mail that does not
arrive ends it with status 1 and the end of the mail log.
"""

import sys
import textwrap
import time
from collections.abc import Sequence

from lab.mailbox import Copy
from lab.mailhost import MailHost, stop_on_signals
from lab.tools import PROJECT, LabError

WIDTH = 100
ARRIVAL = 20  # seconds in which a message must be in the mailbox
COLOURS = {"heading": "\033[1m", "log": "\033[36m", "mark": "\033[33m", "quiet": "\033[2m"}
MESSAGES = (
    ("A clean message", "clean", "anna@client.example", ["jane@example.com"]),
    ("The GTUBE test message, which every SpamAssassin takes for spam", "gtube", "somebody@offers.example",
     ["jane@example.com"]),
    ("One message for two recipients: one scan, one copy each", "two-recipients", "anna@client.example",
     ["jane@example.com", "sam@example.com"]),
    ("A bounce: it has no sender, and must not get one", "bounce", "", ["jane@example.com"]),
)  # fmt: skip
NEXT = """\
All four arrived, and everything is stopped and removed again.
Where to go on: README.md, with installing, the set-up by a command or by hand, testing it, the log."""


class Screen:
    """Prints for a terminal, or plain text for a file or a pipe."""

    def __init__(self) -> None:
        self._colour = sys.stdout.isatty()
        self._start = time.monotonic()

    def step(self, text: str) -> None:
        """Say what is done now, with the seconds since the start."""
        self.line(f"{time.monotonic() - self._start:5.1f} s  {text} ...", "quiet")

    def heading(self, text: str) -> None:
        """Begin a section."""
        self.line("")
        self.line(f"{text} ".ljust(WIDTH, "-"), "heading")

    def wrapped(self, text: str, kind: str = "") -> None:
        """Print one long line over several, indented."""
        lines = textwrap.wrap(text, WIDTH - 4, subsequent_indent="    ", break_on_hyphens=False)
        self.line(textwrap.indent("\n".join(lines), "    "), kind)

    def line(self, text: str, kind: str = "") -> None:
        """Print text as it is."""
        colour = COLOURS.get(kind, "") if self._colour else ""
        print(f"{colour}{text}\033[0m" if colour else text, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run the demonstration and return the exit status."""
    stop_on_signals()
    screen = Screen()
    try:
        with MailHost(arguments[0] if arguments else None, progress=screen.step) as host:
            for title, name, sender, recipients in MESSAGES:
                show(screen, host, title, name, sender, recipients)
            screen.line("")
            screen.step("stopping both")
    except LabError as error:
        print(f"\ndemo: {error}\n\ndemo: failed; nothing is left running", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ndemo: interrupted; nothing is left running", file=sys.stderr)
        return 130
    screen.line(NEXT)
    return 0


def show(screen: Screen, host: MailHost, title: str, name: str, sender: str, recipients: list[str]) -> None:
    """Send one message and print its way: envelope, Postfix's log of the filter, each copy's header."""
    screen.heading(title)
    host.mailbox.clear()
    message = (PROJECT / "tests" / "messages" / f"{name}.eml").read_bytes()
    to = ", ".join(f"<{recipient}>" for recipient in recipients)
    screen.line("sent by SMTP:")
    screen.wrapped(f"tests/messages/{name}.eml from <{sender}> to {to}")
    queue_id = host.send(message, recipients, sender)
    copies = arrived(host, recipients)
    screen.line("Postfix's log:")
    for line in filter_log(host, queue_id, len(recipients)):
        screen.wrapped(line, "log")
    for copy in copies:
        show_copy(screen, copy)


def arrived(host: MailHost, recipients: list[str]) -> list[Copy]:
    """Wait for the copies and return them; LabError if others came than were sent."""
    copies = host.mailbox.wait_for(len(recipients), ARRIVAL)
    host.postfix.wait_idle(ARRIVAL)
    found = sorted(copy.recipient for copy in copies)
    if found != sorted(recipients):
        raise LabError(f"delivered to {found} instead of {recipients}\n{host.postfix.log_tail()}")
    return copies


def filter_log(host: MailHost, queue_id: str, count: int) -> list[str]:
    """Return Postfix's log lines of giving this message to the filter, one for each recipient."""
    lines = host.postfix.log_lines(queue_id, "relay=spamcheck", "status=sent (delivered via spamcheck service")
    if len(lines) < count:
        raise LabError(f"Postfix's log does not show the filter\n{host.postfix.log_tail()}")
    return lines


def show_copy(screen: Screen, copy: Copy) -> None:
    """Print the header of a delivered copy, what the filter added in another colour."""
    screen.line(f"delivered to {copy.recipient} with this header:")
    kind = ""
    for line in copy.head.decode(errors="replace").splitlines():
        if not line[:1].isspace():
            kind = "mark" if line.startswith("X-Spam-") else ""
        screen.line(f"    {line}".expandtabs(8), kind)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
