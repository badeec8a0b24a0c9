"""Faults of a quarantine's stores: folders and files that are not what they should be, disks that are full, locks.

Each message is for a recipient who gets his copy and four whose message is kept, in one store or another, before it is
delivered, discarded or refused. When one store fails, nobody may have anything, in the others neither: it comes again.
What the worlds mount over a store nobody else sees: there only what the filter says and sends can be judged.
"""

import contextlib
import fcntl
import os
import resource
import signal
import socket
import stat
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from lab import namespace, policy_scene, worlds
from lab.judgement import Due
from lab.messages import BODY, CLEAN, FORGED, HEADER, of_size
from lab.pipe8 import Host
from lab.policy_scene import QUARANTINE, UNTAGGED, recipient, sendmail_for
from lab.stage import GOOD_SENDMAIL, Fault, Install, Kill

KINDS = ("dir", "maildir", "mbox")
# What is done with a path.
Break = Callable[[Path], None]
World = Callable[[Path, Install | None], None]
_FIRST, _SECOND = "@DIR@/kept/one/spam", "@DIR@/kept/two/spam"
_READ = "cat >/dev/null; "


def table() -> list[Fault]:
    """Return the faults of this family."""
    return [
        *_nothing(),
        *_places(),
        *_disks(),
        *_parts(),
        *_boxes(),
        *_names(),
        *_limits(),
        *_sendmail(),
        *_signals(),
        *_mixed(),
        *_install(),
    ]


def _scene(kind: str, first: str = _FIRST, second: str = _SECOND) -> dict[str, object]:
    """Return policy and dues of all recipients, with two stores of a kind."""
    one, two = f"{kind}:{first}", f"{kind}:{second}"
    blocks = {
        "plain": ('kill_level = "never"', Due(field=UNTAGGED)),
        "passed": (f'quarantine = "{one}"', Due(quarantine=one.encode(), field=UNTAGGED)),
        "dropped": (f'destiny = "discard"\nquarantine = "{one}"', Due(delivered=False, quarantine=one.encode())),
        "refused": (
            f'destiny = "bounce"\nquarantine = "{one}"',
            Due(delivered=False, told=True, quarantine=one.encode()),
        ),
        "other": (f'destiny = "discard"\nquarantine = "{two}"', Due(delivered=False, quarantine=two.encode())),
    }
    texts = [f'[[recipients]]\nmatch = ["{domain}.example"]\n{keys}\n' for domain, (keys, _) in blocks.items()]
    return {
        "family": "stores",
        "policy": "[policy]\nkill_level = 6\n" + "".join(texts),
        "recipients": tuple(map(recipient, blocks)),
        "dues": {recipient(domain): what for domain, (_, what) in blocks.items()},
        "world": _world(lambda _: None),
    }


def _fault(kind: str, name: str, *domains: str, **what: object) -> Fault:
    """Return a fault for these recipients, or for all."""
    scene = _scene(kind) | ({"recipients": tuple(map(recipient, domains))} if domains else {}) | what
    dues: dict[bytes, Due] = scene["dues"]  # type: ignore[assignment]
    scene["dues"] = {who: due for who, due in dues.items() if who in scene["recipients"]}  # type: ignore[operator]
    return policy_scene.fault(f"{kind}, {name}", **scene)


def _world(spoil: Break, which: str = "one") -> World:
    """Return a world in which the stores' folders are there, and something is done with one store's path."""

    def world(directory: Path, _: Install | None) -> None:
        for name in ("one", "two"):
            _own(directory / "kept" / name, Path.mkdir)
        spoil(directory / "kept" / which / "spam")

    return world


def _own(path: Path, make: Callable[..., object], mode: int = 0o700) -> None:
    """Make something that belongs to the account that the stage's folder `kept` belongs to."""
    make(path)
    owner = next(parent for parent in path.parents if parent.name == "kept").stat().st_uid
    os.chown(path, owner, owner, follow_symlinks=False)
    if not path.is_symlink():
        path.chmod(mode)


def _empty_store(kind: str, path: Path, mode: int = 0o700) -> None:
    """Make a store of a kind with nothing in it."""
    _own(path, Path.touch if kind == "mbox" else Path.mkdir, mode)


