"""Faults of Postfix lookup tables: what postmap(1) can do instead of an answer.

Each table spares somebody the general policy, which is to discard: a table that passes for one which says nothing is a
message lost.
"""

from functools import partial

from lab.judgement import Due
from lab.messages import CLEAN
from lab.policy_scene import DISCARDED, QUARANTINE, SENDER, TAGGED, due, fault
from lab.stage import GOOD_POSTMAP, Fault

SPARED, OTHER = b"user@spared.example", b"user@other.example"
DISCARD = '[policy]\nkill_level = 6\ndestiny = "discard"\n'
# Settings, the key and the value of the only entry, and what that makes of the message.
TABLES: dict[str, tuple[str, str, str, Due]] = {
    "table of recipients": (
        f'tables.recipients = ["pgsql:@DIR@/table"]\n{DISCARD}',
        SPARED.decode(),
        "subject_tag=[SPAM] kill_level=12",
        due("tagged"),
    ),
    "table with a quarantine": (
        f'tables.recipients = ["ldap:@DIR@/table"]\n{DISCARD}',
        "@spared.example",
        f"quarantine={QUARANTINE.decode()}",
        due("kept"),
    ),
    "table of welcome senders": (
        f'{DISCARD}welcome_senders = ["hash:@DIR@/table"]\n',
        SENDER.decode(),
        "OK",
        due("plain"),
    ),
    "table in match": (
        f'{DISCARD}[[recipients]]\nmatch = ["sqlite:@DIR@/table"]\nkill_level = "never"\n',
        "spared.example",
        "any",
        due("plain"),
    ),
}
_READ, _FATAL = "cat >/dev/null; ", "echo 'postmap: fatal: table pgsql:table: query error' >&2"
_WORST = {
    "exits 75": f"{_READ}exit 75",
    "exits 1 unread": "exit 1",
    "says fatal, exits 1": f"{_READ}{_FATAL}; exit 1",
    "says nothing, exits 0": f"{_READ}exit 0",
    "hangs": "exec sleep 30",
    **{f"loses the last {n} bytes": f"answer | head -c -{n}" for n in (1, 2, 4, 20, 40)},
}
_FAILURES = {
    **{f"exits {n}": f"{_READ}exit {n}" for n in (2, 69, 126, 127, 255)},
    **{f"exits {n} after the answer": f"answer; exit {n}" for n in (1, 75)},
    **{f"dies of SIG{name}": f"{_READ}kill -{name} $$" for name in ("KILL", "SEGV", "TERM")},
    "dies of SIGKILL after the answer": "answer; kill -KILL $$",
    "closes its input, exits 0": "exec <&-; exit 0",
    "closes its input, exits 1": "exec <&-; exit 1",
    "closes its output, exits 0": "exec >&-; answer; exit 0",
    "says fatal after the answer, exits 0": f"answer; {_FATAL}; exit 0",
    "says fatal after 100 kB, exits 1": f"{_READ}yes 'postmap: warning: x' | head -n 5000 >&2; {_FATAL}; exit 1",
    "says panic, exits 1": f"{_READ}echo 'postmap: panic: x' >&2; exit 1",
    "hangs after the answer": "answer; exec sleep 30",
    "hangs, ignoring SIGTERM": "trap '' TERM HUP INT; sleep 30",
    "hangs, with a child": "sleep 30 & sleep 30",
    "stops itself": "kill -STOP $$; answer",
}
_WRONG_ANSWERS = {
    "prints garbage": f"{_READ}echo garbage",
    "prints random bytes": f"{_READ}head -c 5000 /dev/urandom",
    "prints NULs": f"{_READ}head -c 5000 /dev/zero",
    "prints the key only": f'{_READ}echo "$KEY"',
    "prints a blank for the tab": "answer | tr '\\t' ' '",
    "prints the key in capitals": "answer | sed 's/^[^\\t]*/\\U&/'",
    "prints endlessly": "answer; exec yes",
    "prints 2 MB": "answer; head -c 2000000 /dev/zero | tr '\\0' x",
    "writes errors endlessly": "answer; exec yes >&2",
    "answers for somebody else": f"{_READ}printf 'x@stranger.example\\tkill_level=never\\n'",
    "answers for 5,000 others, too": "answer; seq 5000 | sed 's/$/@x\\tkill_level=1/'",
    "answers for 5,000 others": f"{_READ}seq 5000 | sed 's/$/@x\\tkill_level=1/'",
    "answers in Latin-1": "VALUE=$(printf '\\351=1'); answer",
    "answers with a Latin-1 tag": "VALUE=$(printf 'subject_tag=\\351'); answer",
    "answers with an unknown key": "VALUE=kil_level=never; answer",
    "answers with a wrong level": "VALUE=kill_level=nevr; answer",
    "answers with a level that is no number": "VALUE=kill_level=nan; answer",
    "answers with a wrong destiny": "VALUE=destiny=pas; answer",
    "answers with an unfinished quote": "VALUE='kill_level=never subject_tag=\"[SPAM]'; answer",
    "answers with a key twice": "VALUE='kill_level=never kill_level=1'; answer",
    "answers with CRLF": 'VALUE="$VALUE$(printf "\\r")"; answer',
    "answers with a bad pattern": "VALUE='welcome_senders=/(/'; answer",
}


