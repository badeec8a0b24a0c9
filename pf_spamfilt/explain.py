"""--explain: scan for real, deliver nothing, and tell a person what would be done, and why."""

import os
import shlex
import time
from collections import Counter
from collections.abc import Iterator

import click

from pf_spamfilt import describe, examine, headers, policy, policy_keys, report, settings, spool, wishes
from pf_spamfilt.describe import Notes, section
from pf_spamfilt.dispose import Disposal
from pf_spamfilt.exits import OK, UNAVAILABLE, Ended, UsageError
from pf_spamfilt.filter import Filter
from pf_spamfilt.policy import Treatment
from pf_spamfilt.reinject import Reinjection
from pf_spamfilt.spool import Message


def run(arguments: list[str], config: str) -> int:
    """Explain the message on stdin to stdout; return the status that the filter would have."""
    if os.isatty(0):
        click.echo("Type or paste the message, then ^D on a line of its own.", err=True)
    record, notes = report.Record(), Notes()
    source = config or settings.path()
    try:
        record.sender, *record.recipients = [os.fsencode(argument) for argument in arguments or [""]]
        if len(arguments) == 1:
            raise UsageError("a sender needs recipients")
        chosen = settings.load(source, required=bool(config))
        section("Settings", _describe_settings(source, chosen))
        return _explain(Filter(Reinjection(arguments), chosen, notes, record, time.monotonic()), notes, source)
    except Ended as error:
        section("Notes", _numbered(notes.lines))
        section("Outcome", [("status", _status(error)), ("log", report.printable(f"{error.code} {error.text}", 300))])
        return error.status


def _explain(running: Filter, notes: Notes, source: str) -> int:
    original = running.read()
    message = running.without_forgery(original)
    section("Envelope", _describe_envelope(running))
    everybody = wishes.gather(running.envelope, running.fields, running.settings, running.scan_deadline, notes)
    try:
        scans = examine.examine(running, message, everybody)
    finally:
        section("Scan", _describe_scans(running.record, notes))
    treatments = running.decide(everybody, scans)
    disposal = Disposal(running, message, treatments)
    if running.envelope.recipients:
        disposal.check()
    for treatment in treatments:
        rows = _describe_treatment(treatment, disposal.destination(treatment), source)
        section(f"Recipient {_address(treatment)}", rows)
    for group in policy.grouped(treatments, lambda each: (each.end, each.copy_key)):
        names = ", ".join(map(_address, group))
        section(f"Copy for {names}", _describe_copy(original, disposal, group))
    section("Notes", _numbered(notes.lines))
    return _describe_outcome(disposal)


def _describe_outcome(disposal: Disposal) -> int:
    refusal = disposal.refusal()
    if not disposal.envelope.recipients:
        section("Outcome", [("none", "there is no recipient to deliver to")])
        return OK
    disposal.record_outcomes()
    summary = f"5.7.1 {refusal}" if refusal else report.summary(disposal.record)
    status = f"{UNAVAILABLE}: Postfix bounces the message" if refusal else "0"
    section("Outcome", [("status", status), ("log", summary)])
    return UNAVAILABLE if refusal else OK


def _describe_settings(source: str, chosen: settings.Settings) -> Iterator[tuple[str, str]]:
    yield "file", describe.settings_file(source)
    if os.geteuid() == 0:
        yield "note", "this is root: the filter's account may not be able to read all that root can"
    if chosen.note:
        yield "note", chosen.note
    for name, keys in settings.DEFAULTS.items():
        if name == "policy":
            continue
        values = vars(getattr(chosen, name) if name else chosen)
        for key, default in keys.items():
            if values[key] != default:
                yield f"[{name}] {key}" if name else key, f"{values[key]!r} instead of {default!r}"


def _describe_envelope(running: Filter) -> Iterator[tuple[str, str]]:
    yield "sender", report.printable(running.envelope.sender) or "<> (the null sender)"
    for recipient in running.envelope.recipients or [b"none given"]:
        yield "recipient", report.printable(recipient)
    yield "queue id", running.record.queue_id
    yield "size", f"{running.record.size} bytes"


