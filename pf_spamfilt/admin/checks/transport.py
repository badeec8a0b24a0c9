"""The filter's entry in master.cf, see pipe(8): what of it would lose, bounce, change or misjudge mail. Nearly pure."""

import os
from collections.abc import Iterator, Mapping

from pf_spamfilt.admin.account import Account, account_of
from pf_spamfilt.admin.checks.findings import Finding, error, ok, warning
from pf_spamfilt.admin.checks.instance import Instance, Service, seconds, words
from pf_spamfilt.admin.site import Site, Transport
from pf_spamfilt.door import take_config

SETUP = "Run: pf-spamfilt-admin setup"
_BY_SMTP = "For mail that comes by SMTP, run: pf-spamfilt-admin setup --apply"
_BY_LOCAL = "If you meant local delivery: no .procmailrc, .mailfilter or .forward that could be read names it yet"
# What a flag does that a filter must not have, and whether mail is lost by it.
_FLAGS = {
    "D": (error, "adds Delivered-To, for which local(8) bounces what the filter gives back, as a loop"),
    ".": (error, "changes lines that begin with a dot"),
    ">": (error, "changes lines that begin with From"),
    "B": (error, "adds an empty line to every message"),
    "X": (warning, "reports mail as delivered before it is"),
    "O": (warning, "adds X-Original-To to every message"),
    "F": (warning, "adds an mbox line to every message"),
    "u": (warning, "writes recipients in lower case, also for the mailbox"),
    "h": (warning, "writes recipients' domains in lower case, also for the mailbox"),
}
_MISSING_FLAGS = {
    "R": "SpamAssassin does not see the envelope's sender (Return-Path)",
    "q": "an address with quotes in it may become another one",
}
_KNOWN_FLAGS = "BDFORXhqu.>"
_ATTRIBUTES = {"flags", "user", "null_sender", "chroot", "directory", "eol", "size"}
_NO_COMPATIBILITY = ("0", "")


def look(instance: Instance, site: Site) -> Iterator[Finding]:
    """Yield what is found about all transports that run the filter."""
    if not instance.transports:
        text = f"{instance.master_cf}: no transport runs pf-spamfilt, nor does mailbox_command in {instance.main_cf}"
        yield error("transport", text, f"{_BY_SMTP}. {_BY_LOCAL}")
    for transport in instance.transports:
        found = list(_about(transport, instance))
        yield from found or [ok("transport", f"{_where(transport, instance)}: the entry is as it should be")]
        yield from about_path(transport.argv[0], site.command, _where(transport, instance))
        yield from about_user(transport, instance)
        yield from about_command(transport.argv, _where(transport, instance))


def _there(what: str) -> str:
    """Return a remedy in master.cf."""
    return f"{what} there, then run: postfix reload"


def _where(transport: Transport, instance: Instance) -> str:
    return f"{instance.master_cf}: {transport.service}"


def _about(transport: Transport, instance: Instance) -> Iterator[Finding]:
    where = _where(transport, instance)
    yield from about_columns(instance.entry(transport), instance.main.get("compatibility_level", ""), where)
    yield from about_flags(transport.options.get("flags", ""), where)
    yield from about_null_sender(transport.options.get("null_sender"), where)
    yield from about_attributes(transport.options, instance.entry(transport), where)
    yield from about_limits(transport.options, instance.main.get("message_size_limit", "0"), where)
    if "chroot" in transport.options:
        text = f"{where}: chroot={transport.options['chroot']}: the filter needs the whole file system"
        yield error("transport-chroot", text, _there("Take chroot= out"))
    if transport.service in words(instance.main.get("defer_transports", "")):
        text = f"{instance.main_cf}: defer_transports has {transport.service}: all mail for the filter waits"
        yield error("transport-deferred", text, f"Take {transport.service} out, then run: postfix reload")


