"""Which mail comes to the filter, whether what it gives back comes there again, and what else in main.cf concerns it.

Pure, but for the tables that restrictions name, which are read to find their FILTER actions.
"""

import difflib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from pf_spamfilt.admin.checks.findings import Finding, error, ok, warning
from pf_spamfilt.admin.checks.instance import Instance, Service, seconds, words
from pf_spamfilt.settings import DEFAULT_FOLDER

RELOAD = "postfix reload"
_SMTP = ("smtp", "25")
_SUBMISSION = ("submission", "submissions", "smtps", "465", "587")
# Who comes in here is known: each list is one that all mail has to pass.
_KNOWN = ("permit_mynetworks", "permit_sasl_authenticated", "permit_tls_clientcerts")
_LISTS = [f"smtpd_{stage}_restrictions" for stage in ("client", "helo", "sender", "relay", "recipient")]
_LOOPBACK = re.compile(r"\[?(127\.[\d.]+|localhost|::1)\]?")
# What cleanup(8) does with all mail, what the filter gives back too.
_CHECKS_OF_ALL_MAIL = ("header_checks", "body_checks", "mime_header_checks", "nested_header_checks")
# What delivers all mail, what the filter gives back too.
_DELIVERING = (
    "default_transport", "relay_transport", "virtual_transport", "local_transport", "mailbox_transport",
    "fallback_transport", "transport_maps",
)  # fmt: skip
_BLIND_COPIES = ("always_bcc", "sender_bcc_maps", "recipient_bcc_maps")
# Parameters that concern the filter, and those of its transport, behind its name.
_CONCERNING = ("content_filter", "command_time_limit", "receive_override_options", "authorized_submit_users")
_OF_TRANSPORTS = ("time_limit", "destination_recipient_limit", "destination_concurrency_limit")
_TABLE = re.compile(r"\b[a-z0-9_]+:(/[^\s,{}]+)")
_FILES_MAX = 8 << 20  # bytes of a table that are searched
_HOUR = 3600


def look(instance: Instance) -> Iterator[Finding]:
    """Yield what is found about the way of mail through this instance."""
    ours = [each.service for each in instance.transports]
    yield from about_filters(instance, ours)
    yield from about_loops(instance, ours)
    yield from about_deliveries(instance, ours)
    yield from about_duplicates(instance)
    yield from about_services(instance, ours, actions(instance, ours))
    yield from about_copies(instance, ours)
    yield from about_milters(instance)
    yield from about_queue(instance)


def _transport_of(value: str) -> str:
    """Return the transport that content_filter names."""
    return value.partition(":")[0]


def _is_filtered(instance: Instance, service: Service, ours: Sequence[str]) -> bool:
    return _transport_of(instance.value(service, "content_filter")) in ours


def about_filters(instance: Instance, ours: Sequence[str]) -> Iterator[Finding]:
    """Yield each content_filter that names a transport that there is not."""
    known = {each.name for each in instance.services}
    for service in [*instance.receiving(), *instance.running("pickup")]:
        value = instance.value(service, "content_filter")
        if value and _transport_of(value) not in known:
            text = f"{_set_in(instance, service)}: content_filter={value}: there is no such transport: mail waits"
            remedy = f"Run: postconf -P '{service.key}/content_filter={ours[0] if ours else 'spamcheck'}:' && {RELOAD}"
            yield error("content-filter", text, remedy)


def _set_in(instance: Instance, service: Service, name: str = "content_filter") -> str:
    """Return where a parameter of a service is set."""
    return f"{instance.master_cf}: {service.key}" if name in service.overrides else instance.main_cf


