"""The settings: every error, what others could do to the file, and what is allowed but hardly meant."""

import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from pf_spamfilt import patterns, schema, settings
from pf_spamfilt.admin.checks.findings import ERROR, WARNING, Finding, error, ok, warning
from pf_spamfilt.filter import RESERVE, RESERVE_MAX

Keys = Mapping[str, Any]
_LEVELS = ("tag_level", "tag2_level", "kill_level")
_LISTS = ("match", "welcome_senders", "block_senders")
# What is done with handled mail only.
_OF_HANDLED = {"destiny": "pass", "quarantine": "", "admin": "", "warn_sender": False}


class Said(NamedTuple):
    """What the file says, as it stands there: by name, [policy] and the blocks of both kinds; and the rest."""

    policy: list[tuple[str, Keys]]
    sections: Mapping[str, Any]

    @property
    def has_tables(self) -> bool:
        """Whether tables may say more."""
        return bool(self.sections.get("tables", {}).get("recipients"))

    def values(self, key: str) -> list[tuple[str, Any]]:
        """Return each value of a key of [policy], and where it is."""
        return [(where, keys[key]) for where, keys in self.policy if key in keys]

    def tables(self) -> list[str]:
        """Return the tables that stand in lists of patterns."""
        words = [word for key in _LISTS for _, value in self.values(key) for word in value]
        bare = [word.removeprefix("!") for word in words]
        return list(dict.fromkeys(word for word in bare if not patterns.table_problem(word)))

    def quarantines(self) -> list[str]:
        """Return where mail may be kept."""
        return list(dict.fromkeys(value for _, value in self.values("quarantine") if value))


def read(source: str) -> Said:
    """Return what a file says that has no errors; nothing if there is none."""
    try:
        found = tomllib.loads(Path(source).read_text("utf-8-sig"))
    except FileNotFoundError:
        found = {}
    policy = [("[policy]", found.get("policy", {}))]
    for section in settings.BLOCKS:
        policy += [(f"[[{section}]] {number}", keys) for number, keys in enumerate(found.get(section, []), 1)]
    return Said(policy, found)


def errors(source: str, required: bool) -> Iterator[Finding]:
    """Yield all that is wrong in the file, or that nothing is; without a file the defaults hold, unless `required`."""
    if not os.path.exists(source):
        if required:
            yield error("settings", f"{source}: there is no such file", "Write it, or name another")
        elif os.path.islink(source):
            text = f"{source}: is a link to {os.readlink(source)}, which does not exist: the defaults hold"
            yield error("settings", text, "Write that file, or remove the link")
        else:
            yield ok("settings", f"{source} does not exist: the defaults hold")
        return
    if not os.path.isfile(source):
        yield error("settings", f"{source}: is not a regular file", "Put a file there")
        return
    problems = schema.every_problem(source)
    for problem in problems:
        yield error("settings", problem, "Mend it there; man pf-spamfilt.toml has every key")
    if not problems:
        yield ok("settings", f"{source}: every key and value is allowed")


def about_mode(source: str) -> Iterator[Finding]:
    """Yield whether others could change what the filter does."""
    try:
        mode = os.stat(source).st_mode
    except OSError:
        return
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        who, severity = ("everybody", ERROR) if mode & stat.S_IWOTH else ("its group", WARNING)
        text = f"{source}: {who} may write it, and so read and redirect all mail (mode {stat.S_IMODE(mode):04o})"
        yield Finding(severity, "settings-mode", text, f"Run: chmod go-w {source}")
    else:
        yield ok("settings-mode", f"{source}: only its owner may write it")


def surprises(source: str, said: Said, chosen: settings.Settings) -> Iterator[Finding]:
    """Yield what is allowed, but does something else than it seems, or nothing."""
    found = [
        *_about_loss(source, said),
        *_about_levels(source, said),
        *_about_patterns(source, said),
        *_about_order(source, said),
        *_about_time(source, chosen),
    ]
    yield from found or [ok("settings-meaning", f"{source}: nothing that surprises")]


