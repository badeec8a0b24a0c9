"""Faults of the policy part: quarantine, several copies of one message, bounces, notices, and their settings.

The tables are in table_faults.py. A fault that comes after the first copy was taken may repeat that copy: no filter can
take it back. Not so one that was there before: what a notice needs can be known to be missing when nothing is queued.
"""

import itertools
import resource
import signal
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from lab import stub_spamd, table_faults, worlds
from lab.judgement import Due, address
from lab.messages import BODY, CLEAN, FORGED, HEADER, of_size
from lab.pipe8 import Host
from lab.policy_scene import (
    ADMIN,
    BLOCKS,
    DISCARDED,
    POLICY,
    QUARANTINE,
    REFUSED,
    UNSCANNED,
    due,
    fault,
    recipient,
    sendmail_for,
    with_policy,
)
from lab.stage import GOOD_SENDMAIL, MAX_SIZE, Fault, Kill
from lab.table_faults import of_table

_MB = 1 << 20
_READ = "cat >/dev/null; "
_REJECT = f"{_READ}exit 65"
_TO_SENDER = '*"-- sender@"*'


def table() -> list[Fault]:
    """Return the faults of this family."""
    return [
        *_nothing(),
        *_sendmail(),
        *_rejected(),
        *_bounces(),
        *table_faults.table(),
        *_scans(),
        *_heads(),
        *_many(),
        *_copies(),
        *_signals(),
        *_ends(),
        *_settings(),
        *_compiled(),
        *_patterns(),
        *_install(),
        *_messages(),
        *_addresses(),
        *_host(),
    ]


def _nothing() -> list[Fault]:
    """Return scenes in which little is wrong: what all others rest on."""
    good = partial(fault, must_deliver=True)
    one_by_one = ("plain", "tagged", "clean", "kept", "also", "refused", "reported", "warned")
    no_score = "printf 'X-Spam-Flag: YES\\nX-Spam-Checker-Version: stub\\n%s'; cat; exit 1"
    odd_scores = ("nan", "inf", "1e999", "-", "")
    delivered = {recipient(domain): Due() for domain in one_by_one}
    return [
        *(good(f"nothing is wrong, {domain}", domain) for domain in BLOCKS),
        good("nothing is wrong, everybody", *BLOCKS),
        good("nothing is wrong, everybody, the other way round", *reversed(BLOCKS)),
        good("sendmail is slow, within its time", *one_by_one, sendmail=f"sleep 0.1; {GOOD_SENDMAIL}"),
        good("sendmail warns", *BLOCKS, sendmail=f"echo '5.1.1 warning' >&2; {GOOD_SENDMAIL}"),
        good("spamc wraps the message", "plain", "tagged", "kept", "discard", "refused", spamc="wrap"),
        good("spamc tells no score", *one_by_one, spamc=no_score.replace("%s", ""), dues=delivered),
        *(
            good(
                f"spamc tells the score {score!r}",
                *one_by_one,
                spamc=no_score.replace("%s", f"X-Spam-Status: Yes, score={score} required=5.0\\n"),
                dues=delivered,
            )
            for score in odd_scores
        ),
        good("one recipient twice", recipients=(recipient("plain"),) * 2, dues={recipient("plain"): due("plain")}),
        good("one recipient twice, kept", recipients=(recipient("kept"),) * 2, dues={recipient("kept"): due("kept")}),
    ]