def about_columns(service: Service, compatibility: str, where: str) -> Iterator[Finding]:
    """Yield what is wrong with the columns before the command; `compatibility` is compatibility_level."""
    if service.kind != "unix" or service.private == "n":
        text = f"{where}: qmgr(8) finds only transports of type unix that are private: mail waits"
        yield error("transport-private", text, _there(f"Write {service.name} unix - n n"))
    if service.unprivileged != "n":
        text = f"{where}: column unpriv is {service.unprivileged}: pipe(8) needs n to become another user"
        yield error("transport-unpriv", text, f"Run: postconf -F {service.key}/unprivileged=n && postfix reload")
    if service.chroot == "y" or (service.chroot == "-" and compatibility in _NO_COMPATIBILITY):
        text = f"{where}: column chroot is {service.chroot}: the filter needs the whole file system"
        yield error("transport-chroot", text, f"Run: postconf -F {service.key}/chroot=n && postfix reload")


def about_flags(flags: str, where: str) -> Iterator[Finding]:
    """Yield what is wrong with `flags=`."""
    for flag in flags:
        if flag in _FLAGS:
            make, what = _FLAGS[flag]
            yield make("transport-flags", f"{where}: flags={flags}: {flag} {what}", _there("Write flags=Rq"))
        elif flag not in _KNOWN_FLAGS:
            text = f"{where}: flags={flags}: there is no flag {flag}: pipe(8) does not start, and mail waits"
            yield error("transport-flags", text, _there("Write flags=Rq"))
    for flag, what in _MISSING_FLAGS.items():
        if flag not in flags:
            yield warning("transport-flags", f"{where}: flags={flags} without {flag}: {what}", _there("Write flags=Rq"))


def about_attributes(options: Mapping[str, str], service: Service, where: str) -> Iterator[Finding]:
    """Yield each attribute that pipe(8) does not know."""
    if any("{" in name or "{" in value for name, value in options.items()):  # what belongs together cannot be told
        return
    for name in sorted(set(options) - _ATTRIBUTES - set(service.overrides)):
        text = f"{where}: {name or '='}: there is no such attribute: pipe(8) does not start, and mail waits"
        yield error("transport-attribute", text, _there("Mend its name"))


def about_limits(options: Mapping[str, str], largest: str, where: str) -> Iterator[Finding]:
    """Yield what `size=` bounces and `eol=` changes; `largest` is message_size_limit, in bytes."""
    size = options.get("size", "0")
    most = int(largest) if largest.isdigit() else 0
    if not size.isdigit() or 0 < int(size) < (most or float("inf")):
        what = "bounces what is larger" if size.isdigit() else "is no number: pipe(8) does not start, and mail waits"
        yield error("transport-size", f"{where}: size={size} {what}", _there("Take size= out"))
    if "eol" in options:
        text = f"{where}: eol={options['eol']} changes the end of every line"
        yield error("transport-eol", text, _there("Take eol= out"))


def about_null_sender(value: str | None, where: str) -> Iterator[Finding]:
    """Yield what is wrong with `null_sender=`; None: it is not there."""
    if value is None:
        text = f"{where}: null_sender= is missing: bounces have Return-Path MAILER-DAEMON, as if somebody had sent them"
        yield warning("transport-null-sender", text, _there("Write null_sender= before argv="))
    elif value:
        text = f"{where}: null_sender={value}: bounces come back as mail from {value}"
        yield error("transport-null-sender", text, _there("Write null_sender= with nothing after it"))


def about_command(argv: list[str], where: str) -> Iterator[Finding]:
    """Yield what is wrong with the arguments of `argv=`: `--config FILE`, `--`, sender, recipients, nothing else."""
    _, words = take_config(argv[1:])
    guarded = words[:1] == ["--"]
    if [_macro(word) for word in (words[1:] if guarded else words)] != ["sender", "recipient"]:
        text = f"{where}: argv={' '.join(argv)}: the filter takes sender and recipients, and nothing else"
        yield error("transport-argv", text, _there(f"Write argv={argv[0]} -- ${{sender}} ${{recipient}}"))
    elif not guarded:
        text = f"{where}: -- is missing before ${{sender}}: a sender may look like an option"
        yield warning("transport-argv", text, _there(f"Write argv={' '.join(argv[:-2])} -- ${{sender}} ${{recipient}}"))


def _macro(word: str) -> str:
    """Return the name in ${name}, $(name) and $name."""
    name = word[1:] if word.startswith("$") else ""
    return name[1:-1] if name[:1] + name[-1:] in ("{}", "()") else name


