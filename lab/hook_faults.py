"""Faults of the forms for local delivery, --stdout and --pipe-to, started by a shell as by local(8) and procmail.

The stage's sendmail stands for the mailbox: with --pipe-to it is the command, with --stdout it gets what was written,
if the filter ended with 0. What a filter that failed has written gets there, too, and so is seen as the harm it is.
"""

import itertools
import signal
from collections.abc import Iterable
from functools import partial

from lab import worlds
from lab.judgement import Due
from lab.messages import BODY, CLEAN, FORGED, HEADER, of_size
from lab.pipe8 import Host
from lab.stage import GOOD_SENDMAIL, MAX_SIZE, Fault, Kill

_SENDER, _RECIPIENT = b"sender@example.com", b"user@example.com"
_KNOWN = "export USER=user SENDER=sender@example.com RECIPIENT=user@example.com"
_MAILBOX = '"$DIR/sendmail" -i -f sender@example.com -- user@example.com'
PIPED = f'{_KNOWN}\nexec "$1" --pipe-to {_MAILBOX}'
WRITTEN = f"""{_KNOWN}
if "$1" --stdout >"$DIR/flags/out"; then exec {_MAILBOX} <"$DIR/flags/out"; fi
[ -s "$DIR/flags/out" ] && {_MAILBOX} <"$DIR/flags/out"
exit 75"""
FORMS = {"--pipe-to": PIPED, "--stdout": WRITTEN}
# What the launcher is to the process that pipe8 starts.
_LAUNCHERS = {"--pipe-to": "leader", "--stdout": "child"}
_READ = "cat >/dev/null; "
_KEPT = "mbox:@DIR@/kept/spam"


def table() -> list[Fault]:
    """Return the faults of this family."""
    return [*_messages(), *_scans(), *_commands(), *_outputs(), *_worlds(), *_kills(), *_policies(), *_install()]


def _fault(form: str, name: str, **what: object) -> Fault:
    what.setdefault("message", CLEAN)
    what.setdefault("caller", FORMS[form])
    return Fault(name=f"{form}, {name}", family="hooks", only_ours=True, **what)  # type: ignore[arg-type]


def _both(name: str, **what: object) -> list[Fault]:
    return [_fault(form, name, **what) for form in FORMS]


def _each(faults: Iterable[tuple[str, dict[str, object]]]) -> list[Fault]:
    return [fault for name, what in faults for fault in _both(name, **what)]


def _messages() -> list[Fault]:
    messages = {
        "nothing is wrong": CLEAN,
        "CRLF": CLEAN.replace(b"\n", b"\r\n"),
        "header only": HEADER,
        "no header": b"\n" + BODY,
        "no line break at the end": CLEAN[:-1],
        "NUL and 8-bit": CLEAN + bytes(range(256)) + b"\n",
        "forged fields": FORGED + CLEAN,
        "lines that begin with From": HEADER + b"\nFrom a\n>From b\n" + BODY,
        "300 kB": of_size(300_000),
        "larger than is scanned": of_size(MAX_SIZE + 1),
        "3 MB": of_size(3_000_000),
    }
    return [
        *_each((name, {"message": message, "must_deliver": True}) for name, message in messages.items()),
        *_both("empty", message=b""),
    ]


def _scans() -> list[Fault]:
    spamc: dict[str, str | None] = {
        "missing": None,
        "empty file": "",
        **{f"exits {status}, no output": f"{_READ}exit {status}" for status in (0, 1, 69, 75, 127)},
        "killed in the middle": "marks; head -c 300; kill -9 $$",
        "half an answer": "marks; head -c 300; exit 0",
        "the whole answer, and 75": "good; exit 75",
        "hangs": "exec sleep 30",
        "another message": f"{_READ}marks; echo 'Subject: x'; echo; echo y",
    }
    return _each((f"spamc: {name}", {"spamc": script}) for name, script in spamc.items())


def _commands() -> list[Fault]:
    """Return commands of --pipe-to that fail in one way or another."""
    fault = partial(_fault, "--pipe-to")
    said = "echo 5.1.1 no such user; "
    return [
        *(fault(f"the command exits {n}", sendmail=f"{_READ}exit {n}") for n in (1, 2, 63, 71, 75, 79, 126, 127, 255)),
        *(fault(f"the command says 5.1.1, exits {n}", sendmail=f"{said}exit {n}") for n in (1, 71, 75)),
        *(fault(f"the command exits {n}", sendmail=f"{_READ}exit {n}", may_bounce=True) for n in (64, 67, 69, 73, 77)),
        *(fault(f"the command says 4.2.2, exits {n}", sendmail=f"echo 4.2.2 full; exit {n}") for n in (1, 67, 73)),
        *(
            fault(f"the command dies of {name}", sendmail=f"kill -{name} $$")
            for name in ("KILL", "TERM", "SEGV", "PIPE")
        ),
        fault("the command takes half", sendmail="head -c 100 >/dev/null; exit 75"),
        fault("the command hangs", sendmail=f"{_READ}exec sleep 30"),
        fault("the command hangs, and reads nothing", sendmail="exec sleep 30", message=of_size(300_000)),
        fault("the command writes without end", sendmail="exec cat /dev/zero"),
        fault("the command writes much", sendmail=f"head -c 300000 /dev/zero; {GOOD_SENDMAIL}", must_deliver=True),
        fault("the command is missing", sendmail=None),
        fault("the command is an empty file", sendmail=""),
        fault("the command cannot be executed", sendmail_mode=0o644),
        fault("the command's interpreter is missing", sendmail="#!/no/such/interpreter\n"),
    ]


