"""The steps of setup: each is shown as shell that a person could paste, and done in the same words."""

import os
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from pf_spamfilt import settings
from pf_spamfilt.admin.setups import mastercf
from pf_spamfilt.admin.site import Site

# In Postfix's configuration directory while a run has not come to its end: the next one has Postfix read its files
# again even if they need no change.
UNFINISHED = "pf-spamfilt.setup-unfinished"

NOT_DONE = "\nNothing has been changed. The same command with --apply does this."


class Step(NamedTuple):
    """One step: why, empty if it belongs to the step before; as shell; and what does it."""

    why: str
    shell: str
    act: Callable[[], object]


def run(site: Site, why: str, *words: str) -> Step:
    """Return the step that runs a command."""
    return Step(why, shlex.join(words), lambda: site.run(*words))


def postfix(site: Site, program: str, *words: str) -> list[str]:
    """Return the words that run one of Postfix's programs for this instance."""
    return [program, *([] if site.directory == settings.DEFAULT_FOLDER else ["-c", site.directory]), *words]


def write(why: str, file: str, text: str) -> Step:
    """Return the step that makes a file which all may read; it appears whole."""

    def act() -> None:
        new = Path(f"{file}.{os.getpid()}")
        new.write_text(text, "utf-8")
        new.chmod(0o644)
        new.replace(file)

    return Step(why, f"cat >{shlex.quote(file)} <<'END'\n{text}END", act)


def edits(site: Site, why: str, changes: Sequence[mastercf.Edit]) -> list[Step]:
    """Return a step for each edit of master.cf."""
    whys = [why] + [""] * len(changes)
    return [run(site, why, *postfix(site, "postconf", *edit)) for why, edit in zip(whys, changes, strict=False)]


def reload(site: Site, changed: bool) -> list[Step]:
    """Return the steps that have a running Postfix read its files, if they were changed, or a run has not ended."""
    if not (changed or _unfinished(site).exists()) or not _is_running(site):
        return []
    check = run(site, "Postfix reads it.", *postfix(site, "postfix", "check"))
    return [check, run(site, "", *postfix(site, "postfix", "reload"))]


def carry_out(site: Site, steps: Sequence[Step], do_it: bool) -> None:
    """Show the steps one after another and, if told so, do each. Raises ClickException at the first that fails."""
    if do_it and steps:
        _unfinished(site).touch()
    for step in steps:
        click.echo((f"\n# {step.why}\n" if step.why else "") + step.shell)
        if do_it:
            _do(step)
    if do_it:
        _unfinished(site).unlink(missing_ok=True)


def _do(step: Step) -> None:
    failed = "the last command above failed, those before it are done. Mend what it says, and run this again: "
    try:
        step.act()
    except click.ClickException as error:
        raise click.ClickException(failed + error.message) from None
    except OSError as error:
        raise click.ClickException(f"{failed}{error.filename}: {error.strerror}") from None


def _unfinished(site: Site) -> Path:
    return Path(site.directory, UNFINISHED)


def _is_running(site: Site) -> bool:
    """Tell whether Postfix runs; only root gets to know, for others it does."""
    try:
        return os.geteuid() != 0 or bool(site.run("postfix", "status") or True)
    except click.ClickException:
        return False