# Whose sendmail fails: the recipients' domains, with which arguments it is called, whether anything has been queued
# before, and who is refused if it rejects the message.
_SENDMAILS: dict[str, tuple[tuple[str, ...], str, bool, str]] = {
    "quarantine's sendmail": (("plain", "kept"), "*quarantine@*", False, ""),
    "second quarantine's sendmail": (("plain", "kept", "also"), "*second@*", True, ""),
    "sendmail after quarantine": (("watched", "kept"), "*@watched.*", True, "watched"),
    "first copy's sendmail": (("plain", "tagged", "discard"), "*@plain.*", False, "plain"),
    "second of three copies' sendmail": (("plain", "tagged", "clean"), "*@tagged.*", True, "tagged"),
    "last copy's sendmail": (("plain", "tagged", "clean"), "*@clean.*", True, "clean"),
    "bounce's sendmail": (("plain", "refused"), _TO_SENDER, True, ""),
    "sendmail to the administrator": (("plain", "reported"), "*admin@*", True, ""),
    "sendmail to the warned sender": (("plain", "warned"), _TO_SENDER, True, ""),
}
_FAILURES = {
    "exits 75": f"{_READ}exit 75",
    "exits 77": f"{_READ}exit 77",
    "exits 69": f"{_READ}exit 69",
    "exits 1, says 5.1.1": f"{_READ}echo 5.1.1 text; exit 1",
    "exits 75 unread": "exit 75",
    "exits 0 unread": "exit 0",
    "exits 0 after half the message": "head -c 400 >/dev/null; exit 0",
    "dies of SIGKILL": f"{_READ}kill -KILL $$",
    "dies of SIGTERM unread": "kill -TERM $$",
    "hangs unread": "exec sleep 30",
    "hangs, ignoring SIGTERM": f"trap '' TERM HUP INT; {_READ}sleep 30",
    "prints endlessly": f"{_READ}exec yes",
}
_LATE_FAILURES = {
    "exits 75 after queueing": f"{GOOD_SENDMAIL}; exit 75",
    "dies of SIGKILL after queueing": f"{GOOD_SENDMAIL}; kill -KILL $$",
    "hangs after queueing": f"{GOOD_SENDMAIL}; exec sleep 30",
}


def _sendmail() -> list[Fault]:
    """Return each sendmail of the way with each failure."""
    faults = []
    for whose, (domains, arguments, is_late, refused) in _SENDMAILS.items():
        for how, body in (_FAILURES | _LATE_FAILURES).items():
            sendmail, may_repeat = sendmail_for(arguments, body), is_late or how in _LATE_FAILURES
            faults.append(fault(f"{whose} {how}", *domains, sendmail=sendmail, may_repeat=may_repeat))
        if whose != "bounce's sendmail":  # which is in _rejected
            sendmail, dues = sendmail_for(arguments, _REJECT), _refused(refused)
            faults.append(fault(f"{whose} exits 65", *domains, sendmail=sendmail, dues=dues, may_repeat=is_late))
    return faults


def _refused(domains: str) -> dict[bytes, Due]:
    """Return what is due where sendmail rejects the copies for these domains."""
    return {
        recipient(domain): Due(delivered=False, told=True, quarantine=due(domain).quarantine)
        for domain in domains.split()
    }


def _rejected() -> list[Fault]:
    """Return what is harder where sendmail will never take a copy: nobody else may lose his, and somebody is told."""

    def rejected(name: str, *domains: str, who: str, **what: object) -> Fault:
        arguments = "|".join(f"*@{domain}.*" for domain in who.split())
        scene: dict[str, object] = {"sendmail": sendmail_for(arguments, _REJECT), "dues": _refused(who)}
        return fault(f"sendmail rejects {name}", *domains, **(scene | what))

    both = sendmail_for(f"*@tagged.*|{_TO_SENDER}", _REJECT)
    then = f'case "$*" in *@plain.*) {_REJECT} ;; esac; exit 75'
    bulk, null = {"message": b"Precedence: bulk\n" + CLEAN}, {"sender": b"", "may_bounce": True}
    return [
        rejected("all copies", "plain", "tagged", who="plain tagged"),
        rejected("all copies, another is discarded", "plain", "tagged", "discard", who="plain tagged"),
        rejected("the only copy, another is kept", "plain", "kept", who="plain"),
        rejected("the only copy, all others refuse", "plain", "refused", "kept-refused", who="plain"),
        rejected("a bulk message's second copy", "plain", "tagged", who="tagged", **bulk),
        rejected("the first of two copies, null sender", "plain", "tagged", who="plain", **null),
        rejected("the second of three copies, null sender", "plain", "tagged", "clean", who="tagged", **null),
        rejected("the last of two copies, null sender", "plain", "tagged", who="tagged", **null),
        rejected("the only copy, null sender, another is discarded", "plain", "discard", who="plain", **null),
        rejected("one copy, puts the next off", "plain", "tagged", who="plain", sendmail=then),
        rejected("a copy and its bounce", "plain", "tagged", who="tagged", sendmail=both, may_bounce=True),
        rejected("the bounce", "plain", "refused", who="", sendmail=both, may_bounce=True),
    ]


