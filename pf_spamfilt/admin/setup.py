"""setup."""

import click


@click.command("setup")
def command() -> None:
    """To be written."""
