"""The group of commands, its options, and the one place where errors become exit statuses."""

import io
import os
import sys

import click

from pf_spamfilt import __version__, settings
from pf_spamfilt.admin import check, compile, policy, quarantine, report, setup
from pf_spamfilt.admin.site import Site
from pf_spamfilt.exits import USAGE, Ended

EPILOG = """\b
Exit status:
   0  done; check: nothing is wrong
   1  not done, or not all of it: the reason is on standard error; check: warnings only
   2  check: errors
  64  wrong usage

\b
Examples:
  pf-spamfilt-admin setup --apply
  pf-spamfilt-admin check
  pf-spamfilt-admin quarantine list --since 1d

More in man pf-spamfilt-admin.
"""


@click.group(
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="pf-spamfilt-admin", message="%(prog)s %(version)s")
@click.option(
    "-c",
    "directory",
    metavar="DIR",
    envvar="MAIL_CONFIG",
    default=settings.DEFAULT_FOLDER,
    type=click.Path(file_okay=False),
    help=f"Postfix's configuration directory (default: $MAIL_CONFIG, or {settings.DEFAULT_FOLDER}).",
)
@click.option(
    "--config",
    metavar="FILE",
    default="",
    help=f"The settings file, if it is not {settings.FILE_NAME} in that directory.",
)
@click.pass_context
def commands(context: click.Context, directory: str, config: str) -> None:
    """Set up, check and watch pf-spamfilt, and look after its quarantine."""
    context.obj = Site(os.path.abspath(directory), config)


for module in (setup, check, compile, policy, quarantine, report):
    commands.add_command(module.command)


def main() -> None:
    """Run the command line; end with its status."""
    _open_all()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # addresses are any bytes, and a terminal may know few characters
    color = False if os.environ.get("NO_COLOR") else None
    try:
        status = commands.main(prog_name="pf-spamfilt-admin", standalone_mode=False, color=color)
        sys.stdout.flush()
    except click.UsageError as error:
        error.show()
        status = USAGE
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except click.Abort:
        click.echo("Aborted.", err=True)
        status = 1
    except Ended as error:
        click.echo(f"Error: {error.text}", err=True)
        status = 1
    except OSError as error:  # mostly of standard output: nobody reads on, or its disk is full
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not isinstance(error, BrokenPipeError):
            click.echo(f"Error: {error.filename or 'output'}: {error.strerror}", err=True)
        status = 1
    sys.exit(status if isinstance(status, int) else 0)


def _open_all() -> None:
    """Have something behind standard input, output and error, even if we were started without."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