def _bounces() -> list[Fault]:
    """Return messages that all refuse, which Postfix bounces, and those that nobody may bounce."""
    refused = ("refused", "kept-refused")
    dues = {recipient("refused"): DISCARDED, recipient("kept-refused"): due("kept")}
    silent = partial(fault, must_deliver=True, dues=dues)
    marks = (b"List-Id: <x>", b"List-Unsubscribe: <x>", b"Precedence: Bulk", b"Precedence: junk", b"Auto-Submitted: x")
    return [
        fault("all refuse, nobody reads why", *refused, host=Host(output="|")),
        fault("all refuse, output to a full device", *refused, host=Host(output="/dev/full")),
        fault("all refuse, no scan", *refused, spamc="exit 75"),
        fault("all refuse, it is no spam", "refused", spamc="good", dues={recipient("refused"): Due()}),
        *(
            fault(f"all refuse, quarantine's sendmail {how}", *refused, sendmail=sendmail_for("*quarantine@*", body))
            for how, body in _FAILURES.items()
        ),
        *(silent(f"all refuse, {mark.decode()}", *refused, message=mark + b"\n" + CLEAN) for mark in marks),
        *(
            silent(f"all refuse, sender {one.decode()!r}", *refused, sender=one)
            for one in (b"", b"<>", b"MAILER-DAEMON")
        ),
        silent("some refuse, null sender", "plain", *refused, sender=b""),
        silent("some refuse, bulk", "plain", *refused, message=b"Precedence: list\n" + CLEAN),
    ]


_UNREACHED = {"exits 70": "exit 70", "hangs": "exec sleep 30"}
_SCAN_FAILURES = {
    "exits 71": "exit 71",
    "prints nothing": f"{_READ}exit 0",
    "prints half the message": "marks; head -c 500; exit 1",
    "dies of SIGSEGV": "kill -SEGV $$",
    "changes the body": "marks; sed 's/jumps/dumps/'",
}


def _scans() -> list[Fault]:
    """Return scans that fail, for one user among several."""
    per_user, passing = "spamc.per_recipient = true\n", 'spamc.on_failure = "pass"\n'
    domains, faults = ("kept", "tagged", "plain"), []
    failures = _SCAN_FAILURES | _UNREACHED
    for (how, body), (place, which) in itertools.product(failures.items(), enumerate(("first", "second", "last"))):
        # A scanner out of reach is not asked again.
        victims = domains[place:] if how in _UNREACHED else domains[place : place + 1]
        scene = partial(fault, spamc=f'case "$*" in *@{domains[place]}.*) {body} ;; esac; spam')
        dues = {recipient(domain): UNSCANNED for domain in victims}
        faults += [
            scene(f"{which} user's spamc {how}", *domains, policy=per_user + POLICY),
            scene(f"{which} user's spamc {how}, passed", *domains, policy=per_user + passing + POLICY, dues=dues),
        ]
    no_scan = partial(fault, spamc="exit 70", policy=passing + POLICY, must_deliver=True)
    differs = 'case "$*" in *@kept.*) good ;; *) spam ;; esac'
    ham = {recipient("kept"): Due(field=b"X-Spam-Status: No, score=0.1")}
    handled = ("kept", "plain", "discard", "refused")
    blocked = passing + with_policy('block_senders = ["example.com"]')
    return [
        *faults,
        fault(
            "users' scans differ", "kept", "plain", policy=per_user + POLICY, spamc=differs, dues=ham, must_deliver=True
        ),
        no_scan("no scan, passed", *handled, dues={recipient(domain): UNSCANNED for domain in handled}),
        no_scan("one bypasses, no scan, passed", "bypass", "plain", dues={recipient("plain"): UNSCANNED}),
        no_scan("no scan, passed, sender is blocked", "kept", "discard", "refused", policy=blocked),
        fault("one bypasses, no scan", "bypass", "plain", spamc="exit 70"),
        fault("all bypass, spamc is missing", "bypass", spamc=None, must_deliver=True),
    ]