def about_path(path: str, ours: str, where: str) -> Iterator[Finding]:
    """Yield what is wrong with the file that `argv=` names; `ours` is that of this installation."""
    if not os.path.exists(path):
        yield error("transport-path", f"{where}: {path}: there is no such file", _there(f"Write argv={ours}"))
    elif os.path.realpath(path) != os.path.realpath(ours):
        text = f"{where}: {path} is not of this installation, which has {ours}"
        yield warning("transport-path", text, f"Write argv={ours} there, or check with what is beside {path}")
    elif os.path.islink(path):
        text = f"{where}: {path} is a symbolic link: that costs a process for each message"
        yield warning("transport-path", text, _there(f"Write argv={os.path.realpath(path)}"))
    else:
        yield ok("transport-path", f"{where}: {path} is the filter of this installation")


def about_user(transport: Transport, instance: Instance) -> Iterator[Finding]:
    """Yield what is wrong with `user=`."""
    where, named = _where(transport, instance), transport.options.get("user")
    if not named:
        yield error("transport-user", f"{where}: user= is missing: Postfix refuses to run it", SETUP)
        return
    where += f": user={named}"
    try:
        account = account_of(transport)
    except KeyError as missing:
        yield error("transport-user", f"{where}: {missing.args[0]}: mail waits", f"Run: {missing.args[1]}")
        return
    if refused := refusal(account, instance):
        yield error("transport-user", f"{where} {refused}: Postfix refuses it", "Make an account for the filter alone")
    elif transport.user == "nobody":
        text = f"{where}: other programs run as nobody, too, and can see and stop the filter"
        yield warning("transport-user", text, "Make an account for the filter alone")
    else:
        yield ok("transport-user", f"{where}: user id {account.uid}, group id {account.gid}")


def refusal(account: Account, instance: Instance) -> str:
    """Return why pipe(8) does not run commands as this account; empty if it does."""
    if account.uid == 0:
        return "is root"
    if account.gid == 0:
        return "is in root's group"
    if account.uid == instance.owner.uid:
        return "is the owner of the mail system (mail_owner)"
    if account.gid == instance.owner.gid:
        return "is in the group of the owner of the mail system (mail_owner)"
    return "is in the group setgid_group" if account.gid == instance.postdrop else ""


def about_time(transport: Transport, instance: Instance, deadline: int, source: str) -> Iterator[Finding]:
    """Yield what is wrong with Postfix's limit, past which it bounces, and the filter's `deadline` in seconds."""
    name, service = f"{transport.service}_time_limit", instance.entry(transport)
    general = instance.main.get("command_time_limit", "")
    value = instance.value(service, name)
    if name not in service.overrides and value in ("", general):  # its default
        name, value = "command_time_limit", instance.value(service, "command_time_limit")
    limit = seconds(value)
    if deadline < limit:
        yield ok("time-limit", f"{source}: deadline, {deadline} s, is below Postfix's {name}, {limit} s")
        return
    text = f"{source}: [limits] deadline = {deadline} is not below Postfix's {name}, {limit} s, past which it bounces"
    remedy = f"Lower deadline, or run: postconf -e {transport.service}_time_limit={deadline + 100}s && postfix reload"
    yield error("time-limit", text, remedy)


def about_processes(transport: Transport, instance: Instance, timeout: int, children: int) -> Iterator[Finding]:
    """Yield whether filters wait too long for spamd, of which `children` scan at once; `timeout` in seconds."""
    column = instance.entry(transport).process_limit
    limit = int(instance.main.get("default_process_limit", "100") if column == "-" else column)
    where = f"{_where(transport, instance)}: "
    known = f"{limit or 'any number of'} filters at once, {children} children of spamd"
    if limit and slow_rounds(limit, children) * SLOW_SCAN <= timeout:
        yield ok("process-limit", where + known)
        return
    text = f"{where}{known}: where a scan takes {SLOW_SCAN} s, the last of them waits longer than timeout, {timeout} s"
    remedy = f"Run: postconf -F {transport.service}/unix/process_limit={children} && postfix reload"
    yield warning("process-limit", text, remedy)


# What a scan takes when servers on the network are slow to answer, in seconds.
SLOW_SCAN = 30


def slow_rounds(processes: int, children: int) -> int:
    """Return how many scans one after another each child has to do for all processes."""
    return -(-processes // max(1, children))
