"""The table of faults: every way we can think of in which a filter's world can be wrong.

Data for stage.play. Six families are played to every filter; four only to pf-spamfilt: `install`, what can be wrong
with itself, `policies` and `stores`, which no other filter has, and `hooks`, its forms for local delivery. Not in the
table, because no shell script that Postfix executes can survive them:

- An empty file in place of the command: execvp(3) runs it as a shell script, which ends with status 0.
- Fewer than 11 descriptors: /bin/sh wants number 10 for its script, and ends with 2, which bounces.
- Less than 3 MB of memory: /bin/sh cannot load the C library, and ends with 127, which bounces.
- SIGCHLD blocked by the caller: dash never hears of the end of what it waits for. Postfix blocks no signal.
"""

import itertools
import os
import resource
import signal
from functools import partial

from lab import hook_faults, policy_faults, store_faults, stub_spamd, worlds
from lab.messages import BODY, CLEAN, FORGED, HEADER, SCANNED_ELSEWHERE, of_size
from lab.pipe8 import SYS_EXITS, Host
from lab.stage import GOOD_SENDMAIL, MAX_SIZE, Fault, Kill

FAMILIES = ("spamd", "spamc", "sendmail", "host", "message", "envelope", "install", "policies", "stores", "hooks")
STATUSES = (1, 2, *SYS_EXITS, 120, 126, 127, 255)
SPAMC_STATUSES = (1, 2, 64, 69, 70, 74, 75, 76, 98, 127)
KILLED_BY = ("ABRT", "BUS", "KILL", "SEGV", "TERM", "XCPU")


def table() -> tuple[Fault, ...]:
    """Return all faults, family by family."""
    ours = (*_install(), *policy_faults.table(), *store_faults.table(), *hook_faults.table())
    return (*_spamd(), *_spamc(), *_sendmail(), *_host(), *_message(), *_envelope(), *ours)


def _fault(family: str, name: str, **what: object) -> Fault:
    what.setdefault("message", CLEAN)
    return Fault(name=name, family=family, **what)  # type: ignore[arg-type]


def _spamd() -> list[Fault]:
    fault = partial(_fault, "spamd")
    well = {"good", "spam", "late"}
    answers = [fault(name, spamd=name, must_deliver=name in well) for name in stub_spamd.BEHAVIOURS]
    return [
        *answers,
        fault("refuses", spamd="refuse"),
        fault("first of two servers refuses", spamd="good", servers=("127.0.0.2", "127.0.0.1")),
        fault("both servers refuse", spamd="refuse", servers=("127.0.0.2", "127.0.0.1")),
        fault("unreachable for a large message", spamd="refuse", message=of_size(300_000)),
        fault("hangs on a large message", spamd="hang", message=of_size(300_000)),
    ]


def _spamc() -> list[Fault]:
    fault = partial(_fault, "spamc")
    read = "cat >/dev/null; "
    return [
        *(fault(f"exits {n}, no output", spamc=f"{read}exit {n}") for n in (0, *SPAMC_STATUSES)),
        *(fault(f"exits {n} after the whole answer", spamc=f"good; exit {n}") for n in (69, 70, 75)),
        *(fault(f"exits {n} after half the message", spamc=f"marks; head -c 500; exit {n}") for n in (0, 1, 69, 75)),
        *(fault(f"exits {n} unread", spamc=f"exit {n}") for n in (0, 1, 75)),
        *(fault(f"dies of SIG{s}, no output", spamc=f"{read}kill -{s} $$; exit 70") for s in KILLED_BY),
        *(
            fault(f"dies of SIG{s}, half the message", spamc=f"marks; head -c 500; kill -{s} $$; exit 70")
            for s in KILLED_BY
        ),
        *(
            fault(f"dies of SIG{s} after the answer", spamc=f"good; kill -{s} $$; exit 70")
            for s in ("KILL", "SEGV", "TERM")
        ),
        fault("is missing", spamc=None),
        fault("is not executable", spamc_mode=0o644),
        fault("is an empty file", spamc=""),
        fault("has no interpreter", spamc="#!/no/such/interpreter\n"),
        fault("is a damaged binary", spamc="#!\177ELF\n"),
        *_wrong_answers(),
        *_hanging_spamc(),
        fault("1 MB on stderr", spamc="head -c 1000000 /dev/zero | tr '\\0' e >&2; good"),
        fault("says 5.7.1 on stderr, 75", spamc=f"{read}echo '5.7.1 evil' >&2; exit 75"),
        fault("says 5.7.1 on stderr, 0", spamc="echo '5.7.1 evil' >&2; good", must_deliver=True),
        fault("says 5.7.1 on stdout, 1", spamc=f"{read}echo '5.7.1 evil'; exit 1"),
        fault("says 2.0.0 on stderr, 75", spamc=f"{read}echo '2.0.0 fine' >&2; exit 75"),
        fault("closes its input at once", spamc="exec <&-; marks; exit 0"),
        fault("closes its output at once", spamc="exec >&-; cat >/dev/null 2>&1; exit 0"),
        fault("a full pipe and 0", spamc="head -c 100 >/dev/null; exit 0", message=of_size(400_000)),
    ]