def _heads() -> list[Fault]:
    """Return faults of the scan of a message's head."""
    head = partial(fault, policy=f'spamc.oversize = "head"\n{POLICY}', message=of_size(MAX_SIZE + 100_000))
    good = partial(head, must_deliver=True)
    domains = ("kept", "plain", "tagged")
    bodies = {
        "exits 70": "exit 70",
        "prints nothing": f"{_READ}exit 1",
        "cuts the head": "marks; head -c 500000; exit 1",
        "drops the last byte of the head": "marks; head -c -1; exit 1",
        "adds a footer": "good; echo footer; exit 1",
        "hangs": "exec sleep 30",
        "prints endlessly": "good; exec yes",
    }
    return [
        good("head of a large message", *domains),
        good("head of a large message, forged fields", *domains, message=of_size(MAX_SIZE + 9, FORGED + HEADER)),
        good("head of a large message, CRLF", *domains, message=of_size(MAX_SIZE).replace(b"\n", b"\r\n")),
        good("head of a message of one line", *domains, message=HEADER + b"\n" + b"x" * 700_000),
        good("head of a message that is all header", "kept", "plain", message=b"X-A: b\n" * 100_000 + CLEAN),
        *(head(f"head of a large message, spamc {how}", *domains, spamc=body) for how, body in bodies.items()),
    ]


def _many() -> list[Fault]:
    """Return messages for 200 recipients in 20 groups, each with a copy or a quarantine of its own."""
    everybody = tuple(b"user%d@g%d.example" % (number, number % 20) for number in range(200))
    group = {name: b"g%d" % (number % 20) for number, name in enumerate(everybody)}
    tags = {name: Due(field=b"Subject: [%b] the" % group[name]) for name in everybody}
    stores = {name: Due(delivered=False, quarantine=group[name] + b"@here.example") for name in everybody}
    store = 'kill_level = 6\ndestiny = "discard"\nquarantine = "{0}@here.example"'
    tagged = partial(fault, recipients=everybody, policy=_for_groups('subject_tag = "[{0}]"'), dues=tags)
    kept = partial(fault, recipients=everybody, policy=_for_groups(store), dues=stores)
    failures = ("exits 75", "exits 0 unread", "dies of SIGKILL", "hangs unread")
    faults = []
    for what, scene, tenth in (("20 copies for 200", tagged, "*@g9.*"), ("20 quarantines for 200", kept, "*g9@*")):
        limits = [Host(limits={resource.RLIMIT_NOFILE: count}) for count in (13, 16, 20, 24, 32)]
        faults += [
            scene(f"{what}, nothing is wrong", must_deliver=True),
            *(
                scene(
                    f"{what}, sendmail {how} at the tenth",
                    sendmail=sendmail_for(tenth, _FAILURES[how]),
                    may_repeat=True,
                )
                for how in failures
            ),
            *(scene(f"{what}, descriptors limited to {min(host.limits.values())}", host=host) for host in limits),
        ]
    refused = tags | {name: REFUSED for name in everybody if group[name] == b"g9"}
    tenth_rejected = partial(tagged, sendmail=sendmail_for("*@g9.*", _REJECT), dues=refused)
    return [*faults, tenth_rejected("20 copies for 200, sendmail rejects the tenth", must_deliver=True)]


def _for_groups(keys: str) -> str:
    return "".join(f'[[recipients]]\nmatch = ["g{n}.example"]\n{keys.format(f"g{n}")}\n' for n in range(20))


