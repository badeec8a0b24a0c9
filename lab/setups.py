"""The set-ups of examples/ on the lab's Postfix and spamd: each file as it is, but for paths and addresses.

Each is a context manager: inside the with block the mail host runs so, afterwards as before. The tests prove them, the
benchmark measures them. A file that no longer says what is replaced here is a LabError.
"""

import contextlib
import re
import shutil
import smtplib
from collections.abc import Callable, Iterator
from typing import NamedTuple

from lab import dovecot
from lab.local_users import INSTALLED, User, accounts, delivering
from lab.mailhost import MailHost
from lab.second import Second
from lab.spamd import Spamd
from lab.tools import PROJECT, LabError, free_port, run

EXAMPLES = PROJECT / "examples"
# A Postfix of the lab has no SMTP client. This one cannot reach another machine: from here there is no way to one.
_CLIENT = "{name} unix - - n - - smtp -o smtp_bind_address=127.0.0.1\n"


def adapted(name: str, places: dict[str, str]) -> str:
    """Return a file of examples/ with these regular expressions replaced, each once and not in comments."""
    lines = (EXAMPLES / name).read_text(encoding="utf-8").splitlines(keepends=True)
    for pattern, replacement in places.items():
        found = [number for number, line in enumerate(lines) if line[0] != "#" and re.search(pattern, line)]
        if len(found) != 1:
            raise LabError(f"examples/{name}: {pattern} is in {len(found)} lines instead of one")
        lines[found[0]] = re.sub(pattern, lambda _, new=replacement: new, lines[found[0]])
    return "".join(lines)


def master(name: str, host: MailHost, ports: dict[str, int]) -> str:
    """Return a master.cf of examples/ with the lab's command, and these ports in place of the services' names."""
    places = {rf"^{re.escape(service)}(?= +inet )": f"127.0.0.1:{port}" for service, port in ports.items()}
    return adapted(name, {INSTALLED: host.command} | places)


def install(name: str, host: MailHost, places: dict[str, str] | None = None, *, table: bool = False) -> None:
    """Put a file of examples/ where its name says, into /etc/postfix; of a table make the database, too."""
    file = host.postfix.configuration / name.rpartition("/")[2]
    file.write_text(adapted(name, places or {}), encoding="utf-8")
    if table:
        run(["postmap", file])


def answer(port: int, address: str, recipient: str) -> int:
    """Return what is said to a client from this address that names a recipient; its Postfix has to have XCLIENT."""
    with smtplib.SMTP("127.0.0.1", port, "client.example") as client:
        client.ehlo()
        code, _ = client.docmd("XCLIENT", f"ADDR={address} NAME=[UNAVAILABLE]")
        if code != 220:
            raise LabError(f"port {port}: XCLIENT is answered with {code}, not 220")
        client.ehlo()
        client.mail("stranger@client.example")
        return client.rcpt(recipient)[0]


XCLIENT = "smtpd_authorized_xclient_hosts = 127.0.0.1"


@contextlib.contextmanager
def per_user(host: MailHost, main: str = "") -> Iterator[int]:
    """Run examples/per-user, with these further lines for main.cf; gives the port of its submission service."""
    port = free_port()
    entries = master("per-user/master.cf", host, {"smtp": host.postfix.port, "submission": port})
    install("per-user/pf-spamfilt.toml", host, {r"^(?=user = )": f'servers = ["{host.spamd.address}"]\n'})
    with host.postfix.changed(adapted("per-user/main.cf", {}) + main, entries):
        yield port


@contextlib.contextmanager
def rewriting(host: MailHost, entries: str = "") -> Iterator[None]:
    """Run with the rewritings of examples/before-rewriting, and these entries in master.cf."""
    for name in ("virtual", "canonical"):
        install(f"before-rewriting/{name}", host, table=True)
    with host.postfix.changed(adapted("before-rewriting/main.cf", {}), entries):
        yield


def before_rewriting(host: MailHost, name: str = "master.cf") -> str:
    """Return the entries of examples/before-rewriting: those of master.cf or of pre-cleanup.cf."""
    return master(f"before-rewriting/{name}", host, {"smtp": host.postfix.port})


class Gateway(NamedTuple):
    """The gateway of examples/gateway, which is the lab's Postfix, and the inner server, which is a second one."""

    inner: Second
    inside_port: int


# The lab's share: the world, to which the gateway sends, is its maildir; inside are jane and sam, in another.
_WORLD = "virtual_mailbox_domains =\ndefault_transport = virtual\n"
_MAILBOXES = """\
virtual_mailbox_domains = example.com
virtual_mailbox_maps = inline:{ {jane@example.com = all/}, {sam@example.com = all/} }
default_transport = smtp
"""