def _wrong_answers() -> list[Fault]:
    fault = partial(_fault, "spamc")
    mark = "printf 'X-Spam-Checker-Version: stub\\n'"
    yes = "printf 'X-Spam-Flag: YES\\nX-Spam-Checker-Version: stub\\nX-Spam-Status: Yes, score=9.9 required=5.0\\n'"
    return [
        fault("prints its header only", spamc="marks; cat >/dev/null"),
        fault("prints the header only", spamc="marks; sed '/^$/q'"),
        fault("prints the body only", spamc="sed '1,/^$/d'"),
        fault("prints a blank line first", spamc="echo; good"),
        fault("prints an error before the message", spamc="echo 'cannot connect to 127.0.0.1'; cat"),
        fault("changes one byte of the body", spamc="marks; sed 's/jumps/dumps/'"),
        fault("drops the last byte", spamc="marks; head -c -1"),
        fault("drops the last line", spamc="marks; head -n -1"),
        fault("drops blank lines of the body", spamc="marks; sed '1,/^$/b; /^$/d'"),
        fault("escapes From in the body", spamc="marks; sed 's/^From the/>From the/'"),
        fault("converts to CRLF", spamc="marks; sed 's/$/\\r/'"),
        fault("stops at a dot", spamc="marks; sed '/^\\.$/Q'"),
        fault("strips trailing blanks", spamc="marks; sed 's/ *$//'"),
        fault("returns another message", spamc="cat >/dev/null; marks; printf 'Subject: x\\n\\nnot yours\\n'"),
        fault("doubles the message", spamc="cat >$DIR/flags/m; marks; cat $DIR/flags/m $DIR/flags/m"),
        fault("adds a footer", spamc="good; echo 'scanned by stub'"),
        fault("prints NUL first", spamc="printf '\\0\\0'; good"),
        fault("prints garbage", spamc="cat >/dev/null; head -c 5000 /dev/urandom"),
        fault("status 1 without X-Spam-Status", spamc=f"{mark}; cat; exit 1", must_deliver=True),
        fault("status 0 with X-Spam-Status: Yes", spamc=f"{yes}; cat; exit 0"),
        fault("spam, as it should be", spamc=f"{yes}; cat; exit 1", must_deliver=True),
        fault("adds no fields, status 0", spamc="cat"),
        fault("wraps the message as report_safe does", spamc="wrap", must_deliver=True),
    ]


def _hanging_spamc() -> list[Fault]:
    fault = partial(_fault, "spamc")
    return [
        fault("hangs before reading", spamc="exec sleep 30"),
        fault("hangs after reading", spamc="cat >/dev/null; exec sleep 30"),
        fault("hangs after half the message", spamc="marks; head -c 500; exec sleep 30"),
        fault("hangs after the answer", spamc="good; exec sleep 30"),
        fault("hangs, ignoring SIGTERM", spamc="trap '' TERM HUP INT; sleep 30"),
        fault("hangs, with a child", spamc="sleep 30 & sleep 30"),
        fault("ends, a child keeps its files open", spamc="sleep 30 & good", may_leave_process=True),
        fault("ends with 75, a child keeps its files open", spamc="sleep 30 & exit 75", may_leave_process=True),
        *(
            fault(
                f"ends, a child overwrites the answer after {seconds} s",
                spamc=f"good; {{ sleep {seconds}; printf CHANGED >/proc/self/fd/1; }} & exit 0",
                may_leave_process=True,
            )
            for seconds in ("0", "0.002", "0.005", "0.01", "0.02", "0.05")
        ),
        fault("writes errors endlessly", spamc="good; exec yes >&2"),
        fault("prints endlessly", spamc="good; while :; do echo more and more and more; done"),
        fault("prints 100 MB", spamc="good; head -c 100000000 /dev/zero"),
        fault("stops itself", spamc="kill -STOP $$; good"),
        fault("is slow, within its time", spamc="sleep 1; good", must_deliver=True),
    ]