def _nothing() -> list[Fault]:
    """Return scenes in which little is wrong."""
    odd = {
        "CRLF": CLEAN.replace(b"\n", b"\r\n"),
        "header only": HEADER,
        "mbox lines in the body": HEADER + b"\nFrom a\n>From b\n>>From c\n From d\n" + BODY,
        "NUL and 8-bit": CLEAN + bytes(range(256)) + b"\n",
        "forged fields": FORGED + CLEAN,
        "a body line of 300 kB": CLEAN + b"x" * 300_000 + b"\n",
    }
    faults = []
    for kind in KINDS:
        good = partial(_fault, kind, must_deliver=True)
        make = partial(_empty_store, kind)
        faults += [
            good("nothing is wrong"),
            *(good(f"nothing is wrong, {domain}", domain) for domain in ("passed", "dropped", "refused")),
            good("the store is there", world=_world(make)),
            good("the store can be read by all", world=_world(partial(make, mode=0o755))),
            good("a slash at the end", **_scene(kind, _FIRST + "/")),
            good("a killed filter has left its files", world=_world(partial(_leave_litter, kind))),
            *(good(f"a message with {what}", "passed", "other", message=text) for what, text in odd.items()),
        ]
        if kind != "mbox":  # there, one is added
            faults.append(good("a message without a line break at its end", message=CLEAN[:-1]))
    return faults


def _leave_litter(kind: str, path: Path) -> None:
    """Leave what a filter that was killed leaves."""
    _empty_store(kind, path)
    if kind == "mbox":
        path.write_bytes(b"From MAILER-DAEMON no")
        start, length = path.read_bytes() + b"w", 2000
        path.with_name("spam.lock").write_bytes(b"pf-spamfilt %b 1 0 %d\n%b" % (_host(), length, start))
        path.with_name("spam.lock.new").write_bytes(b"pf-spa")
        for name in ("spam.lock", "spam.lock.new"):
            _own(path.with_name(name), Path.touch, 0o600)
    else:
        (path / ".4cDR2f5x-01234567").write_bytes(b"Subject: ha")


def _host() -> bytes:
    return os.uname().nodename.encode()


def _both(kind: str, name: str, spoil: Break, **what: object) -> list[Fault]:
    """Return a fault of the first store, for each destiny, and of the second, when the first has the message."""
    one = [
        _fault(kind, f"{name}, {domain}", "plain", domain, world=_world(spoil), **what)
        for domain in ("passed", "dropped", "refused")
    ]
    return [*one, _fault(kind, f"the second {name}", world=_world(spoil, "two"), **what)]


def _places() -> list[Fault]:
    """Return stores whose path is something else, or somebody else's."""

    def instead(make: Callable[[Path], object]) -> Break:
        return lambda path: _own(path, make)

    def of_root(kind: str, path: Path) -> None:
        _empty_store(kind, path, 0o755)
        os.chown(path, 0, 0)

    def of_nobody(kind: str, path: Path) -> None:
        _empty_store(kind, path, 0o777)
        os.chown(path, 65534, 65534)

    def link(kind: str, path: Path) -> None:
        _empty_store(kind, path.with_name("real"))
        _own(path, lambda path: path.symlink_to("real"))

    def no_parent(path: Path) -> None:
        path.parent.rmdir()

    def file_as_parent(path: Path) -> None:
        path.parent.rmdir()
        _own(path.parent, Path.touch)

    def locked_parent(path: Path) -> None:
        os.chown(path.parent, 0, 0)
        path.parent.chmod(0o755)

    def closed_parent(path: Path) -> None:
        os.chown(path.parent, 0, 0)

    faults = []
    for kind in KINDS:
        other = Path.mkdir if kind == "mbox" else Path.touch
        spoils: dict[str, Break] = {
            "store's parent is missing": no_parent,
            "store's parent is a file": file_as_parent,
            "store's parent is not writable": locked_parent,
            "store's parent is closed": closed_parent,
            "store is a symbolic link": partial(link, kind),
            "store is a dangling link": instead(lambda path: path.symlink_to("/nonexistent/spam")),
            "store is root's": partial(of_root, kind),
            "store is another account's": partial(of_nobody, kind),
            "store can be written by all": partial(_empty_store, kind, mode=0o777),
            "store can be written by its group": partial(_empty_store, kind, mode=0o770),
            "store is of another kind": instead(other),
            "store is a FIFO": instead(os.mkfifo),
            "store is a socket": instead(_socket),
            "store is /dev/null": instead(lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 3))),
            "store is /dev/full": instead(lambda path: os.mknod(path, stat.S_IFCHR | 0o600, os.makedev(1, 7))),
        }
        for name, spoil in spoils.items():
            faults += _both(kind, name, spoil)
    return faults


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        place = os.getcwd()
        os.chdir(path.parent)  # its path may be longer than an address
        listener.bind(path.name)
        os.chdir(place)


