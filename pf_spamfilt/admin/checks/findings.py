"""A finding: one thing that was looked at, how bad it is, and what to do about it. Pure."""

import re
from collections.abc import Iterable
from typing import NamedTuple

OK, WARNING, ERROR = "ok", "warning", "error"
SEVERITIES = (OK, WARNING, ERROR)


class Finding(NamedTuple):
    """`id` names what was looked at and never changes; `text` says where and what, `remedy` is empty if all is well."""

    severity: str
    id: str
    text: str
    remedy: str = ""


def ok(name: str, text: str) -> Finding:
    """Return a finding that nothing is wrong."""
    return Finding(OK, name, text)


def warning(name: str, text: str, remedy: str) -> Finding:
    """Return a finding of something that works, but hardly as it is meant."""
    return Finding(WARNING, name, text, remedy)


def error(name: str, text: str, remedy: str) -> Finding:
    """Return a finding of something with which mail is deferred, bounced, changed or runs in circles."""
    return Finding(ERROR, name, text, remedy)


def for_directory(found: Finding, directory: str) -> Finding:
    """Return the finding with a remedy whose commands name a configuration directory that is not the default one."""
    remedy = re.sub(
        r"\b(postconf|postfix|postsuper|pf-spamfilt-admin) (?=[a-z-])", rf"\1 -c {directory} ", found.remedy
    )
    return found._replace(remedy=remedy)


def worst(found: Iterable[Finding]) -> int:
    """Return 0 if nothing is wrong, 1 for warnings only, 2 for errors."""
    return max((SEVERITIES.index(each.severity) for each in found), default=0)
