"""The forms of the command that a person types: --help, --version, --config FILE, --explain. Here is click.

door.py takes --stdout and --pipe-to before this is imported: here they are only shown.
"""

import os
import shutil
import sys
from pathlib import Path

import click

from pf_spamfilt import __version__, filter, reinject
from pf_spamfilt.exits import OK, TEMPFAIL, USAGE


def installed(name: str) -> str:
    """Return the path of a command of this installation, as Postfix's files and crontab(5) should name it.

    It is beside the command that runs, or in bin of the prefix that has this package in its lib: that of a virtual
    environment, of the distribution, or of `make install`, which keeps an environment in PREFIX/lib/pf-spamfilt.
    """
    folders = [Path(sys.argv[0]).resolve().parent]
    for prefix in Path(__file__).resolve().parents[4:5]:  # PREFIX/lib/python3*/site-packages/pf_spamfilt/cli.py
        if prefix.parts[-2:] == ("lib", "pf-spamfilt"):
            folders.append(prefix.parents[1] / "bin")
        folders.append(prefix / "bin")
    found = next((str(folder / name) for folder in folders if (folder / name).is_file()), None)
    return found or shutil.which(name) or f"/usr/local/bin/{name}"


_COMMAND = installed("pf-spamfilt")
EPILOG = f"""\b
Exit status:
   0  disposed of as promised
  64  wrong usage, at a terminal
  65  sendmail says that this message can never be accepted: it bounces
  69  every recipient's settings say that this message be bounced
  75  anything that may be different later: Postfix tries again
  With --pipe-to, also any other status of sysexits(3) with which COMMAND ended.

\b
Examples:
  pf-spamfilt jane@example.com joe@example.net < message
  pf-spamfilt --explain jane@example.com joe@example.net < message

\b
Examples for local delivery: a rule in ~/.procmailrc, and a line in main.cf:
  :0fw
  | {_COMMAND} --stdout
  mailbox_command = {_COMMAND} --pipe-to /usr/bin/procmail -t -a "$EXTENSION"

The message is read from standard input. Settings are in pf-spamfilt.toml in Postfix's configuration
directory. More in man pf-spamfilt and man pf-spamfilt.toml.
"""


def _misplaced(_: click.Context, option: click.Parameter, value: object) -> None:
    """Refuse an option that door.py would have taken where it belongs."""
    if value:
        raise click.UsageError(f"{option.opts[0]} stands first, or after --config FILE")


def _named(_: click.Context, _option: click.Parameter, value: str | None) -> str:
    """Refuse an empty name, as of a variable that is not set: other settings are not meant."""
    if value == "":
        raise click.UsageError("--config: the name of the file is empty")
    return value or ""


@click.command(
    epilog=EPILOG,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "allow_interspersed_args": False,
        "max_content_width": 100,
    },
)
@click.version_option(__version__, prog_name="pf-spamfilt", message="%(prog)s %(version)s")
@click.option("--config", metavar="FILE", callback=_named, help="Read the settings in FILE instead.")
@click.option(
    "--explain",
    "explaining",
    is_flag=True,
    help="Deliver nothing: tell what would become of the message, and why.",
)
@click.option(
    "--stdout",
    is_flag=True,
    expose_value=False,
    callback=_misplaced,
    help="Write the result to standard output, or nothing: for procmail, maildrop, a shell. The envelope, if not"
    " given, is SENDER and RECIPIENT in the environment.",
)
@click.option(
    "--pipe-to",
    metavar="COMMAND [ARG]...",
    expose_value=False,
    callback=_misplaced,
    help="Give the result to this command, and end with its status: for mailbox_command and ~/.forward.",
)
@click.argument("sender", required=False)
@click.argument("recipients", nargs=-1, metavar="RECIPIENT...")
def command(config: str, explaining: bool, sender: str | None, recipients: tuple[str, ...]) -> int:
    """Scan the message on standard input with SpamAssassin and give it to Postfix's sendmail.

    SENDER and each RECIPIENT are envelope addresses; '', '<>' and MAILER-DAEMON are the null sender.
    """
    arguments = [] if sender is None else [sender, *recipients]
    if not explaining:
        return filter.run(reinject.Reinjection(arguments), config)
    from pf_spamfilt import explain

    return explain.run(arguments, config)


def run(arguments: list[str], config: str = "") -> int:
    """Run click on `arguments`, after a `--config` that was taken off already, and return the exit status.

    A wrong command line is 64 for a person only. From a pipe it is 75 with 4.3.5: master.cf may be wrong, and the mail
    must wait. For the same reason help stands alone: with addresses it would end with 0, and the message were lost.
    """
    try:
        if len(arguments) > 1 and {"-h", "--help", "--version"} & set(arguments):
            raise click.UsageError("--help and --version stand alone")
        words = [*(["--config", config] if config else []), *_protect(arguments)]
        status = command.main(words, prog_name="pf-spamfilt", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else OK
    except click.ClickException as error:
        if os.isatty(0):
            error.show()
            return USAGE
        is_hook = any(word.partition("=")[0] in reinject.HOOKS for word in arguments)
        filter.tell(f"4.3.5 {error.format_message()} (see pf-spamfilt --help)", 2 if is_hook else 1)
    except (OSError, SystemExit):  # nobody reads what we say: click ends with 1 then
        pass
    return TEMPFAIL


def _protect(arguments: list[str]) -> list[str]:
    """Put `--` before the first address, which may begin with "-"."""
    place = 0
    while place < len(arguments) and arguments[place].startswith("-") and "@" not in arguments[place]:
        if arguments[place] == "--":
            return arguments
        place += 2 if arguments[place] == "--config" else 1
    return [*arguments[:place], "--", *arguments[place:]]