def of_table(which: str, name: str, body: str | None = GOOD_POSTMAP, **what: object) -> Fault:
    """Return a fault of the postmap that has one of TABLES."""
    policy, key, value, spared = TABLES[which]
    if body:
        body = f"KEY='{key}' VALUE='{value}'\n{body}"
    dues = {SPARED: spared}
    return fault(
        f"{which}, postmap {name}", **({"recipients": (SPARED,), "policy": policy, "dues": dues} | what), postmap=body
    )


def table() -> list[Fault]:
    """Return what can be wrong with one table."""
    faults = []
    for which in TABLES:
        faults += [
            of_table(which, "does its work", must_deliver=True),
            of_table(which, "is missing", None),
            *(of_table(which, how, body) for how, body in _WORST.items()),
        ]
    first = partial(of_table, next(iter(TABLES)))
    good = partial(first, must_deliver=True)
    return [
        *faults,
        *(first(how, body) for how, body in (_FAILURES | _WRONG_ANSWERS).items()),
        first("is not executable", postmap_mode=0o644),
        first("is an empty file", ""),
        fault("postmap has no interpreter", recipients=(SPARED,), policy=_TWO, postmap="#!/no/such/interpreter\n"),
        good("warns and answers", "echo 'postmap: warning: x' >&2; answer"),
        good("warns in Latin-1 and answers", "printf 'postmap: warning: \\351\\n' >&2; answer"),
        good("is slow, within its time", "sleep 1; answer"),
        good("leaves a child", "sleep 30 & answer", may_leave_process=True),
        good("finds nothing", f"{_READ}exit 1", dues={SPARED: DISCARDED}),
        *_two_tables(),
        *_keys(),
    ]


_TWO = f'tables.recipients = ["hash:@DIR@/first", "hash:@DIR@/second"]\n{DISCARD}'
_ENTRY = f"KEY={SPARED.decode()} VALUE='subject_tag=[SPAM] kill_level=12'\n"


def _two_tables() -> list[Fault]:
    """Return faults of one table of two, which has an entry for one recipient of two."""
    dues = {SPARED: Due(field=TAGGED), OTHER: DISCARDED}
    two = partial(fault, recipients=(OTHER, SPARED), policy=_TWO, dues=dues)
    return [
        two("second of two tables has it", postmap=_for_table("first", f"{_READ}exit 1"), must_deliver=True),
        two("first of two tables fails", postmap=_for_table("first", f"{_READ}exit 75")),
        two("second of two tables fails", postmap=_for_table("second", f"{_READ}exit 75")),
        two("second of two tables hangs", postmap=_for_table("second", "exec sleep 30")),
        two("a table ends after the first key", postmap=f"{_ENTRY}head -n 1 | answer; {_FATAL}; exit 1"),
    ]


def _for_table(name: str, body: str) -> str:
    return f'{_ENTRY}case "$*" in */{name}) {body} ;; esac\nanswer'


def _keys() -> list[Fault]:
    """Return keys that are many, or that a sender has chosen."""
    many = tuple(b"user%d@spared.example" % number for number in range(1000))
    policy, key, value, _ = TABLES["table with a quarantine"]
    kept = {
        "recipients": many,
        "dues": dict.fromkeys(many, due("kept")),
        "policy": policy,
        "postmap": f"KEY={key} VALUE={value}\nanswer",
    }
    odd = {
        "a tab": b'"x\ty"@example.net',
        "NUL": b"x\0y@example.net",
        "an 8-bit byte": b"x\xe9y@example.net",
        "UTF-8": "x\u00e9y@b\u00fccher.example".encode(),
        "a line break": b'"x\n y"@example.net',
        "no address": b"undisclosed",
        "1,000 addresses": b",\n ".join(b"x%d@example.net" % number for number in range(1000)),
        "an option": b"-q@example.net",
    }
    welcome = partial(of_table, "table of welcome senders", must_deliver=True)
    return [
        fault("table of recipients, 1,000 of them", **kept, must_deliver=True),
        *(
            welcome(f"does its work, From has {what}", message=CLEAN.replace(b"Sam Sender <sender@example.com>", text))
            for what, text in odd.items()
        ),
    ]
