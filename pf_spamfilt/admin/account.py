"""The account that the filter runs as, and how this process becomes what pipe(8) makes of a command."""

import grp
import os
import posix
import pwd
from typing import NamedTuple, Protocol

# What pipe(8) gives a command, beside MAIL_CONFIG.
_ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LANG": "C"}
# What makes an account that owns nothing and can do nothing; its name comes after it.
USERADD = (
    *("useradd", "--system", "--user-group", "--no-create-home"),
    *("--home-dir", "/nonexistent", "--shell", "/usr/sbin/nologin"),
)


class Runner(Protocol):
    """Whatever starts the filter, as this account, and in this group, if not the account's own."""

    @property
    def user(self) -> str: ...  # noqa: D102

    @property
    def group(self) -> str: ...  # noqa: D102


class Account(NamedTuple):
    """User and group that a command runs as."""

    uid: int
    gid: int


class World(NamedTuple):
    """What pipe(8) gives a command: account (None: whoever we are), Postfix's configuration, working directory."""

    account: Account | None
    configuration: str
    directory: str


def account_of(runner: Runner) -> Account:
    """Return user and group of `user=`. Raises KeyError with what there is not, and the command that makes it."""
    try:
        user = pwd.getpwnam(runner.user)
    except KeyError:
        raise KeyError(f"there is no account {runner.user}", " ".join([*USERADD, runner.user])) from None
    try:
        return Account(user.pw_uid, grp.getgrnam(runner.group).gr_gid if runner.group else user.pw_gid)
    except KeyError:
        raise KeyError(f"there is no group {runner.group}", f"groupadd --system {runner.group}") from None


def usable(runner: Runner | None) -> Account | None:
    """Return the filter's account if this process can become it: root can, where the account exists."""
    if runner is None or os.geteuid():
        return None
    try:
        return account_of(runner)
    except KeyError:
        return None


def own_name() -> str:
    """Return the name of the account that this process is."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user id {os.geteuid()}"


def become(world: World) -> None:
    """Take on account, environment and directory, for good. Raises OSError."""
    # What the programs that we start get; os.environ would be a copy.
    posix.environ.clear()
    given = _ENVIRONMENT | {"MAIL_CONFIG": world.configuration}
    posix.environ.update({os.fsencode(name): os.fsencode(value) for name, value in given.items()})
    if world.account:
        os.setgroups([])
        os.setgid(world.account.gid)
        os.setuid(world.account.uid)
    os.chdir(world.directory)
