"""compile: store the settings as a message finds them parsed. A wrong file is never compiled, and the old one stays."""

import os

import click

from pf_spamfilt import schema
from pf_spamfilt.admin.output import counted
from pf_spamfilt.admin.site import Site

EPILOG = """\b
Examples:
  pf-spamfilt-admin compile
  pf-spamfilt-admin -c /etc/postfix-in compile
"""


@click.command("compile", epilog=EPILOG)
@click.pass_obj
def command(site: Site) -> None:
    """Check the settings, and store them parsed, for speed.

    The result, pf-spamfilt.toml.compiled, is beside the settings file, as postmap(1) does with tables. Parsing the
    settings takes longer than starting the filter does, so do this after every change. No reload is needed, and a
    stale one is not used: mail is filtered by the new settings, only slower.
    """
    source = site.settings_file
    try:
        _check_owner(source)
        if problems := schema.every_problem(source):
            raise click.ClickException("\n".join([f"not compiled: {counted(len(problems), 'problem')}", *problems]))
        click.echo(f"compiled: {schema.compile_file(source)}")
    except FileNotFoundError:
        raise click.ClickException(
            f"{source}: there is no such file: the defaults hold, and nothing needs to be compiled"
        ) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or source}: {error.strerror}") from None


def _check_owner(source: str) -> None:
    """Raise ClickException where the filter would not believe what we write."""
    owner = os.stat(source).st_uid
    if os.geteuid() not in (0, owner):
        raise click.ClickException(f"{source}: only root and its owner can compile it: the filter trusts nobody else's")