def _small_disk(options: str, spare: int, path: Path) -> None:
    """Put a small file system in place of a store's folder, with so many bytes left."""
    namespace.enter()
    owner = path.parent.stat().st_uid
    options = f"{options},mode=700,uid={owner},gid={owner}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", path.parent], check=True)
    with (path.parent / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while filler.write(bytes(4096)):
            pass
    os.truncate(path.parent / "filler", (path.parent / "filler").stat().st_size - spare)


def _read_only(kind: str, path: Path) -> None:
    """Make a store's file system read-only."""
    namespace.enter()
    _empty_store(kind, path)
    subprocess.run(["mount", "--bind", path.parent, path.parent], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", path.parent], check=True)


def _disks() -> list[Fault]:
    """Return disks that have no room for a message of 64 kB."""
    faults = []
    large = {"message": of_size(64_000)}
    for kind in KINDS:
        for pages in (0, 1, 2, 5, 12):
            small = partial(_small_disk, "size=200k", pages * 4096)
            faults += _both(kind, f"store's disk has room for {4 * pages} kB", small, **large)
        for count in (2, 3):
            few = partial(_small_disk, f"size=1m,nr_inodes={count}", 1 << 19)
            faults += _both(kind, f"store's disk has room for {count - 2} files", few, **large)
        faults += _both(kind, "store's disk is read-only", partial(_read_only, kind))
    return faults


def _parts() -> list[Fault]:
    """Return Maildirs in which one of the three folders is wrong."""

    def made(path: Path) -> None:
        for part in (path, path / "tmp", path / "new", path / "cur"):
            _own(part, Path.mkdir)

    def spoiled(part: str, spoil: Break) -> Break:
        def world(path: Path) -> None:
            made(path)
            (path / part).rmdir()
            spoil(path / part)

        return world

    def of_root(path: Path) -> None:
        path.mkdir(mode=0o755)

    def link(path: Path) -> None:
        _own(path.with_name("real"), Path.mkdir)
        _own(path, lambda path: path.symlink_to("real"))

    def other_disk(path: Path) -> None:
        _own(path, Path.mkdir)
        namespace.enter()
        owner = path.stat().st_uid
        options = f"size=1m,mode=700,uid={owner},gid={owner}"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", path], check=True)

    spoils: dict[str, Break] = {
        "not writable": of_root,
        "a file": lambda path: _own(path, Path.touch),
        "a link": link,
        "writable by all": lambda path: _own(path, Path.mkdir, 0o777),
    }
    faults = [_fault("maildir", "all of the store is there", world=_world(made), must_deliver=True)]
    for part in ("tmp", "new", "cur"):
        for name, spoil in spoils.items():
            faults += _both("maildir", f"store's {part} is {name}", spoiled(part, spoil))
    for part in ("tmp", "new"):
        faults += _both("maildir", f"store's {part} is on another disk", spoiled(part, other_disk))
    return faults


def _boxes() -> list[Fault]:
    """Return mboxes that are locked, or that have a file beside them that is in the way."""

    def beside(name: str, make: Callable[..., object], mode: int = 0o600) -> Break:
        return lambda path: _own(path.with_name(name), make, mode)

    def old_lock(path: Path) -> None:
        _own(path.with_name("spam.lock"), Path.touch)
        os.utime(path.with_name("spam.lock"), (1, 1))

    def second_name(path: Path) -> None:
        _own(path, Path.touch)
        os.link(path, path.with_name("other"))

    spoils: dict[str, Break] = {
        "store is locked": _hold_lock,
        "store's .lock is another program's": beside("spam.lock", Path.touch),
        "store's .lock cannot be read": beside("spam.lock", Path.touch, 0),
        "store's .lock is a folder": beside("spam.lock", Path.mkdir),
        "store's .lock is a FIFO": beside("spam.lock", os.mkfifo),
        "store's .lock is a dangling link": beside("spam.lock", lambda path: path.symlink_to("/nonexistent/lock")),
        "store's .lock.new is a folder": beside("spam.lock.new", Path.mkdir),
        "store has two names": second_name,
    }
    faults = [_fault("mbox", "a forgotten .lock of another program", world=_world(old_lock), must_deliver=True)]
    for name, spoil in spoils.items():
        faults += _both("mbox", name, spoil)
    return faults


def _hold_lock(path: Path) -> None:
    """Have another process hold the lock of an mbox for a while."""
    _own(path, Path.touch)
    read_end, write_end = os.pipe()
    if os.fork() == 0:
        fd = os.dup2(os.open(path, os.O_RDWR), write_end + 1)
        fcntl.lockf(fd, fcntl.LOCK_EX)
        os.write(write_end, b"x")
        os.closerange(0, fd)
        os.closerange(fd + 1, 4096)
        time.sleep(15)
        os._exit(0)
    os.read(read_end, 1)
    os.close(read_end)
    os.close(write_end)


def _names() -> list[Fault]:
    """Return names that no file can have, and one that every message has."""
    long, constant = 'quarantine_name = "{}"\n'.format("x" * 300), 'quarantine_name = "spam"\n'
    policy = str(_scene("dir")["policy"])
    faults = [
        _fault("dir", "file name is too long", policy=policy.replace("kill_level = 6\n", f"kill_level = 6\n{long}")),
        _fault(
            "dir",
            "one name for all",
            policy=policy.replace("kill_level = 6\n", f"kill_level = 6\n{constant}"),
            world=_world(_take_name),
            must_deliver=True,
        ),
    ]
    for kind in KINDS:
        long_name, deep = "x" * 300, "@DIR@/kept/two/" + "x/" * 3000
        faults += [
            _fault(kind, "the second store's name is too long", **_scene(kind, _FIRST, f"@DIR@/kept/two/{long_name}")),
            _fault(kind, "the second store's path is too long", **_scene(kind, _FIRST, deep)),
        ]
    return faults


def _take_name(path: Path) -> None:
    _own(path, Path.mkdir)
    _own(path / "spam", lambda path: path.symlink_to("nowhere"))


def _limits() -> list[Fault]:
    """Return hosts that allow too few files, or too small ones, or too little memory."""
    faults = []
    count = 40
    everybody = tuple(b"user@g%d.example" % number for number in range(count))
    for kind in KINDS:
        blocks = [
            f'[[recipients]]\nmatch = ["g{number}.example"]\nquarantine = "{kind}:@DIR@/kept/g{number}"\n'
            for number in range(count)
        ]
        dues = {
            who: Due(delivered=False, quarantine=f"{kind}:@DIR@/kept/g{number}".encode())
            for number, who in enumerate(everybody)
        }
        many = partial(
            _fault,
            kind,
            policy='[policy]\nkill_level = 6\ndestiny = "discard"\n' + "".join(blocks),
            recipients=everybody,
            dues=dues,
        )
        room = 120_000
        full_box = _world(partial(_make_box, room)) if kind == "mbox" else _world(partial(_empty_store, kind))
        faults += [
            many(f"{count} stores, nothing is wrong", must_deliver=True),
            many(f"{count} stores, 24 descriptors", host=_limited(resource.RLIMIT_NOFILE, 24), must_deliver=True),
            *(_fault(kind, f"{n} descriptors", host=_limited(resource.RLIMIT_NOFILE, n)) for n in range(11, 18)),
            *(_fault(kind, f"{n} MB of memory", host=_limited(resource.RLIMIT_AS, n << 20)) for n in (12, 14, 16, 20)),
            *(
                _fault(kind, f"files of {size} bytes", host=_limited(resource.RLIMIT_FSIZE, size), world=full_box)
                for size in (0, 10, 500, room, room + 100, room + 1000)
            ),
        ]
    return faults


def _limited(what: int, value: int) -> Host:
    return Host(limits={what: value})


def _make_box(size: int, path: Path) -> None:
    """Make an mbox of this size, with no message: it counts as nobody's."""
    _own(path, Path.touch, 0o600)
    os.truncate(path, size)


def _sendmail() -> list[Fault]:
    """Return calls of sendmail that fail when the message is kept: what was kept is taken out again."""
    failures = {
        "exits 75": f"{_READ}exit 75",
        "exits 77 unread": "exit 77",
        "exits 0 unread": "exit 0",
        "dies of SIGKILL": f"{_READ}kill -KILL $$",
        "hangs": "exec sleep 30",
        "prints endlessly": f"{_READ}exec yes",
    }
    faults = []
    for kind in KINDS:
        for name, body in failures.items():
            first, notice = sendmail_for("*@plain.*", body), sendmail_for('*"-- sender@"*', body)
            faults += [
                _fault(kind, f"sendmail {name}", sendmail=body),
                _fault(kind, f"sendmail {name}, all refuse but one", "plain", "refused", sendmail=first),
                _fault(kind, f"bounce's sendmail {name}", "plain", "refused", sendmail=notice, may_repeat=True),
            ]
        rejected = {recipient("passed"): Due(delivered=False, told=True, quarantine=f"{kind}:{_FIRST}".encode())}
        again = sendmail_for("*", f"{_READ}exit 65")
        faults += [
            _fault(kind, "sendmail is missing", sendmail=None),
            _fault(kind, "sendmail rejects what is kept", "passed", sendmail=again, dues=rejected),
            _fault(kind, "the only recipient refuses, output lost", "refused", host=Host(output="|")),
        ]
    return faults


def _signals() -> list[Fault]:
    """Return signals that come when the message is kept, and not yet delivered: only SIGKILL ends the filter then."""
    slow = f"flag now; sleep 0.5; {GOOD_SENDMAIL}"
    faults = []
    for kind in KINDS:
        for name in ("TERM", "HUP", "INT", "KILL"):
            number, last = getattr(signal, f"SIG{name}"), name == "KILL"
            faults += [
                _fault(
                    kind,
                    f"SIG{name} to the {target} when it is kept",
                    sendmail=slow,
                    kill=Kill(number, target, "now"),
                    may_repeat=last,
                )
                for target in ("leader", "child", "group")
            ]
    return faults


def _mixed() -> list[Fault]:
    """Return messages of which a copy goes to an address, and another into a store that fails."""
    faults = []
    block = f'[[recipients]]\nmatch = ["sent.example"]\ndestiny = "discard"\nquarantine = "{QUARANTINE.decode()}"\n'
    sent = Due(delivered=False, quarantine=QUARANTINE)
    for kind in KINDS:
        scene = _scene(kind)
        scene["policy"] = f"{scene['policy']}{block}"
        scene["dues"] = {**scene["dues"], recipient("sent"): sent}  # type: ignore[dict-item]
        mixed = partial(_fault, kind, **scene)
        domains = (recipient("sent"), recipient("plain"), recipient("other"))
        refuses = sendmail_for("*quarantine@*", f"{_READ}exit 75")
        faults += [
            mixed("an address and a store, nothing is wrong", recipients=domains, must_deliver=True),
            mixed("a store, and an address that is refused", recipients=domains[::-1], sendmail=refuses),
            mixed(
                "an address and a store that is a link",
                recipients=domains,
                world=_world(lambda path: path.symlink_to("/"), "two"),
            ),
            mixed(
                "an address and a store that is full",
                recipients=domains,
                world=_world(partial(_small_disk, "size=64k", 0), "two"),
            ),
        ]
    return faults


def _install() -> list[Fault]:
    """Return damages to what only stores need."""

    def world(damage: World, directory: Path, install: Install | None) -> None:
        _world(lambda _: None)(directory, install)
        damage(directory, install)

    faults = []
    for kind in KINDS:
        for how, damage in worlds.damages("stores.py").items():
            spoiled = partial(world, partial(worlds.with_package, damage))
            faults.append(_fault(kind, f"stores.py {how}", world=spoiled))
        no_hash = partial(world, partial(worlds.with_library, "hashlib.py", "((("))
        faults += [_fault(kind, "standard library: no hashlib", world=no_hash)] if kind == "dir" else []
    return faults
