"""quarantine."""

import click


@click.group("quarantine")
def command() -> None:
    """To be written."""