def _sendmail() -> list[Fault]:
    fault = partial(_fault, "sendmail")
    read = "cat >/dev/null; "
    queued = {"may_repeat": True}
    return [
        *(fault(f"exits {n}", sendmail=f"{read}exit {n}", may_bounce=n == 65) for n in STATUSES),
        *(fault(f"exits {n} unread", sendmail=f"exit {n}") for n in (1, 75)),
        *(fault(f"exits {n} after queueing", sendmail=f"{GOOD_SENDMAIL}; exit {n}", **queued) for n in (1, 69, 75)),
        *(fault(f"dies of SIG{s}", sendmail=f"{read}kill -{s} $$; exit 70") for s in KILLED_BY),
        *(fault(f"dies of SIG{s} unread", sendmail=f"kill -{s} $$; exit 70") for s in ("KILL", "TERM")),
        fault("dies of SIGKILL after queueing", sendmail=f"{GOOD_SENDMAIL}; kill -KILL $$; exit 70", **queued),
        fault("is missing", sendmail=None),
        fault("is not executable", sendmail_mode=0o644),
        fault("is an empty file", sendmail=""),
        fault("has no interpreter", sendmail="#!/no/such/interpreter\n"),
        *_talking_sendmail(),
        fault("hangs unread", sendmail="exec sleep 30"),
        fault("hangs after reading", sendmail=f"{read}exec sleep 30"),
        fault("hangs after queueing", sendmail=f"{GOOD_SENDMAIL}; exec sleep 30", **queued),
        fault("hangs, ignoring SIGTERM", sendmail=f"trap '' TERM HUP INT; {read}sleep 30"),
        fault("hangs, with a child", sendmail=f"sleep 30 & {read}sleep 30"),
        fault("stops itself", sendmail=f"{read}kill -STOP $$"),
        fault("exits 0 unread", sendmail="exit 0"),
        fault("exits 0 after half the message", sendmail="head -c 500 >/dev/null; exit 0"),
        fault("closes its input, exits 75", sendmail="exec <&-; exit 75"),
        fault("is slow to read", sendmail=f"sleep 1; {GOOD_SENDMAIL}", must_deliver=True),
        fault(
            "leaves a child",
            sendmail=f"sleep 30 & {GOOD_SENDMAIL}",
            must_deliver=True,
            may_leave_process=True,
        ),
        fault(
            "leaves a child without files",
            sendmail=f"sleep 30 <&- >/dev/null 2>&1 & {GOOD_SENDMAIL}",
            must_deliver=True,
            may_leave_process=True,
        ),
        fault("cannot write its queue", sendmail=f"DIR=/nonexistent; {GOOD_SENDMAIL}"),
    ]


def _talking_sendmail() -> list[Fault]:
    fault = partial(_fault, "sendmail")
    read = "cat >/dev/null; "
    said = [
        fault(f"says {code} on {where}, exits {n}", sendmail=f"{read}echo '{code} text' >&{fd}; exit {n}")
        for code, (where, fd), n in itertools.product(
            ("5.1.1", "4.2.2", "2.0.0"), (("stdout", 1), ("stderr", 2)), (1, 75)
        )
    ]
    return [
        *said,
        fault("says 4.2.2, exits 65", sendmail=f"{read}echo '4.2.2 text' >&2; exit 65", may_bounce=True),
        fault("warns and queues", sendmail=f"echo '5.1.1 warning' >&2; {GOOD_SENDMAIL}", must_deliver=True),
        fault(
            "1 MB on stderr and queues",
            sendmail=f"head -c 1000000 /dev/zero | tr '\\0' e >&2; {GOOD_SENDMAIL}",
            must_deliver=True,
        ),
        fault("NUL and 8-bit on stderr, exits 1", sendmail=f"{read}printf '\\0\\200\\377 5.1.1 x' >&2; exit 1"),
    ]


def _host() -> list[Fault]:
    return [*_limits(), *_descriptors(), *_signals(), *_kills(), *_surroundings(), *_files(), *_settings()]


