"""One Postfix instance and its filter: where its files are, and what its master.cf says of the filter's transport."""

import functools
import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import click

from pf_spamfilt import settings
from pf_spamfilt.cli import installed
from pf_spamfilt.door import take_config

NAME = "pf-spamfilt"
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


class Transport(NamedTuple):
    """An entry of master.cf that has pipe(8) run the filter; `user` and `group` as they stand there."""

    service: str
    process_limit: str
    options: dict[str, str]
    argv: list[str]

    @property
    def user(self) -> str:
        """The account that the filter runs as; empty if there is none."""
        return self.options.get("user", "").partition(":")[0]

    @property
    def group(self) -> str:
        """The group after the account's name; empty: the account's own."""
        return self.options.get("user", "").partition(":")[2]

    @property
    def settings_file(self) -> str:
        """What `--config` names on the filter's command line; empty: the instance's own."""
        return take_config(self.argv[1:])[0]


class Site:
    """Postfix's configuration directory, and the settings file that its filter reads."""

    def __init__(self, directory: str, config: str = "") -> None:
        self._directory = directory
        self._config = config

    @functools.cached_property
    def directory(self) -> str:
        """Postfix's configuration directory. Raises ClickException if there is none: not every command needs one."""
        if not Path(self._directory).is_dir():
            raise click.ClickException(
                f"{self._directory}: there is no such directory: install Postfix,"
                " or name its configuration directory with -c"
            )
        return self._directory

    @functools.cached_property
    def settings_file(self) -> str:
        """The settings file: as on our command line, as on the transport's, or the instance's own."""
        if self._config:
            return os.path.abspath(self._config)
        try:
            named = [each.settings_file for each in self.transports if each.settings_file]
        except click.ClickException:  # no Postfix here, or one that is not configured: then nothing is named
            named = []
        return named[0] if named else self.own_settings_file

    @property
    def own_settings_file(self) -> str:
        """The settings file of a filter that is told none. Raises ClickException if there is no such directory."""
        return f"{self.directory}/{settings.FILE_NAME}"

    @property
    def config_option(self) -> list[str]:
        """What a command line needs for these settings; nothing for the instance's own."""
        return ["--config", self.settings_file] if self.settings_file != self.own_settings_file else []

    def filters(self) -> list[tuple[Transport | None, str, bool]]:
        """Return each transport with the settings file that its filter reads, and whether that is named and must exist.

        Of all transports, or of the settings file that our own command line names. Without any transport there is one
        filter, which nothing runs. Raises ClickException if there is no such directory.
        """
        if self._config or self.transport is None:
            return [(self.transport, self.settings_file, bool(self._config))]
        return [(each, *self.reads(each.settings_file)) for each in self.transports]

    def reads(self, named: str) -> tuple[str, bool]:
        """Return the settings file of a filter whose command line names this one, or none, and whether it must exist.

        What our own command line names holds for all. Raises ClickException as filters() does.
        """
        named = self._config or named
        return os.path.abspath(named) if named else self.own_settings_file, bool(named)

    @functools.cached_property
    def command(self) -> str:
        """The path of the filter itself."""
        return installed(NAME)

    def settings(self) -> settings.Settings:
        """Return the settings. Raises SettingsError."""
        return settings.load(self.settings_file, required=bool(self._config or self.config_option))

    def run(self, *words: str) -> str:
        """Run one of Postfix's commands for this instance, and return what it printed.

        Raises ClickException with what it said if it cannot be run or fails.
        """
        done = self._run(*words)
        if done.returncode:
            raise click.ClickException(f"{' '.join(words)}: {done.stderr.strip() or done.returncode}")
        return done.stdout

    def _run(self, *words: str) -> "subprocess.CompletedProcess[str]":
        environment = os.environ | {"MAIL_CONFIG": self.directory, "PATH": f"{os.environ.get('PATH', '')}:{_SBIN}"}
        program = shutil.which(words[0], path=environment["PATH"])
        if not program:
            raise click.ClickException(f"{words[0]}: there is no such program: is Postfix installed?")
        return subprocess.run([program, *words[1:]], env=environment, capture_output=True, text=True, errors="replace")

    def lookup(self, key: str, table: str, program: str = "postmap") -> str:
        """Return what a table has for a key; empty: nothing. Raises ClickException if it cannot be asked.

        postmap(1) and postalias(1) end with 1 for both, but say nothing if only the key is not there.
        """
        done = self._run(program, "-q", key, table)
        if done.returncode and done.stderr.strip():
            raise click.ClickException(f"{table}: {done.stderr.strip()}")
        return done.stdout

    def postconf(self, *words: str) -> str:
        """Ask Postfix's configuration of this instance, and return what was printed."""
        return self.run("postconf", "-c", self.directory, *words)

    def setting(self, name: str) -> str:
        """Return the value of a main.cf parameter, expanded."""
        return self.postconf("-x", "-h", name).strip()

    @functools.cached_property
    def transports(self) -> list[Transport]:
        """The entries of master.cf that have pipe(8) run the filter."""
        return [found for line in self.postconf("-M").splitlines() if (found := _transport(line))]

    @functools.cached_property
    def transport(self) -> Transport | None:
        """The entry whose filter reads these settings, or else the first; None where there is none, or no Postfix."""
        try:
            found = self.transports
            own = self.own_settings_file
        except click.ClickException:
            return None
        matching = [each for each in found if (each.settings_file or own) == self.settings_file]
        return next(iter(matching or found), None)


def _transport(line: str) -> Transport | None:
    """Read an entry as `postconf -M` prints it, if it is one of ours."""
    words = line.split()
    if len(words) < 8 or words[7] != "pipe":
        return None
    before, _, after = " ".join(words[8:]).partition("argv=")
    argv = after.split()
    pairs = [word.partition("=")[::2] for word in before.split() if not word.startswith("-")]
    options = {name.lower(): value for name, value in pairs}  # pipe(8) minds no case
    return Transport(words[0], words[6], options, argv) if argv and Path(argv[0]).name == NAME else None
