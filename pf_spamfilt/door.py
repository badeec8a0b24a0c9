"""Which form of the command is this? The per-message form imports almost nothing, a form for people imports click."""

import posix  # what os is made of; os itself costs 0.9 ms, an eighth of the start
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# The launcher takes this off again, and believes no smaller status: an interpreter that never came here exits 0, too.
LAUNCHED = 100


def main() -> "NoReturn":
    """Run the command line and end the process, without the interpreter's own end, which could change the status."""
    _open_descriptors()
    _restore_locale()
    status = run(sys.argv[1:])
    posix._exit(status + LAUNCHED if "pf_spamfilt" in sys._xoptions else status)


def run(arguments: list[str]) -> int:
    """Return the exit status of the form that `arguments` call for.

    Only what comes first can be an option, and what has an `@` never is: a sender must not choose our options.
    """
    from pf_spamfilt import reinject

    config, arguments = take_config(arguments)
    first = arguments[0] if arguments else ""
    if first in reinject.HOOKS:
        from pf_spamfilt import hooks

        return hooks.run(first, arguments[1:], config)
    if first.startswith("-") and first != "--" and "@" not in first:
        import site

        site.main()  # the launcher's -S left it out
        from pf_spamfilt import cli

        return cli.run(arguments, config)
    from pf_spamfilt import filter

    return filter.run(reinject.Reinjection(arguments), config)


def take_config(arguments: list[str]) -> tuple[str, list[str]]:
    """Take a leading `--config FILE` off, so that a transport of its own can have it at no cost; no empty one."""
    file, rest = "", arguments
    if len(arguments) > 1 and arguments[0] == "--config":
        file, rest = arguments[1], arguments[2:]
    elif arguments and arguments[0].startswith("--config=") and "@" not in arguments[0]:
        file, rest = arguments[0].partition("=")[2], arguments[1:]
    return (file, rest) if file else ("", arguments)


def _open_descriptors() -> None:
    """Open what is closed of stdin, stdout and stderr: otherwise the message's file would take its place.

    Only for reading: what is written there is an error as before, and no message that was taken.
    """
    for fd in (0, 1, 2):
        try:
            posix.fstat(fd)
        except OSError:
            posix.open("/dev/null", posix.O_RDONLY)


def _restore_locale() -> None:
    """Put LC_CTYPE back, which the interpreter sets where the locale is C (PEP 538): what we start has our caller's."""
    before = sys._xoptions.get("lc_ctype")
    if isinstance(before, str):
        posix.environ.pop(b"LC_CTYPE", None)
        if before:
            posix.environ[b"LC_CTYPE"] = before.encode("utf-8", "surrogateescape")