def _limits() -> list[Fault]:
    """RLIMIT_AS from 3 MB, where sh starts, through the band in which an interpreter does not."""

    def limit(name: str, which: int, values: tuple[int, ...], **what: object) -> list[Fault]:
        return [_fault("host", f"{name} {v}", host=Host(limits={which: v}), **what) for v in values]

    mb = 1 << 20
    return [
        *limit("descriptors limited to", resource.RLIMIT_NOFILE, (11, 13, 14, 16, 20)),
        *limit("processes limited to", resource.RLIMIT_NPROC, (0, 1, 2, 3, 4, 5, 6, 8)),
        *limit(
            "memory limited to",
            resource.RLIMIT_AS,
            tuple(n * mb for n in (4, 6, 8, 10, 12, 14, 16, 20, 24, 32)),
        ),
        *limit("data limited to", resource.RLIMIT_DATA, tuple(n * mb for n in (1, 2, 3, 4, 6, 8))),
        *limit("files limited to", resource.RLIMIT_FSIZE, (0, 1, 200, 1000)),
        *limit("large message, files limited to", resource.RLIMIT_FSIZE, (100_000,), message=of_size(300_000)),
        *limit("huge message, files limited to", resource.RLIMIT_FSIZE, (600_000,), message=of_size(2_000_000)),
        *limit("huge message, memory limited to", resource.RLIMIT_AS, (24 * mb,), message=of_size(30_000_000)),
        *limit("stack limited to", resource.RLIMIT_STACK, (256 * 1024,)),
        *limit("one CPU second, spamc wants more:", resource.RLIMIT_CPU, (1,), spamc="while :; do :; done"),
        *limit("core and locks limited to", resource.RLIMIT_MEMLOCK, (0,)),
    ]


def _descriptors() -> list[Fault]:
    fault = partial(_fault, "host")
    sets = ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))
    closed = [fault(f"closed descriptors: {', '.join(map(str, s))}", host=Host(closed=s)) for s in sets]
    default = (signal.SIGPIPE,)
    return [
        *closed,
        fault("output to a full device", host=Host(output="/dev/full")),
        fault("output to a closed pipe", host=Host(output="|")),
        fault("output to a closed pipe, SIGPIPE not ignored", host=Host(output="|", default=default)),
        fault("output full, spamc fails", host=Host(output="/dev/full"), spamc="exit 75"),
        fault("output to a closed pipe, spamc fails", host=Host(output="|", default=default), spamc="exit 75"),
    ]


def _signals() -> list[Fault]:
    names = ("SIGCHLD", "SIGTERM", "SIGHUP", "SIGINT", "SIGALRM", "SIGXFSZ")
    numbers = {name: int(getattr(signal, name)) for name in names}
    blockable = {name: number for name, number in numbers.items() if name != "SIGCHLD"}
    everything = tuple(numbers.values())
    fault = partial(_fault, "host")
    return [
        *(fault(f"{name} ignored", host=Host(ignored=(n,)), must_deliver=True) for name, n in numbers.items()),
        *(fault(f"{name} blocked", host=Host(blocked=(n,)), must_deliver=True) for name, n in blockable.items()),
        fault("SIGPIPE not ignored", host=Host(default=(signal.SIGPIPE,)), must_deliver=True),
        fault("all signals ignored", host=Host(ignored=everything), must_deliver=True),
        fault("SIGCHLD ignored, sendmail fails", host=Host(ignored=(signal.SIGCHLD,)), sendmail="exit 1"),
        fault("SIGCHLD ignored, spamc fails", host=Host(ignored=(signal.SIGCHLD,)), spamc="exit 69"),
        fault("SIGTERM ignored, spamc hangs", host=Host(ignored=(signal.SIGTERM,)), spamc="exec sleep 30"),
        fault("SIGTERM blocked, spamc hangs", host=Host(blocked=(signal.SIGTERM,)), spamc="exec sleep 30"),
        fault(
            "all signals but SIGCHLD blocked, sendmail hangs",
            host=Host(blocked=tuple(blockable.values())),
            sendmail="exec sleep 30",
        ),
    ]


