"""Postfix's configuration as facts, read with postconf(1), never from files: entries of master.cf, parameters."""

import grp
import pwd
import re
from collections.abc import Mapping
from typing import NamedTuple

from pf_spamfilt.admin.account import Account
from pf_spamfilt.admin.site import Site, Transport

_FILE_OF_TABLE = re.compile(r"\b[a-z]+:(/[^\s,]+)")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
# What takes in mail, and has content_filter and receive_override_options.
_RECEIVING = ("smtpd", "qmqpd")


class Service(NamedTuple):
    """An entry of master.cf, its columns as they stand there, and what its -o options set."""

    name: str
    kind: str
    private: str
    unprivileged: str
    chroot: str
    process_limit: str
    program: str
    overrides: Mapping[str, str] = {}

    @property
    def key(self) -> str:
        """Its name for postconf -M and -P."""
        return f"{self.name}/{self.kind}"


class Instance(NamedTuple):
    """One Postfix: `main` are all its parameters, expanded; `owner` and `postdrop` (a group) run its own programs."""

    directory: str
    services: list[Service]
    main: Mapping[str, str]
    transports: list[Transport]
    owner: Account
    postdrop: int

    @property
    def master_cf(self) -> str:
        """The file of the services."""
        return f"{self.directory}/master.cf"

    @property
    def main_cf(self) -> str:
        """The file of the parameters."""
        return f"{self.directory}/main.cf"

    @property
    def is_local(self) -> bool:
        """Whether local(8) delivers what is for this host: it follows aliases and ~/.forward."""
        return (self.main.get("local_transport") or "local").startswith("local")

    def value(self, service: Service, name: str) -> str:
        """Return what holds for a service: its own option, or the parameter."""
        return service.overrides.get(name, self.main.get(name, ""))

    def running(self, program: str) -> list[Service]:
        """Return the services that run this program."""
        return [each for each in self.services if each.program == program]

    def receiving(self) -> list[Service]:
        """Return the services by which mail comes from the network."""
        return [service for program in _RECEIVING for service in self.running(program)]

    def entry(self, transport: Transport) -> Service:
        """Return the columns of a transport."""
        return next(each for each in self.running("pipe") if each.name == transport.service)


def files_of(tables: str) -> list[str]:
    """Return the files of lookup tables such as hash:/etc/aliases; of others nothing."""
    return _FILE_OF_TABLE.findall(tables)


def words(value: str) -> list[str]:
    """Return the words of a parameter's value, which may have commas between them."""
    return value.replace(",", " ").split()


def read(site: Site) -> Instance:
    """Ask for all of it. Raises ClickException if postconf(1) cannot say."""
    main = parameters(site.postconf("-x"))
    found = services(site.postconf("-M"), site.postconf("-x", "-P"))
    owner, postdrop = _owner(main.get("mail_owner", "")), _group(main.get("setgid_group", ""))
    return Instance(site.directory, found, main, site.transports, owner, postdrop)


def complaints(site: Site) -> list[str]:
    """Return what postconf(1) warns of in both files, a parameter that nothing uses for example."""
    ask = "postconf -n 2>&1 >/dev/null; postconf -P 2>&1 >/dev/null"
    lines = site.run("sh", "-c", ask).splitlines()
    return list(dict.fromkeys(line.removeprefix("postconf: ").removeprefix("warning: ") for line in lines))


def parameters(text: str) -> dict[str, str]:
    """Read the lines `name = value` that postconf(1) prints."""
    pairs = (line.partition(" =") for line in text.splitlines())
    return {name: value.strip() for name, equals, value in pairs if equals}


def services(entries: str, options: str) -> list[Service]:
    """Read the entries that `postconf -M` prints, and the options that `postconf -P` does."""
    overrides: dict[str, dict[str, str]] = {}
    for name, value in parameters(options).items():
        service, _, parameter = name.rpartition("/")
        overrides.setdefault(service, {})[parameter] = value
    return [_service(line.split(), overrides) for line in entries.splitlines() if line.strip()]


def _service(words: list[str], overrides: Mapping[str, Mapping[str, str]]) -> Service:
    name, kind, private, unprivileged, chroot, _, limit, program = words[:8]
    return Service(name, kind, private, unprivileged, chroot, limit, program, overrides.get(f"{name}/{kind}", {}))


def _owner(name: str) -> Account:
    try:
        found = pwd.getpwnam(name)
    except KeyError:
        return Account(-1, -1)
    return Account(found.pw_uid, found.pw_gid)


def _group(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return -1


def seconds(text: str, unit: str = "s") -> int:
    """Return a time as Postfix writes it, `1000s` or `5d`, in seconds; `unit` is that of a bare number."""
    found = re.fullmatch(r"(\d+)\s*([smhdw]?)\w*", text)
    return int(found[1]) * _UNITS[found[2] or unit] if found else 0