def about_loops(instance: Instance, ours: Sequence[str]) -> Iterator[Finding]:
    """Yield what brings mail that the filter has given back, by pickup(8), to the filter again."""
    for service in instance.running("pickup"):
        value = instance.value(service, "content_filter")
        if _transport_of(value) not in ours:
            yield ok(
                "loop", f"{instance.master_cf}: {service.key}: what the filter gives back does not come to it again"
            )
        elif "content_filter" in service.overrides:
            text = f"{instance.master_cf}: {service.key} has content_filter={value}: what the filter gives back loops"
            yield error("loop", text, f"Run: postconf -PX {service.key}/content_filter && {RELOAD}")
        else:
            text = f"{instance.main_cf}: content_filter={value} holds for pickup, too: what the filter gives back loops"
            remedy = f"Run: postconf -X content_filter; postconf -P '{_main_server(instance)}/content_filter={value}'"
            yield error("loop", text, f"{remedy}; {RELOAD}; postsuper -r ALL deferred")
    pickups = instance.running("pickup")
    if all("no_header_body_checks" in instance.value(each, "receive_override_options") for each in pickups):
        return
    values = {
        instance.main.get(name, ""): name for name in reversed(_CHECKS_OF_ALL_MAIL)
    }  # a default is another's value
    for value, name in values.items():
        for where in _filter_actions(value, ours):
            text = (
                f"{instance.main_cf}: {name}: FILTER in {where} holds for pickup, too: what the filter gives back loops"
            )
            yield error("loop", text, "Use content_filter of the smtpd service, or an access(5) table, instead")


def about_deliveries(instance: Instance, ours: Sequence[str]) -> Iterator[Finding]:
    """Yield what delivers mail by the filter, which is not where mail ends."""
    names = "|".join(map(re.escape, ours))
    named, entry = re.compile(rf"(?<![\w/-])(?:{names})(?=:|$)"), re.compile(rf"\s(?:{names}):")
    for name in _DELIVERING if ours else ():
        value = instance.main.get(name, "")
        if named.search(value) or any(entry.search(_text(file)) for file in _TABLE.findall(value)):
            text = f"{instance.main_cf}: {name}={value} has the filter deliver mail: what it gives back loops"
            yield error("loop", text, "Take the filter out there, and set content_filter of the smtpd service instead")


def about_duplicates(instance: Instance) -> Iterator[Finding]:
    """Yield each service that is there twice."""
    for key, count in Counter(each.key for each in instance.services).items():
        if count > 1:
            text = f"{instance.master_cf}: {key} is there {count} times: only the last one holds"
            yield warning("duplicate", text, f"Leave one of them there, then run: {RELOAD}")


def _main_server(instance: Instance) -> str:
    """Return the service by which foreign mail comes."""
    foreign = filter(_is_for_foreign_mail, instance.receiving())
    return next((each.key for each in foreign if not _is_closed(instance, each)), "smtp/inet")


def _is_for_foreign_mail(service: Service) -> bool:
    return not (_is_submission(service) or _is_local(service))


def _is_closed(instance: Instance, service: Service) -> bool:
    """Tell whether one of its lists lets in known clients, and then rejects all others."""
    return any(_rejects_strangers(words(instance.value(service, name))) for name in _LISTS)


def _rejects_strangers(names: Sequence[str]) -> bool:
    return names[-1:] == ["reject"] and all(word in _KNOWN or word.startswith("reject") for word in names)


def _is_submission(service: Service) -> bool:
    is_own = service.overrides.get("smtpd_sasl_auth_enable") == "yes"
    port = service.name.rpartition(":")[2]
    return port in _SUBMISSION or (is_own and port not in _SMTP and service.kind != "pass")


def _is_local(service: Service) -> bool:
    host, colon, _ = service.name.rpartition(":")
    return service.kind == "unix" or (colon != "" and _LOOPBACK.fullmatch(host) is not None)


def actions(instance: Instance, ours: Sequence[str]) -> list[str]:
    """Return where access(5) tables or restrictions say FILTER with one of our transports."""
    named = [instance.main] + [each.overrides for each in instance.receiving()]
    classes = words(instance.main.get("smtpd_restriction_classes", ""))
    values = [value for found in named for name, value in found.items() if _is_restriction(name) or name in classes]
    return list(dict.fromkeys(where for value in values for where in _filter_actions(value, ours)))


def _is_restriction(name: str) -> bool:
    return name.startswith("smtpd_") and name.endswith(("_restrictions", "_checks"))