def _outputs() -> list[Fault]:
    """Return standard outputs that take nothing."""
    fault = partial(_fault, "--stdout")
    begin = f'{_KNOWN}\n"$1" --stdout'
    lost = f"&& exec {_MAILBOX} </dev/null\nexit 75"
    outputs = {
        "full": ">/dev/full",
        "closed": ">&-",
        "only for reading": "1</dev/null",
    }
    return [fault(f"standard output: {name}", caller=f"{begin} {where} {lost}") for name, where in outputs.items()]


def _worlds() -> list[Fault]:
    wrong = {
        "settings that are wrong": {"settings": partial(worlds.write, "nonsense = 1\n")},
        "settings that are a directory": {"settings": worlds.directory_instead},
        "settings that are a FIFO": {"settings": worlds.fifo},
        "a full /tmp": {"world": worlds.full_tmp, "message": of_size(3_000_000)},
        "no place for files": {"world": worlds.no_memory_file_and_no_tmp},
        "no memory files": {"world": worlds.no_memory_file, "must_deliver": True},
        "no writable /tmp": {"world": worlds.no_tmp, "must_deliver": True},
        "a working directory full of traps": {"world": worlds.trapped_cwd, "must_deliver": True},
        "SIGPIPE not ignored": {"host": Host(default=(signal.SIGPIPE,)), "must_deliver": True},
        "SIGCHLD ignored": {"host": Host(ignored=(signal.SIGCHLD,)), "must_deliver": True},
    }
    return _each(wrong.items())


def _kills() -> list[Fault]:
    """Return signals to the launcher, which of --stdout is the caller's child, and to what feeds --pipe-to."""
    piped = partial(_fault, "--pipe-to")
    killed = []
    for (form, target), name in itertools.product(_LAUNCHERS.items(), ("TERM", "KILL", "INT", "HUP")):
        fault = partial(_fault, form)
        kill = partial(Kill, getattr(signal, f"SIG{name}"), target)
        queueing = 'take "$@"; flag queue; sleep 1; keep'
        killed += [
            fault(f"SIG{name}, reading", kill=kill("midway"), message=of_size(100_000)),
            fault(f"SIG{name}, scanning", kill=kill("scan"), spamc="flag scan; sleep 1; good"),
        ]
        if form == "--pipe-to":
            killed.append(
                piped(f"SIG{name}, delivering", kill=kill("queue"), sendmail=queueing, may_repeat=name == "KILL")
            )
    cuts = (0, len(HEADER) // 2, len(CLEAN) - 20, len(CLEAN))
    return [*killed, *(piped(f"Postfix killed after {cut} bytes", cut=cut) for cut in cuts)]


def _policies() -> list[Fault]:
    def policy(keys: str) -> dict[str, object]:
        return {"spamc": "spam", "policy": f"[policy]\nkill_level = 6\n{keys}\n"}

    kept = Due(delivered=False, quarantine=_KEPT.encode())
    also = Due(quarantine=_KEPT.encode())
    quarantine = f'quarantine = "{_KEPT}"\n'
    piped, written = partial(_fault, "--pipe-to"), partial(_fault, "--stdout")
    refuses = "[[recipients]]\nmatch = ['example.com']\nkill_level = 'often'\n"
    ends = {
        "discarded": ('destiny = "discard"', Due(delivered=False)),
        "bounced": ('destiny = "bounce"', Due(delivered=False, told=True)),
        "kept": (f'destiny = "discard"\n{quarantine}', kept),
        "passed": (quarantine, also),
    }
    return [
        *(
            piped(f"spam is {name}", dues={_RECIPIENT: due}, must_deliver=True, **policy(keys))
            for name, (keys, due) in ends.items()
        ),
        *(
            written(
                f"spam is written, though {name}",
                dues={_RECIPIENT: also if due.quarantine else Due()},
                must_deliver=True,
                **policy(keys),
            )
            for name, (keys, due) in ends.items()
        ),
        piped(
            "spam is kept, the command fails", dues={_RECIPIENT: also}, sendmail=f"{_READ}exit 75", **policy(quarantine)
        ),
        *_both("a quarantine that cannot be", **policy('quarantine = "mbox:/no/such/place"')),
        *_both("a recipient's block that is wrong", policy=refuses),
    ]


def _install() -> list[Fault]:
    return _each(
        (f"hooks.py {name}", {"world": partial(worlds.with_package, damage)})
        for name, damage in worlds.damages("hooks.py").items()
    )
