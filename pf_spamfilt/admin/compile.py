"""compile: store the settings as a message finds them parsed."""

import click

from pf_spamfilt import schema
from pf_spamfilt.admin.site import Site

EPILOG = """\b
Example:
  pf-spamfilt-admin compile
"""


@click.command("compile", epilog=EPILOG)
@click.pass_obj
def command(site: Site) -> None:
    """Store the settings parsed and checked, as postmap(1) does with tables.

    Parsing the settings takes longer than starting the filter does, so do this after every change. What is stale is
    not used: mail is filtered by the new settings, only slower.
    """
    try:
        name = schema.compile_file(site.settings_file)
    except OSError as error:
        raise click.ClickException(f"{error.filename or site.settings_file}: {error.strerror}") from None
    click.echo(f"compiled: {name}")