def _copies() -> list[Fault]:
    """Return faults met while a copy is made: no room for it, no memory file, nowhere to write.

    The limits leave room for the message and for spamc's answer, and not for a copy with one more word.
    """
    in_memory, on_disk = 300_000, 2_000_000
    room = in_memory + len(stub_spamd.SPAM_MARKS) + 3
    limited = partial(fault, message=of_size(in_memory), host=Host(limits={resource.RLIMIT_FSIZE: room}))
    head = partial(
        fault,
        message=of_size(on_disk),
        policy=f'spamc.oversize = "head"\n{POLICY}',
        host=Host(environ={"PATH": "/usr/bin:/bin", "TMPDIR": "/tmp"}),
    )
    one, two = (partial(worlds.small_tmp, (number * on_disk + 500_000) // 1000) for number in (1, 2))
    forged = of_size(on_disk, FORGED + HEADER)
    return [
        limited("no room for a quarantine copy", "plain", "kept"),
        limited("no room for the first copy", "tagged", "plain"),
        limited("no room for the second copy", "plain", "tagged", may_repeat=True),
        head("no room on disk for a quarantine copy", "plain", "kept", world=one),
        head("no room on disk for the first copy", "tagged", "plain", world=one),
        head("no room on disk without the forged fields", "plain", "kept", world=one, message=forged),
        head("room on disk for one of three copies", "plain", "tagged", "clean", world=two, must_deliver=True),
        head("room on disk for one of two quarantine copies", "kept", "also", "plain", world=two, must_deliver=True),
        head("nowhere on disk, large message", "plain", "kept", host=Host(), world=worlds.no_tmp),
        fault("no memory file", *BLOCKS, world=worlds.no_memory_file, must_deliver=True),
        fault("no memory file, nowhere on disk", *BLOCKS, world=worlds.no_memory_file_and_no_tmp),
    ]


def _signals() -> list[Fault]:
    """Return signals before and between the calls of sendmail, and while a table is asked.

    From the first sendmail on no signal but SIGKILL ends the filter: what it says must be true of all copies.
    """
    domains = ("kept", "plain", "tagged")
    before, after = f"flag now; sleep 0.5; {GOOD_SENDMAIL}; exit 0", f"{GOOD_SENDMAIL}; flag now; sleep 0.5; exit 0"
    moments = {
        "before quarantine has the message": sendmail_for("*quarantine@*", before),
        "between quarantine and copies": sendmail_for("*quarantine@*", after),
        "between two copies": sendmail_for("*@plain.*", after),
        "before the last copy is read": sendmail_for("*@tagged.*", before),
    }
    queued = {"quarantine": "*quarantine@*", "the first copy": "*@plain.*", "the last copy": "*@tagged.*"}
    faults = []
    for name in ("TERM", "HUP", "INT", "KILL"):
        number, last = getattr(signal, f"SIG{name}"), name == "KILL"
        for target in ("leader", "child", "group"):
            by, kill = f"SIG{name} to the {target}", Kill(number, target, "now")
            faults += [
                *(
                    fault(f"{by}, {when}", *domains, sendmail=sendmail, kill=kill, may_repeat=last)
                    for when, sendmail in moments.items()
                ),
                of_table("table of recipients", f"runs at {by}", "flag now; sleep 0.5; answer", kill=kill),
            ]
        kill_filter = f"{GOOD_SENDMAIL}; kill -{name} $PPID; exit 0"
        faults += [
            fault(
                f"SIG{name} when {what} is queued", *domains, sendmail=sendmail_for(who, kill_filter), may_repeat=last
            )
            for what, who in queued.items()
        ]
    return faults


def _ends() -> list[Fault]:
    """Return times that run out, and a Postfix that is gone, before all is disposed of."""
    domains, slow = ("kept", "plain", "tagged"), f"sleep 2.5; {GOOD_SENDMAIL}"
    cuts = {"in the header": len(HEADER) // 2, "after the header": len(HEADER), "after the last byte": len(CLEAN)}
    return [
        fault("deadline past at the second copy", *domains, sendmail=slow, may_repeat=True),
        fault("deadline past at the notice", "plain", "refused", "reported", sendmail=slow, may_repeat=True),
        fault("nobody reads the output", *domains, host=Host(output="|")),
        of_table("table of recipients", "answers, nobody reads the output", host=Host(output="|")),
        *(fault(f"Postfix killed {when}", *domains, cut=count) for when, count in cuts.items()),
    ]


def _settings() -> list[Fault]:
    """Return settings that are wrong."""
    domains = ("kept", "plain", "tagged", "refused")
    wrong = {
        "a wrong level": "kill_level = 'high'",
        "a level that is no number": "kill_level = nan",
        "an unknown key": "kil_level = 3",
        "a wrong destiny": "destiny = 'drop'",
        "a quarantine that is no address": "quarantine = 'spam'",
        "a quarantine of an unknown kind": "quarantine = 'zip:/var/spam'",
        "a relative path as quarantine": "quarantine = 'dir:var/spam'",
        "an unknown macro": "quarantine = '${usr}@here.example'",
        "two administrators": "admin = 'a@example.com, b@example.com'",
        "a tag of two lines": 'subject_tag = "a\\nb"',
        "true as text": "bypass = 'true'",
        "a list as text": "welcome_senders = 'example.com'",
        "a block for nobody": "[[recipients]]\nkill_level = 1",
        "a section for blocks": "[recipients]\nmatch = ['example.com']",
        "a key that senders' blocks have not": "[[senders]]\nmatch = ['.']\ndestiny = 'discard'",
        "a table without type": "[tables]\nrecipients = ['spam']",
        "postmap without a path": "[tables]\ncommand = ['postmap']",
        "a section twice": "[policy]\nkill_level = 1",
    }
    later = POLICY.replace(QUARANTINE.decode(), "dir:/nonexistent/spam")
    return [
        *(fault(f"settings with {what}", *domains, policy=with_policy(keys)) for what, keys in wrong.items()),
        fault("settings with a quarantine that cannot be written", "plain", "kept", policy=later),
        fault("settings with 10,000 blocks", *domains, policy=POLICY + _blocks(10_000), must_deliver=True),
    ]


def _blocks(count: int) -> str:
    return "".join(f'[[recipients]]\nmatch = ["user@n{n}.example"]\nkill_level = {n}\n' for n in range(count))


def _compiled() -> list[Fault]:
    """Return compiled settings that are damaged, and some that say otherwise and are not to be believed."""
    domains = ("kept", "plain", "tagged", "refused")
    otherwise = '[policy]\nkill_level = -100\ndestiny = "discard"\n'
    damages: dict[str, Callable[[Path], object]] = {
        "as they should be": lambda path: path.chmod(0o644),
        "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
        "empty": lambda path: path.write_bytes(b""),
        "of zeros": lambda path: path.write_bytes(bytes(path.stat().st_size)),
        "garbage": lambda path: path.write_bytes(b"garbage" * 100),
        "not readable": lambda path: path.chmod(0o600),
    }
    distrusted: dict[str, Callable[[Path], object]] = {
        "writable by others": lambda path: path.chmod(0o666),
        "of another owner": worlds.give_away,
        "older than their source": lambda path: worlds.touch(path.with_suffix("")),
    }
    wrong = ("None", "5", "{**right, 'policy': None}", "{**right, 'recipients': 5}")
    good = partial(fault, must_deliver=True)
    return [
        *(
            good(f"compiled settings, {how}", *domains, world=worlds.compile_settings(damage))
            for how, damage in damages.items()
        ),
        *(
            good(f"compiled settings, {how}", *domains, world=worlds.compile_settings(change, instead=otherwise))
            for how, change in distrusted.items()
        ),
        *(
            fault(f"compiled settings that are {values}", *domains, world=worlds.compile_settings(values=values))
            for values in wrong
        ),
    ]


def _patterns() -> list[Fault]:
    """Return lists of patterns that are wrong, or that take for ever with what a sender chose."""
    bad = (
        *("", "!", "user@", "@", "*@example.com", "a b@example.com", "a@b@example.com", "example..com", "example.com."),
        *("/(/", "/", "//", "/a", "/(?P<x>a)(?P<x>b)/", "/a{99999999999}/", "/" + "(" * 500 + ")" * 500 + "/"),
        *("hash:", ":x", "HASH:x", "user@example.com\nx", "\0"),
    )
    places = {"welcome_senders": "[policy]\nwelcome_senders = [{0}]\n", "match": "[[recipients]]\nmatch = [{0}]\n"}
    long = b"a" * 60 + b"@example.com"
    senders = "[policy]\nwelcome_senders = ['/^(\\w+)+!/']\n"
    slow: dict[str, dict[str, object]] = {
        "a recipient": {"policy": "[[recipients]]\nmatch = ['/^(\\w+)+!/']\nkill_level = 1\n", "recipients": (long,)},
        "a sender": {"policy": senders, "sender": long},
        "an address in From": {"policy": senders, "message": CLEAN.replace(b"sender@example.com", long)},
    }
    anybody = {"recipients": (b"user@example.org",)}
    return [
        *(
            fault(f"{key} with the pattern {word[:20]!r}", "plain", policy=text.format(_quoted(word)))
            for key, text in places.items()
            for word in bad
        ),
        *(
            fault(f"a regular expression that takes for ever for {whom}", **(anybody | what))
            for whom, what in slow.items()
        ),
        fault("1,000 regular expressions", "plain", policy=_expressions(1000) + POLICY, must_deliver=True),
        fault("10,000 regular expressions", "plain", policy=_expressions(10_000) + POLICY),
    ]


def _quoted(word: str) -> str:
    """Return any text as TOML."""
    return '"' + "".join(f"\\u{ord(char):04x}" for char in word) + '"'


def _expressions(count: int) -> str:
    words = ", ".join(f"'/^user{n}@(.*\\.)?example{n}\\.com$/'" for n in range(count))
    return f"[[recipients]]\nmatch = [{words}]\nkill_level = 1\n"


def _install() -> list[Fault]:
    """Return damages to what only policies need."""
    scenes = {
        "quarantine.py": ("plain", "kept"),
        "notices.py": ("plain", "refused"),
        "notify.py": ("plain", "reported"),
    }
    modules = ("tables.py", "policy_keys.py", "wishes.py", "patterns.py")
    no_email, no_re = (partial(worlds.without_library, name) for name in ("email", "re"))
    expression = with_policy("welcome_senders = ['/x/']")
    return [
        *(  # half a module may be one, and what it lacks is missed when it is called
            fault(f"{module} {how}", *domains, world=world, may_repeat=how == "cut")
            for module, domains in scenes.items()
            for how, world in _damages(module)
        ),
        *(
            of_table("table of recipients", f"does its work, {module} {how}", world=world)
            for module in modules
            for how, world in _damages(module)
        ),
        fault("standard library: email missing, some refuse", "plain", "refused", world=no_email),
        fault("standard library: email missing, all refuse", "refused", world=no_email, must_deliver=True),
        fault("standard library: email missing, sender is warned", "plain", "warned", world=no_email),
        fault("standard library: re missing", "plain", "kept", policy=expression, world=no_re),
    ]


def _damages(module: str) -> Iterable[tuple[str, Callable[..., None]]]:
    for how, damage in worlds.damages(module).items():
        yield how, partial(worlds.with_package, damage)


def _messages() -> list[Fault]:
    """Return odd messages, with all that can be made of one; each is the real spamc's and spamd's spam."""
    domains = ("kept", "tagged", "clean", "bypass", "refused", "reported", "warned")
    dues = {
        recipient("tagged"): Due(field=b"Subject: [SPAM]"),
        recipient("clean"): Due(field=b"X-Spam-Status: No, score=6.0"),
        recipient("bypass"): Due(scanned=False),
    }
    subject, person = b"the quick brown fox", b"Sam Sender"
    odd = {
        "header only": HEADER,
        "no header": b"no header here\n",
        "blank line first": b"\n" + BODY,
        "no blank line after the header": HEADER + b"this line is no field\nnor this: really\n",
        "no line break at the end": CLEAN[:-1],
        "NUL": CLEAN + b"a\0b\n",
        "8-bit header and body": b"X-Raw: \xe9\xff\n" + CLEAN + bytes(range(128, 256)),
        "CRLF": CLEAN.replace(b"\n", b"\r\n"),
        "CRLF in the body only": HEADER + b"\n" + BODY.replace(b"\n", b"\r\n"),
        "20,000 header lines": b"".join(b"X-N: %d\n" % n for n in range(20_000)) + CLEAN,
        "a header line of 300 kB": b"X-Long: " + b"x" * 300_000 + b"\n" + CLEAN,
        "From_ line first": b"From sender@example.com Sun Nov 22 10:00:00 2026\n" + CLEAN,
        "forged X-Spam fields": FORGED + CLEAN,
        "forged quarantine fields": b"X-Envelope-To: <x@example.net>\nX-Quarantine-ID: <x>\n" + CLEAN,
        "no Subject": CLEAN.replace(b"Subject: the quick brown fox\n", b""),
        "three Subjects": b"Subject: one\nSubject:two\n" + CLEAN,
        "an encoded Subject": CLEAN.replace(subject, b"=?utf-8?q?=C3=A9?="),
        "an 8-bit Subject": CLEAN.replace(subject, b"\xe9\xff"),
        "a Subject of 20 kB": CLEAN.replace(subject, b"\n\t".join([b"x" * 900] * 20)),
        "a From of 20 kB": CLEAN.replace(person, b"\n\t".join([b'"x" <x@example.net>,'] * 1000)),
        "a broken MIME type": CLEAN.replace(b"text/plain", b'multipart/mixed; boundary="'),
    }
    good = partial(fault, must_deliver=True, spamd="spam", dues=dues)
    return [good(f"a message with {what}", *domains, message=message) for what, message in odd.items()]


def _addresses() -> list[Fault]:
    """Return addresses that are hard to write into a field of a quarantine's copy or a notice."""
    words = (b'"a b"', b'"a,b"', b'"a\\"b"', b"a+b", b"andr\xe9", "\u00e9".encode(), b"x" * 300, b"-t", b"a%b!c")
    kept = {word + b"@kept.example": due("kept") for word in words}
    plain = {word + b"@plain.example": Due() for word in words}
    dues = {address(name): what for name, what in (kept | plain).items()}
    stores = {name: Due(delivered=False, quarantine=_user(name) + b"+spam@here.example") for name in map(address, kept)}
    macro = POLICY.replace(QUARANTINE.decode(), "${user}+spam@here.example")
    senders = {"quoted": b'"a b"', "8-bit": b"\xe9", "of 400 bytes": b"x" * 388, "an option": b"-t"}
    everybody = ("plain", "kept", "refused", "reported", "warned")
    good = partial(fault, must_deliver=True)
    return [
        good("recipients are odd", recipients=(*plain, *kept), dues=dues),
        good("recipients are odd, each has a quarantine", recipients=tuple(kept), dues=stores, policy=macro),
        *(
            good(f"sender is {what}", *everybody, sender=sender, notices=(address(sender), ADMIN))
            for what, sender in ((what, local + b"@example.com") for what, local in senders.items())
        ),
        good("sender is null", "plain", "kept", "reported", "warned", sender=b""),
    ]


def _user(name: bytes) -> bytes:
    return name.rpartition(b"@")[0].partition(b"+")[0]


def _host() -> list[Fault]:
    """Return hosts that have too little of something, or a strange environment."""

    def host(name: str, **what: object) -> Fault:
        return fault(name, *BLOCKS, **what)

    good = partial(host, must_deliver=True)
    signals = (signal.SIGTERM, signal.SIGALRM)
    megabytes = (12, 14, 16, 18, 20, 22, 24, 28, 32, 48)
    memory = [(f"memory limited to {n} MB", Host(limits={resource.RLIMIT_AS: n * _MB})) for n in megabytes]
    return [
        *(fault(f"some refuse, {name}", "plain", "refused", host=host, may_repeat=True) for name, host in memory),
        *(of_table("table of recipients", f"does its work, {name}", host=host) for name, host in memory),
        *(
            host(f"everything asked, descriptors limited to {n}", host=Host(limits={resource.RLIMIT_NOFILE: n}))
            for n in (11, 13, 14, 16, 20)
        ),
        good("everything asked, nothing in the environment but MAIL_CONFIG", host=Host(environ={})),
        good("everything asked, SIGCHLD ignored", host=Host(ignored=(signal.SIGCHLD,))),
        good("everything asked, SIGPIPE not ignored", host=Host(default=(signal.SIGPIPE,))),
        good("everything asked, SIGTERM and SIGALRM blocked", host=Host(blocked=signals)),
        host("everything asked, output closed", host=Host(closed=(1, 2))),
        host("everything asked, output to a closed pipe", host=Host(output="|")),
        host("everything asked, output to a full device", host=Host(output="/dev/full")),
        good("everything asked, /tmp full", world=worlds.full_tmp),
        good("everything asked, /tmp and /var/tmp not writable", world=worlds.no_tmp),
        good("everything asked, syslogd stopped", settings=worlds.log_to_syslog, world=worlds.stopped_syslogd),
        good("everything asked, log file a FIFO", settings=worlds.log_to_fifo),
        host("everything asked, sendmail is missing", sendmail=None),
        host("everything asked, sendmail is not executable", sendmail_mode=0o644),
        host("everything asked, sendmail is an empty file", sendmail=""),
    ]