def _filter_actions(value: str, ours: Sequence[str]) -> Iterator[str]:
    """Yield the texts and tables in the value of a parameter that say FILTER with one of our transports."""
    if not ours:
        return
    action = re.compile(rf"\bFILTER\s+(?:{'|'.join(map(re.escape, ours))})(?![\w-])", re.IGNORECASE)
    if action.search(value):
        yield "the value itself"
    for file in _TABLE.findall(value):
        if action.search(_text(file)):
            yield file


def _text(file: str) -> str:
    """Return what a file says, without comments."""
    try:
        with Path(file).open("rb") as stream:
            return re.sub(r"(?m)^\s*#.*", "", stream.read(_FILES_MAX).decode("utf-8", "replace"))
    except OSError:  # no file of text, such as a database, or Postfix's own complaint
        return ""


def about_services(instance: Instance, ours: Sequence[str], elsewhere: Sequence[str]) -> Iterator[Finding]:
    """Yield which services give mail to the filter; `elsewhere` are FILTER actions that do."""
    filtered = [each for each in instance.receiving() if _is_filtered(instance, each, ours)]
    for where in elsewhere:
        yield ok("unfiltered", f"{where}: FILTER gives mail to the filter")
    for service in instance.receiving():
        if service in filtered:
            yield ok("unfiltered", f"{instance.master_cf}: {service.key}: mail goes to the filter")
        elif elsewhere or not _is_for_foreign_mail(service) or (filtered and _is_closed(instance, service)):
            excuse = _excuse(instance, service)
            yield ok("unfiltered", f"{instance.master_cf}: {service.key}: no content_filter: {excuse}")
        else:
            yield warning("unfiltered", _unfiltered(instance, service), _remedy(service, ours))


def _excuse(instance: Instance, service: Service) -> str:
    """Return why it need not be wrong that mail which comes by a service is not filtered."""
    if _is_submission(service):
        return "it is for your own users"
    if _is_closed(instance, service):
        return "only clients that you know are let in"
    return "only this host can connect" if _is_local(service) else "FILTER decides what is filtered"


def _unfiltered(instance: Instance, service: Service) -> str:
    value = instance.value(service, "content_filter")
    what = f"content_filter={value} is not pf-spamfilt" if value else "no content_filter"
    return f"{instance.master_cf}: {service.key}: {what}: mail that comes here is not filtered"


def _remedy(service: Service, ours: Sequence[str]) -> str:
    if not ours:
        return "First see to what is said of the transport"
    return f"Run: postconf -P '{service.key}/content_filter={ours[0]}:' && {RELOAD}"


def about_copies(instance: Instance, ours: Sequence[str]) -> Iterator[Finding]:
    """Yield whether blind copies are made before the filter, and after it again."""
    copies = [name for name in _BLIND_COPIES if instance.main.get(name)]
    for service in instance.receiving() if copies else []:
        options = instance.value(service, "receive_override_options")
        if _is_filtered(instance, service, ours) and "no_address_mappings" not in options:
            text = (
                f"{instance.main_cf}: {', '.join(copies)}: made before the filter ({service.key}), and again after it"
            )
            value = ",".join(filter(None, (options, "no_address_mappings")))
            remedy = f"Run: postconf -P '{service.key}/receive_override_options={value}' && {RELOAD}"
            yield warning("bcc-twice", text, remedy)


def about_milters(instance: Instance) -> Iterator[Finding]:
    """Yield whether milters take what the filter gives back for mail of this host."""
    for service in instance.running("pickup"):
        milters = instance.value(service, "non_smtpd_milters")
        options = instance.value(service, "receive_override_options")
        if milters and "no_milters" not in options:
            text = (
                f"{_set_in(instance, service, 'non_smtpd_milters')}: non_smtpd_milters={milters} get filtered mail"
                " once more, as mail of this host: one that signs (DKIM) signs what came from outside"
            )
            value = ",".join(filter(None, (options, "no_milters")))
            remedy = f"Run: postconf -P '{service.key}/receive_override_options={value}' && {RELOAD}"
            yield warning(
                "milters", text, f"{remedy}. What this host's programs send then has to come by SMTP to be signed"
            )


