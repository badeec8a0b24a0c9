"""report."""

import click


@click.command("report")
def command() -> None:
    """To be written."""