@contextlib.contextmanager
def gateway(host: MailHost) -> Iterator[Gateway]:
    """Run examples/gateway."""
    with Second(host) as inner:
        found = Gateway(inner, free_port())
        install("gateway/transport", host, {r"\[10\.0\.0\.25\]:25$": f"[127.0.0.1]:{inner.plain_port}"}, table=True)
        install("gateway/relay_recipients", host, table=True)
        ports = {"192.0.2.1:smtp": host.postfix.port, "10.0.0.1:smtp": found.inside_port}
        entries = master("gateway/master.cf", host, ports) + _CLIENT.format(name="relay")
        with host.postfix.changed(adapted("gateway/main.cf", {}) + _WORLD + inner.allowed, entries):
            start_inner(found)
            yield found


def start_inner(found: Gateway) -> None:
    """Start the gateway's inner server, anew if it runs."""
    gateway_address = {r"\[10\.0\.0\.1\]:25$": f"[127.0.0.1]:{found.inside_port}", r"10\.0\.0\.1(?==OK)": "127.0.0.1"}
    main = adapted("gateway/inner/main.cf", gateway_address) + _MAILBOXES
    found.inner.run_with(main, _CLIENT.format(name="smtp"))


class Pool(NamedTuple):
    """The second filtering host of examples/pool, and the second spamd; the first of each are the lab's own."""

    second: Second
    spamd: Spamd


@contextlib.contextmanager
def pool(host: MailHost, local_cf: str = "") -> Iterator[Pool]:
    """Run examples/pool, the second spamd with these further lines for its local.cf."""
    with contextlib.ExitStack() as clean_up:
        second = clean_up.enter_context(Second(host))
        spamd = Spamd(second.lab, host.spamd.children, local_cf)
        clean_up.callback(spamd.stop)
        servers = {"spamd1.example.com:783": host.spamd.address, "spamd2.example.com:783": spamd.address}
        install("pool/pf-spamfilt.toml", host, servers)
        shutil.copy(host.postfix.configuration / "pf-spamfilt.toml", second.configuration)
        spamd.start()
        entries = master("pool/master.cf", host, {"smtp": host.postfix.port})
        clean_up.enter_context(host.postfix.changed(second.allowed, entries))
        second.run_with(master=master("pool/master.cf", host, {"smtp": second.port}))
        yield Pool(second, spamd)


class Way(NamedTuple):
    """A way of local delivery: the setting of examples/main.cf.local, and who puts what it needs into a user's home.

    `around` is what must be for all of them meanwhile.
    """

    setting: str
    prepare: Callable[[User], None] = lambda _: None
    around: Callable[[MailHost], contextlib.AbstractContextManager[object]] = contextlib.nullcontext


LOCAL_SETTINGS: list[str] = re.findall(
    r"^#(mailbox_command = .*)", (EXAMPLES / "main.cf.local").read_text(encoding="utf-8"), re.MULTILINE
)
PROCMAIL, PIPED_PROCMAIL, PIPED_MAILDROP, PIPED_DOVECOT, MAILDROP = LOCAL_SETTINGS
WAYS = {
    "procmail with the procmailrc": Way(PROCMAIL, lambda user: user.example("procmailrc", ".procmailrc")),
    "the filter, then procmail": Way(PIPED_PROCMAIL),
    "the filter, then maildrop": Way(PIPED_MAILDROP),
    "the filter, then Dovecot": Way(PIPED_DOVECOT, around=dovecot.configured),
    "maildrop with the mailfilter": Way(MAILDROP, lambda user: user.example("mailfilter", ".mailfilter")),
    "the forward": Way("", lambda user: user.example("forward", ".forward")),
}


@contextlib.contextmanager
def sieve(host: MailHost) -> Iterator[None]:
    """Let Dovecot be as examples/sieve has it."""
    with dovecot.configured(host) as folder:
        for name in ("sieve", "sieve-filter"):
            (folder / name).mkdir()
        script = folder / "sieve" / "pf-spamfilt.sieve"
        shutil.copy(EXAMPLES / "sieve" / f"dovecot-{dovecot.version()}.conf", folder / "conf.d" / "95-pf-spamfilt.conf")
        shutil.copy(EXAMPLES / "sieve" / script.name, script)
        (folder / "sieve-filter" / "pf-spamfilt").symlink_to(host.command)
        run(["sievec", script])
        yield


SIEVE = Way(f'mailbox_command = {dovecot.PROGRAM} -f "$SENDER" -a "$RECIPIENT"', around=sieve)


@contextlib.contextmanager
def local_delivery(host: MailHost, way: Way, *names: str) -> Iterator[dict[str, User]]:
    """Let Postfix deliver in one of these ways to accounts of these names, who have in their homes what it needs."""
    with way.around(host), accounts(host, *names) as users:
        for user in users.values():
            way.prepare(user)
        with delivering(host, way.setting.replace(INSTALLED, host.command)):
            yield users