def about_queue(instance: Instance) -> Iterator[Finding]:
    """Yield whether what is deferred waits long enough for somebody to mend what is wrong."""
    value = instance.main.get("maximal_queue_lifetime", "5d")
    if seconds(value, "d") < _HOUR:
        text = f"{instance.main_cf}: maximal_queue_lifetime={value}: what the filter defers bounces before it is mended"
        yield error("queue-lifetime", text, f"Run: postconf -X maximal_queue_lifetime && {RELOAD}")
    else:
        yield ok("queue-lifetime", f"{instance.main_cf}: maximal_queue_lifetime={value}: so long deferred mail waits")


def about_complaints(lines: Iterable[str], ours: Sequence[str]) -> Iterator[Finding]:
    """Yield what of postconf(1)'s warnings may concern the filter: of parameters without use, only misspelt ones."""
    meant = [f"{service}_{name}" for service in ours for name in _OF_TRANSPORTS] + list(_CONCERNING)
    for line in lines:
        _, unused, parameter = line.partition(": unused parameter: ")
        near = difflib.get_close_matches(parameter.partition("=")[0], meant, 1, 0.8)
        if near or not unused:
            yield warning("postconf", line, f"Mend it: did you mean {near[0]}?" if near else "Mend it")


def about_submission(instance: Instance, user: str, has: Callable[[str, str], bool]) -> Iterator[Finding]:
    """Yield whether the account may give mail to sendmail(1); `has` tells whether a table has a key."""
    name = "authorized_submit_users"
    value = instance.main.get(name, "static:anyone")
    if is_listed(value, user, has):
        yield ok("submit", f"{instance.main_cf}: {name}={value} allows {user}")
    else:
        text = f"{instance.main_cf}: {name}={value} does not allow {user}: all filtered mail waits"
        yield error("submit", text, f"Run: postconf -e '{name}={user}, {value}' && {RELOAD}")


def is_listed(value: str, name: str, has: Callable[[str, str], bool]) -> bool:
    """Tell whether `name` is in a list as Postfix reads it: names, tables and files, each perhaps with "!"."""
    if value.startswith("static:"):
        return True
    for word in words(value):
        item = word.lstrip("!")
        inside = is_listed(_text(item), name, has) if item.startswith("/") else _matches(item, name, has)
        if inside:
            return (len(word) - len(item)) % 2 == 0
    return False


def _matches(item: str, name: str, has: Callable[[str, str], bool]) -> bool:
    return has(item, name) if ":" in item else item.lower() == name.lower()


def about_directory(directory: str, allowed: str) -> Iterator[Finding]:
    """Yield whether postdrop(1) accepts this configuration directory: `allowed` are what the default one lists."""
    if directory == DEFAULT_FOLDER or directory in re.split(r"[\s,]+", allowed):
        yield ok("instance", f"{directory}: postdrop(1) accepts this configuration directory")
        return
    file = f"{DEFAULT_FOLDER}/main.cf"
    text = f"{file}: {directory} is not in alternate_config_directories: sendmail refuses what the filter gives back"
    yield error("instance", text, f"Add it there; now there are: {' '.join(allowed.split()) or 'none'}")


def about_delimiter(instance: Instance, delimiters: str, source: str) -> Iterator[Finding]:
    """Yield whether Postfix and the settings split addresses alike."""
    ours = instance.main.get("recipient_delimiter", "")
    if ours and set(ours) != set(delimiters):
        text = f'{source}: recipient_delimiter = "{delimiters}", but in {instance.main_cf} it is {ours}'
        yield warning("recipient-delimiter", text, f'Write recipient_delimiter = "{ours}" at the top of {source}')
    else:
        theirs = f"is {ours}" if ours else "is empty"
        yield ok(
            "recipient-delimiter", f'{source}: recipient_delimiter = "{delimiters}"; in {instance.main_cf} it {theirs}'
        )