def _describe_scans(record: report.Record, notes: Notes) -> Iterator[tuple[str, str]]:
    for argv, ended in notes.programs:
        yield "asked", shlex.join(map(os.fsdecode, argv))
        yield "answer", f"{report.ending(ended.status)}{report.quote(ended.said)}"
    for scan in dict.fromkeys(record.scans):
        if scan.unscanned:
            yield "not scanned", scan.unscanned
        if scan.verdict:
            yield "user", report.printable(scan.user) or "none: the preferences of the filter's account"
            yield "verdict", "spam" if scan.verdict.spam else "not spam"
            yield "score", scan.verdict.score or "not told: X-Spam-Status is missing"
            yield "required", scan.verdict.required or "not told"
            yield "tests", scan.verdict.tests.replace(",", ", ") or "none"
    if record.scan_seconds:
        yield "seconds", f"{record.scan_seconds:.2f}"


def _address(treatment: Treatment) -> str:
    return report.printable(treatment.wishes.recipient) or "none given"


def _describe_treatment(treatment: Treatment, destination: bytes, file: str) -> Iterator[tuple[str, str]]:
    """Yield every setting of a recipient that is not the default, with its source, and what they lead to."""
    wishes = treatment.wishes
    for key, value, where in describe.keys(wishes):
        if value != settings.DEFAULTS["policy"][key]:
            yield key, describe.sourced(key, value, where, file)
    if treatment.listed:
        yield "sender", describe.standing(treatment.listed, wishes.listed_in)
    yield "decision", "; ".join(_decision(treatment, destination))


def _decision(treatment: Treatment, destination: bytes) -> Iterator[str]:
    """Yield what was decided for a recipient, and why."""
    wishes, verdict = treatment.wishes, treatment.scan.verdict
    if wishes["bypass"]:
        yield "bypass: delivered without a mark"
        return
    if verdict is None and not treatment.is_blocked:
        yield "not scanned: delivered without a mark"
        return
    yield _mark(treatment)
    if not treatment.handled:
        spared = [
            name for name, true in (("welcome_senders", wishes.welcome), ("spam_lover", wishes["spam_lover"])) if true
        ]
        yield (
            f"not handled: {' and '.join(spared)}"
            if spared
            else f"not handled: kill_level {wishes['kill_level']} is not reached"
        )
        return
    yield f"handled: kill_level {wishes['kill_level']} is reached"
    if wishes["quarantine"]:
        yield f"kept in quarantine {os.fsdecode(destination)}"
    yield {report.REINJECTED: "delivered", report.QUARANTINED: "not delivered"}.get(treatment.end, treatment.end)


def _mark(treatment: Treatment) -> str:
    verdict, level = treatment.scan.verdict, treatment.wishes["tag2_level"]
    word = "marked as spam" if treatment.spam else "not marked as spam"
    if treatment.is_blocked:
        return f"{word}: the sender is on a block list"
    if verdict is None or not verdict.score or level in policy_keys.LEVELS:
        return f"{word}: tag2_level {level}"
    return f"{word}: score {verdict.score}, tag2_level {level}"


def _describe_copy(original: Message, disposal: Disposal, group: list[Treatment]) -> Iterator[tuple[str, str]]:
    """Yield how a copy differs from the message that came, and what would be run to deliver it."""
    if group[0].end != report.REINJECTED:
        yield "end", group[0].end
        return
    yield from _changes(original, disposal.copy(group[0]))
    if disposal.envelope.recipients:
        argv = disposal.argv(disposal.envelope.sender, [each.wishes.recipient for each in group])
        yield "run", shlex.join(map(os.fsdecode, argv))


def _changes(before: Message, after: Message) -> Iterator[tuple[str, str]]:
    """Yield the header fields that are taken away and those that are added."""
    old, new = _fields(before), _fields(after)
    for sign, fields in (("-", Counter(old) - Counter(new)), ("+", Counter(new) - Counter(old))):
        for field in fields.elements():
            yield sign, report.printable(field, 1000)
    if old == new:
        yield "none", "the header is delivered as it came"


def _fields(message: Message) -> list[bytes]:
    """Return the header fields."""
    return [field.replace(b"\r\n", b"\n") for field in headers.split(spool.head(message))[0]]


def _numbered(lines: list[str]) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(lines, 1):
        yield str(number), line


def _status(error: Ended) -> str:
    return f"{error.status}: Postfix {'tries again later' if error.code.startswith('4') else 'bounces the message'}"