def _kills() -> list[Fault]:
    """Killed while it reads, while spamc runs, while sendmail has read all and queued nothing.

    SIGKILL leaves nobody to stop a sendmail that has the whole message: a copy twice is the best there is then.
    """
    fault = partial(_fault, "host")
    killed = []
    for name, target in itertools.product(("TERM", "KILL", "INT", "HUP"), ("leader", "child", "group")):
        number = getattr(signal, f"SIG{name}")
        by = f"SIG{name} to the {target}"
        killed += [
            fault(f"{by}, reading", kill=Kill(number, target, "midway"), message=of_size(100_000)),
            fault(f"{by}, scanning", kill=Kill(number, target, "scan"), spamc="flag scan; sleep 1; good"),
            fault(
                f"{by}, queueing",
                kill=Kill(number, target, "queue"),
                sendmail='take "$@"; flag queue; sleep 1; keep',
                may_repeat=name == "KILL",
            ),
        ]
    return [
        *killed,
        fault("Postfix killed after 0 bytes", cut=0),
        fault("Postfix killed in the header", cut=len(HEADER) // 2),
        fault("Postfix killed after the header", cut=len(HEADER) + 1),
        fault("Postfix killed in the body", cut=len(CLEAN) - 20),
        fault("Postfix killed after the last byte", cut=len(CLEAN)),
        fault("Postfix killed in a large message", cut=300_000, message=of_size(400_000)),
        fault("Postfix killed in a huge message", cut=2_500_000, message=of_size(3_000_000)),
    ]


def _surroundings() -> list[Fault]:
    fault = partial(_fault, "host")
    return [
        fault("nothing in the environment but MAIL_CONFIG", host=Host(environ={}), must_deliver=True),
        fault("odd locale", host=Host(environ={"LANG": "tlh_XX.none", "LC_ALL": "\udcff"}), must_deliver=True),
        fault("odd PATH", host=Host(environ={"PATH": "/nonexistent"}), must_deliver=True),
        fault("hostile Python variables", host=Host(environ=_PYTHON_VARIABLES), must_deliver=True),
        fault("hostile shell variables", host=Host(environ=_SHELL_VARIABLES), must_deliver=True),
        fault("HOME does not exist", host=Host(environ={"HOME": "/nonexistent"}), must_deliver=True),
        fault("working directory unreadable", host=Host(cwd="", setup=worlds.unreadable_cwd), must_deliver=True),
        fault("working directory deleted", host=Host(cwd="", setup=worlds.deleted_cwd), must_deliver=True),
        fault("working directory full of traps", world=worlds.trapped_cwd, must_deliver=True),
    ]


_PYTHON_VARIABLES = {
    "PYTHONHOME": "/nonexistent", "PYTHONPATH": "/nonexistent", "PYTHONSTARTUP": "/dev/full",
    "PYTHONIOENCODING": "none", "PYTHONWARNINGS": "error", "PYTHONUNBUFFERED": "1",
}  # fmt: skip
_SHELL_VARIABLES = {
    "IFS": "/.-",
    "ENV": "/dev/full",
    "CDPATH": "/",
    "PS4": "$(exit 9)",
    "SENDER": "x",
    "SHELLOPTS": "x",
}


def _files() -> list[Fault]:
    """What the host's file system lacks; each in a mount namespace of the command's own."""
    fault = partial(_fault, "host")
    return [
        fault("/tmp full", world=worlds.full_tmp, must_deliver=True),
        fault("/tmp full, huge message", world=worlds.full_tmp, message=of_size(2_000_000)),
        fault("/tmp not writable", world=partial(worlds.hide, "/tmp"), must_deliver=True),
        fault("/tmp and /var/tmp not writable, huge message", world=worlds.no_tmp, message=of_size(2_000_000)),
        fault(
            "no /proc",
            world=partial(worlds.hide, "/proc"),
            sendmail=GOOD_SENDMAIL.replace("accept", "true /proc; accept"),
        ),
        fault("empty /dev", world=partial(worlds.hide, "/dev")),
        fault("/dev/null not accessible", world=partial(worlds.cover, "/dev/null", "", 0o600)),
        fault("no passwd", world=partial(worlds.cover, "/etc/passwd", "", 0o644), must_deliver=True),
        fault("passwd not readable", world=partial(worlds.cover, "/etc/passwd", "", 0o600), must_deliver=True),
    ]


def _settings() -> list[Fault]:
    fault = partial(_fault, "host")
    texts = {
        "broken": "[spamc\ncommand = ",
        "with an unknown key": "[spamc]\ncomand = ['/bin/true']\n",
        "with an unknown section": "[spamd]\n",
        "with a wrong type": "[spamc]\ntimeout = 'long'\n",
        "with a negative limit": "[limits]\ndeadline = -1\n",
        "not UTF-8": "# \udcff\udcfe\n",
        "of NULs": "\0" * 4096,
        "empty": "",
    }
    return [
        *(
            fault(f"settings {name}", settings=partial(worlds.write, text), world=worlds.own_programs)
            for name, text in texts.items()
        ),
        fault("settings not readable", settings=lambda path: path.chmod(0o600), world=worlds.own_programs),
        fault("settings a directory", settings=worlds.directory_instead, world=worlds.own_programs),
        fault("settings a dangling link", settings=worlds.dangling_link, world=worlds.own_programs),
        fault("log file a FIFO", settings=worlds.log_to_fifo, must_deliver=True),
        fault("syslogd stopped", settings=worlds.log_to_syslog, world=worlds.stopped_syslogd, must_deliver=True),
        fault("settings a FIFO", settings=worlds.fifo, world=worlds.own_programs),
        fault("compiled settings garbage", settings=worlds.compiled(os.urandom(500)), must_deliver=True),
        fault("compiled settings empty", settings=worlds.compiled(b""), must_deliver=True),
        fault("compiled settings a marshalled None", settings=worlds.compiled(b"N"), must_deliver=True),
    ]


def _message() -> list[Fault]:
    """Mail that has to arrive whole; through the real spamc and a spamd that does its work."""
    whole = partial(_fault, "message", spamd="good", must_deliver=True)
    either = partial(_fault, "message", spamd="good")
    return [
        whole("an ordinary message", message=CLEAN),
        either("0 bytes", message=b"", must_scan=False),
        either("1 byte", message=b"x"),
        either("one line break", message=b"\n"),
        whole("header only, no blank line", message=HEADER),
        whole("header and blank line, no body", message=HEADER + b"\n"),
        either("header cut in a field", message=HEADER[:-5]),
        either("no header, one line", message=b"no header here\n"),
        whole("no header, blank line first", message=b"\n" + BODY),
        either("no blank line after the header", message=HEADER + b"this line is no field\nnor this: really\n"),
        whole("no line break at the end", message=CLEAN[:-1]),
        whole("blank lines at the end", message=CLEAN + b"\n\n\n"),
        whole("NUL in the body", message=CLEAN + b"a\0b\0\0\n"),
        either("NUL in the header", message=b"X-Nul: a\0b\n" + CLEAN),
        whole("8-bit body", message=CLEAN + bytes(range(128, 256)) + b"\n"),
        whole("8-bit header", message=b"X-Raw: \xe9\xff\n" + CLEAN),
        whole("UTF-8 header", message="X-Text: \u00e9\u4e2d\n".encode() + CLEAN),
        whole("CRLF line ends", message=CLEAN.replace(b"\n", b"\r\n")),
        whole("CRLF in the body only", message=HEADER + b"\n" + BODY.replace(b"\n", b"\r\n")),
        whole("bare CR", message=CLEAN + b"one\rtwo\r\r\n"),
        whole("a body line of 1 MB / 3", message=CLEAN + b"x" * 349_525 + b"\n"),
        whole("a header line of 400 kB", message=b"X-Long: " + b"x" * 400_000 + b"\n" + CLEAN),
        whole("20,000 header lines", message=b"".join(b"X-N: %d\n" % n for n in range(20_000)) + CLEAN),
        whole("From_ line first", message=b"From sender@example.com Sun Nov 22 10:00:00 2026\n" + CLEAN),
        whole("Return-Path first", message=b"Return-Path: <sender@example.com>\n" + CLEAN),
        whole("forged X-Spam fields", message=FORGED + CLEAN),
        whole("forged X-Spam fields, in capitals", message=FORGED.upper() + CLEAN),
        whole("scanned already", message=SCANNED_ELSEWHERE + CLEAN),
        whole("X-Spam fields in the body", message=CLEAN + FORGED),
        whole("a message in the body", message=CLEAN + b"\n" + FORGED + CLEAN),
        whole("spam", message=CLEAN, spamd="spam"),
        whole("50 Received fields", message=HEADER[: HEADER.index(b"Date:")] * 50 + CLEAN),
        *_sizes(),
    ]


def _sizes() -> list[Fault]:
    """Around the size limit, above which nothing is scanned and forged fields have to go all the same."""
    whole = partial(_fault, "message", spamd="good", must_deliver=True)
    forged, large = FORGED + HEADER, {"must_scan": False}
    folded = b"X-Spam-Report:\n\tline one, FORGED\n  line two\nx-spam-flag : YES\n" + HEADER
    crlf = FORGED.replace(b"\n", b"\r\n") + HEADER.replace(b"\n", b"\r\n") + b"\r\n" + b"x\r\n" * 200_000
    return [
        whole("1 byte below the size limit", message=of_size(MAX_SIZE - 1)),
        whole("exactly the size limit", message=of_size(MAX_SIZE)),
        whole("1 byte above the size limit", message=of_size(MAX_SIZE + 1), **large),
        whole("above the limit, forged X-Spam fields", message=of_size(600_000, forged), **large),
        whole("above the limit, forged folded fields", message=of_size(600_000, folded), **large),
        whole("above the limit, forged fields, CRLF", message=crlf, **large),
        whole("above the limit, spamd refuses", message=of_size(600_000), spamd="refuse", must_scan=False),
        whole("above the limit, all header", message=b"X-A: b\n" * 100_000 + CLEAN, **large),
        whole("above the limit, one header line", message=b"X-A: " + b"b" * 600_000 + b"\n" + CLEAN, **large),
        whole("above the limit, one body line", message=HEADER + b"\n" + b"x" * 2_000_000, **large),
        whole("above the limit, NUL and 8-bit", message=CLEAN + bytes(range(256)) * 4000, **large),
        whole("20 MB", message=of_size(20_000_000), **large),
    ]


def _envelope() -> list[Fault]:
    """Envelopes as pipe(8) gives them with flags=q; `unquoted`: without that flag, which is easily forgotten."""
    senders: dict[str, bytes] = {
        "null sender": b"",
        "null sender <>": b"<>",
        "MAILER-DAEMON": b"MAILER-DAEMON",
        "sender in angle brackets": b"<sender@example.com>",
        "sender begins with -": b"-oQ/tmp@example.com",
        "sender --": b"--@example.com",
        "sender with a blank, unquoted": b"a b@example.com",
        "sender with a quoted local part": b'"a b"@example.com',
        "sender with an 8-bit byte": b"andr\xe9@example.com",
        "sender in UTF-8": "andr\u00e9@b\u00fccher.example".encode(),
        "sender without domain": b"root",
        "sender of 400 bytes": b"x" * 388 + b"@example.com",
        "sender with shell characters, unquoted": b"$(touch${IFS}x);`id`|&@example.com",
        "sender with VERP": b"list-bounces+user=example.org@example.com",
    }
    recipients: dict[str, tuple[bytes, ...]] = {
        "recipient begins with -": (b"-t@example.com",),
        "recipient is -t": (b"-t",),
        "recipient --": (b"--@example.com", b"b@example.com"),
        "recipient with a blank, unquoted": (b"a b@example.com",),
        "recipient with a comma, unquoted": (b"a,b@example.com",),
        "recipient with a quote, unquoted": (b'a"b@example.com',),
        "recipient with a backslash, unquoted": (b"a\\b@example.com",),
        "recipient with parentheses, unquoted": (b"a(b)@example.com",),
        "recipient with a colon, unquoted": (b"a:b@example.com",),
        "recipient with a semicolon, unquoted": (b"a;b@example.com",),
        "recipient with two @, unquoted": (b"a@b@example.com",),
        "recipient with brackets inside, unquoted": (b"a<b>c@example.com",),
        "recipient in angle brackets": (b"<user@example.com>",),
        "recipient with a quoted local part": (b'"a b"@example.com',),
        "recipient with a quoted quote": (b'"a\\"b"@example.com',),
        "recipient with a quoted comma": (b'"a,b"@example.com',),
        "recipient with a quoted backslash": (b'"a\\\\b"@example.com',),
        "recipient with quoted parentheses": (b'"a(b)"@example.com',),
        "recipient with a quoted colon": (b'"a:b"@example.com',),
        "recipient with a quoted @": (b'"a@b"@example.com',),
        "recipient with quoted brackets": (b'"a<b>c"@example.com',),
        "recipient with quoted shell characters": (b'"$(touch${IFS}x);`id`|&*?"@example.com',),
        "recipient with an 8-bit byte": (b"andr\xe9@example.com",),
        "recipient in UTF-8": ("andr\u00e9@b\u00fccher.example".encode(),),
        "recipient without domain": (b"root",),
        "recipient with an extension": (b"user+ext@example.com",),
        "recipient, empty local part": (b'""@example.com',),
        "recipient at an address literal": (b"user@[192.0.2.1]",),
        "recipient with a trailing dot, unquoted": (b"user.@example.com",),
        "recipient with shell characters, unquoted": (b"$(touch${IFS}x);`id`|&*?@example.com",),
        "recipient with a pipe": (b"|/bin/false@example.com",),
        "recipient with a percent and a bang": (b"a%b!c@example.com",),
        "recipient of 400 bytes": (b"x" * 388 + b"@example.com",),
        "two recipients": (b"a@example.com", b"b@example.com"),
        "1,000 recipients": tuple(b"user%d@example.com" % n for n in range(1000)),
    }
    good = partial(_fault, "envelope", must_deliver=True)
    return [
        *(good(name, sender=sender) for name, sender in senders.items()),
        *(good(name, recipients=many) for name, many in recipients.items()),
        *_impossible_envelopes(),
    ]


def _impossible_envelopes() -> list[Fault]:
    """Envelopes for which putting off is right too, and delivery to somebody else, or a bounce, is not."""
    fault = partial(_fault, "envelope")
    return [
        fault("sender with a line break", sender=b"a\nb@example.com"),
        fault("sender of 100 kB", sender=b"x" * 100_000 + b"@example.com"),
        fault("recipient with a line break", recipients=(b"a\nb@example.com",)),
        fault("recipient with a line break in its domain", recipients=(b"a@example.com\nSPAMC: x",)),
        fault("recipient with a tab", recipients=(b"a\tb@example.com",)),
        fault("recipient with a blank in its domain", recipients=(b"a@exa mple.com",)),
        fault("recipient with a control character", recipients=(b"a\x07b@example.com",)),
        fault("recipient of 100 kB", recipients=(b"x" * 100_000 + b"@example.com",)),
        fault("one recipient twice", recipients=(b"a@example.com", b"a@example.com")),
        fault("recipient @", recipients=(b"@",)),
        fault("recipient of blanks", recipients=(b"  ",)),
        fault("empty recipient", recipients=(b"",), arguments=(b"sender@example.com", b"")),
        fault("empty recipient among others", recipients=(b"a@example.com", b"", b"b@example.com")),
        fault("no recipient", recipients=(b"user@example.com",), arguments=(b"sender@example.com",)),
        fault("no arguments", arguments=()),
        fault("an unknown option only", arguments=(b"--no-such-option",)),
        fault(
            "an unknown option before good arguments",
            arguments=(b"-Z", b"sender@example.com", b"user@example.com"),
        ),
    ]


def _install() -> list[Fault]:
    """What an interrupted upgrade, a full disk or a crash leaves of an installation; nothing may be bounced or lost."""
    fault = partial(_fault, "install", only_ours=True)
    modules = ("filter.py", "exits.py", "__init__.py")
    return [
        fault("package missing", world=partial(worlds.with_package, worlds.remove_all)),
        fault("package not readable", world=partial(worlds.with_package, lambda package: package.chmod(0o700))),
        *(
            fault(f"__main__.py {how}", world=partial(worlds.with_package, do))
            for how, do in worlds.damages("__main__.py").items()
        ),
        *(
            fault(f"{module} {how}", world=partial(worlds.with_package, do))
            for module in modules
            for how, do in worlds.damages(module).items()
        ),
        fault(
            "bytecode empty",
            world=partial(worlds.with_package, partial(worlds.each_bytecode, lambda _: b"")),
        ),
        fault(
            "bytecode garbage",
            world=partial(worlds.with_package, partial(worlds.each_bytecode, lambda _: b"garbage" * 50)),
        ),
        fault(
            "bytecode cut",
            world=partial(worlds.with_package, partial(worlds.each_bytecode, lambda data: data[: len(data) // 2])),
        ),
        fault(
            "bytecode of zeros after its header",
            world=partial(worlds.with_package, partial(worlds.each_bytecode, worlds.zeros)),
        ),
        fault(
            "bytecode of another version",
            world=partial(worlds.with_package, partial(worlds.each_bytecode, worlds.other_version)),
        ),
        fault("bytecode missing", world=partial(worlds.with_package, worlds.no_bytecode), must_deliver=True),
        *(
            fault(f"interpreter ends with {n}", world=partial(worlds.with_interpreter, f"#!/bin/sh\nexit {n}\n"))
            for n in (0, 1, 2, 64, 65, 69, 70, 120, 126, 127, 255)
        ),
        *(
            fault(
                f"interpreter dies of SIG{s}",
                world=partial(worlds.with_interpreter, f"#!/bin/sh\nkill -{s} $$\n"),
            )
            for s in ("SEGV", "KILL", "ABRT", "TERM")
        ),
        fault("interpreter empty", world=partial(worlds.with_interpreter, "")),
        fault("interpreter not executable", world=partial(worlds.with_interpreter, "", mode=0o644)),
        fault("interpreter missing", world=worlds.without_interpreter),
        *(
            fault(f"standard library: {name} missing", world=partial(worlds.without_library, name))
            for name in ("", "encodings")
        ),
        fault("standard library: os garbage", world=partial(worlds.with_library, "os.py", "(((")),
        fault(
            "standard library: select says 0",
            world=partial(worlds.with_library, "tomllib/__init__.py", "raise SystemExit(0)"),
        ),
    ]


if __name__ == "__main__":
    import sys

    from lab.fault_report import main

    sys.exit(main())