def _wholes(said: Said, of: set[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each place that says one of these keys, and what holds where no other block or table says more."""
    for where, keys in said.policy:
        if of & set(keys) and not where.startswith("[[senders]]"):
            yield where, settings.DEFAULTS["policy"] | dict(said.policy[0][1]) | dict(keys)


def _about_loss(source: str, said: Said) -> Iterator[Finding]:
    for where, whole in _wholes(said, {"kill_level", "destiny", "quarantine"}):
        if whole["kill_level"] == "never":
            continue
        start = f'{source}: {where}: destiny = "{whole["destiny"]}"'
        if whole["destiny"] == "discard" and not whole["quarantine"]:
            yield warning(
                "discard", f"{start} without quarantine: handled mail is lost for ever", "Set quarantine, too"
            )
        if whole["destiny"] == "bounce" and where == "[policy]":
            text = f"{start}: bounces of spam hit the innocent, whose addresses are forged"
            yield warning("bounce", text, "Set quarantine, and destiny to discard; bounce only senders that you know")


def _about_levels(source: str, said: Said) -> Iterator[Finding]:
    kills = [value for _, value in said.values("kill_level") if value != "never"]
    idle = [key for key, default in _OF_HANDLED.items() if any(value != default for _, value in said.values(key))]
    if idle and not kills and not said.has_tables:
        text = f'{source}: {", ".join(idle)}: without effect, for kill_level is "never" everywhere'
        yield warning("kill-level", text, "Set kill_level, such as 15")
    if kills and not idle and not said.has_tables:
        text = f"{source}: kill_level: without effect, for nothing says what becomes of such mail: it is delivered"
        yield warning("kill-level", text, "Set quarantine, and destiny to discard")
    for where, whole in _wholes(said, set(_LEVELS)):
        tag, tag2, kill = (_number(whole[level]) for level in _LEVELS)
        if tag2 is not None and kill is not None and kill < tag2:
            text = f"kill_level {kill:g} is below tag2_level {tag2:g}: mail between is handled, but not marked"
            yield warning("levels", f"{source}: {where}: {text}", "Let kill_level be as high as tag2_level, or higher")
        if tag is not None and tag2 is not None and tag > tag2:
            text = (
                f"tag_level {tag:g} is above tag2_level {tag2:g}: mail between is marked, but does not show its score"
            )
            yield warning("levels", f"{source}: {where}: {text}", "Let tag_level be as low as tag2_level, or lower")


def _number(level: object) -> float | None:
    return float(level) if isinstance(level, int | float) else None


def _about_patterns(source: str, said: Said) -> Iterator[Finding]:
    for key in _LISTS:
        for where, words in said.values(key):
            for word in words:
                bare = word.removeprefix("!").removeprefix("@")
                if bare.isidentifier() and bare.lower() != "localhost":
                    text = f'{source}: {where} {key}: "{word}" is the domain {bare}, not a user'
                    yield warning("pattern", text, f'Write "{bare}@example.com", or "/^{bare}@/" for any domain')


def _about_order(source: str, said: Said) -> Iterator[Finding]:
    """Yield the blocks that never count: one above that is for everybody has all their keys."""
    taken: dict[str, tuple[str, set[str]]] = {}
    for where, keys in said.policy[1:]:
        section, own = where.split()[0], set(keys) - {"match"}
        above, covered = taken.get(section, ("", set()))
        if above and own <= covered:
            text = f"{source}: {where} is without effect: {above} above it is for everybody, and has its keys"
            yield warning("block", text, f"Put {where} above {above}")
        if keys.get("match", [])[:1] == ["."]:
            taken[section] = (above or where, covered | own)


def _about_time(source: str, chosen: settings.Settings) -> Iterator[Finding]:
    deadline = chosen.limits.deadline
    left = deadline - min(RESERVE_MAX, RESERVE * deadline)
    if chosen.spamc.timeout > left:
        text = f"{source}: [spamc] timeout = {chosen.spamc.timeout} is cut off at {left:.0f} s by deadline = {deadline}"
        yield warning("timeout", text, f"Lower timeout, below {left:.0f}")
    elif len(chosen.spamc.servers) > 1 and chosen.spamc.timeout == left:
        text = f"{source}: [spamc] timeout leaves no time for a second server"
        yield warning("timeout", text, f"Lower timeout, well below {left:.0f}")
