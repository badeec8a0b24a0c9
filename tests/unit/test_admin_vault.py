"""admin/vault.py: stores are read and changed as their owner, and nothing in them can lead elsewhere.

The messages are put there by the filter's own stores.py. As root the store belongs to another account, as it must.
"""

import os
import shutil
import signal
import stat
import tempfile
import time
from pathlib import Path

import pytest

from pf_spamfilt import spool, stores
from pf_spamfilt.admin.keeping import vault
from pf_spamfilt.exits import Deferred

NOBODY = 65534
OWNER = NOBODY if os.geteuid() == 0 else os.geteuid()
KINDS = ("maildir", "dir", "mbox")
ORIGINAL = b"From: a@sender.example\nSubject: hello\n\nFrom here\n>From there\nbody %d\n"


@pytest.fixture
def place():
    """A folder of the store's owner that it can reach."""
    folder = Path(tempfile.mkdtemp(prefix="pf-spamfilt-test-"))
    os.chown(folder, OWNER, -1)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def make(place):
    """Make a store of a kind with some messages, by the filter's own code; ids are identifier(0), identifier(1) ..."""

    def make(kind, count=3):
        destination = f"{kind}:{place}/store"
        before = os.geteuid()
        os.seteuid(OWNER)
        try:
            for number in range(count):
                stores.keep(destination, kept_message(number), identifier(number), "spam-%n", time.monotonic() + 10)
        finally:
            os.seteuid(before)
        return vault.store(destination)

    return make


def identifier(number):
    return f"4c{number}-0000000{number}"


def kept_message(number):
    marks = b"X-Quarantine-ID: <%b>\nX-Envelope-From: <a@sender.example>\nX-Envelope-To: <jane@example.com>\n"
    return spool.from_bytes(marks % identifier(number).encode() + ORIGINAL % number)


def ids(store):
    return sorted(entry.kept.id for entry in store.entries())


def one(store, number):
    (entry,) = store.entries([identifier(number)])
    return entry


def files(place):
    """All regular files of a store."""
    return sorted(path for path in place.rglob("*") if path.is_file() and not path.is_symlink())


@pytest.mark.parametrize("kind", KINDS)
def test_all_messages_are_found(make, kind):
    assert ids(make(kind)) == [identifier(number) for number in range(3)]


@pytest.mark.parametrize("kind", KINDS)
def test_message_is_found_by_its_id(make, kind):
    assert [entry.kept.id for entry in make(kind).entries([identifier(1), "other"])] == [identifier(1)]


@pytest.mark.parametrize("kind", KINDS)
def test_original_is_read_whole(make, kind):
    store = make(kind)
    assert store.original(one(store, 1)) == ORIGINAL % 1


@pytest.mark.parametrize("kind", KINDS)
def test_size_is_the_original_s(make, kind):
    assert one(make(kind), 1).size == len(ORIGINAL % 1)


@pytest.mark.parametrize("kind", KINDS)
def test_time_is_when_it_was_kept(make, kind):
    assert abs(one(make(kind), 1).time - time.time()) < 60


@pytest.mark.parametrize("kind", KINDS)
def test_only_what_is_named_is_removed(make, kind):
    store = make(kind)
    assert store.remove([one(store, 0), one(store, 2)]) == []
    assert ids(store) == [identifier(1)]
    assert store.original(one(store, 1)) == ORIGINAL % 1


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_gone_meanwhile_is_told(make, kind):
    store = make(kind)
    entry = one(store, 1)
    store.remove([entry])
    assert store.remove([entry]) == [entry]
    with pytest.raises((Deferred, FileNotFoundError)):
        store.original(entry)


@pytest.mark.parametrize("kind", KINDS)
def test_message_without_a_block_is_left_out(make, kind, place):
    store = make(kind, 1)
    (file,) = files(place)
    line = b"From MAILER-DAEMON Mon Nov 23 03:49:12 2026\n" if kind == "mbox" else b""
    file.write_bytes(line + b"From: a@sender.example\n\nX-Quarantine-ID: <4c0-00000000>\n")
    assert ids(store) == []


@pytest.mark.parametrize("kind", KINDS)
def test_long_header_is_read_to_its_end(make, kind, place):
    store = make(kind, 1)
    (file,) = files(place)
    file.write_bytes(file.read_bytes().replace(b"Subject", b"X-Long: x\n" * 10_000 + b"Subject"))
    assert one(store, 0).kept.subject == b"hello"


@pytest.mark.parametrize("kind", ["maildir", "dir"])
def test_symbolic_link_is_not_followed(make, kind, place):
    """It could lead to a message of another account, which would be shown, released or removed."""
    store = make(kind, 1)
    (file,) = files(place)
    os.rename(file, place / "elsewhere")
    os.symlink(place / "elsewhere", file)
    assert ids(store) == []


@pytest.mark.parametrize("kind", KINDS)
def test_store_that_is_a_symbolic_link_is_refused(make, kind, place):
    make(kind)
    os.symlink(place / "store", place / "link")
    with pytest.raises((OSError, Deferred)):
        vault.store(f"{kind}:{place}/link").entries()


@pytest.mark.parametrize("kind", ["maildir", "dir"])
@pytest.mark.parametrize("make_other", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_does_not_hinder(make, kind, place, make_other):
    store = make(kind, 1)
    make_other(files(place)[0].with_name("other"))
    assert ids(store) == [identifier(0)]


BOXES = {
    "ours": b"",
    "mutt's": b"From a@sender.example Mon Nov 23 03:49:12 2026\n",
    "local(8)'s": b"From MAILER-DAEMON  Mon Nov 23 03:49:12 2026\nReturn-Path: <>\nDelivered-To: spam@example.com\n",
}


@pytest.mark.parametrize("first", BOXES.values(), ids=BOXES)
@pytest.mark.parametrize("kind", ["maildir", "dir"])
def test_mbox_in_a_folder_is_not_taken_for_its_first_message(make, kind, place, first):
    """Released or removed as one, it would take all other messages with it."""
    box = Path(make("mbox").path).read_bytes()
    os.unlink(place / "store")
    store = make(kind, 1)
    (file,) = files(place)
    file.with_name("box").write_bytes(first + box.partition(b"\n")[2] if first else box)
    assert [entry.name for entry in store.entries()] == [file.name]


@pytest.mark.parametrize("day", [b"Mon Nov 23", b"Tue Nov  3"])
def test_kept_message_with_an_mbox_line_is_found(make, place, day):
    """As pipe(8) puts it there, by flags=F."""
    store = make("dir", 1)
    (file,) = files(place)
    file.write_bytes(b"From a@sender.example  " + day + b" 03:49:12 2026\n" + file.read_bytes())
    assert ids(store) == [identifier(0)]


@pytest.mark.parametrize("other", ["{}/store/", "{}//store", "{}/./store", "{}/store/../store", "{}/link/store"])
def test_every_spelling_of_a_store_is_the_same_place(place, other):
    os.symlink(".", place / "link")
    (place / "store").mkdir()
    assert vault.store(f"dir:{other.format(place)}").place == vault.store(f"dir:{place}/store").place


def test_stores_of_two_kinds_are_two_places(place):
    assert vault.store(f"dir:{place}").place != vault.store(f"maildir:{place}").place


@pytest.mark.parametrize("name", ["cur/{}:2,S", "new/another"])
def test_message_that_a_mail_program_renames_meanwhile_is_read_and_removed(make, place, name):
    store = make("maildir", 2)
    entry = one(store, 0)
    os.rename(entry.path, place / "store" / name.format(entry.name))
    assert store.original(entry) == ORIGINAL % 0
    assert store.remove([entry]) == []
    assert ids(store) == [identifier(1)]


def test_message_that_a_mail_program_has_moved_is_found(make, place):
    store = make("maildir", 1)
    (file,) = files(place)
    os.rename(file, place / "store" / "cur" / f"{file.name}:2,S")
    assert ids(store) == [identifier(0)]


def test_file_that_was_replaced_is_not_removed(make):
    store = make("dir", 2)
    entry = one(store, 0)
    os.rename(one(store, 1).path, entry.path)
    assert store.remove([entry]) == [entry]
    assert ids(store) == [identifier(1)]


def test_mbox_keeps_mode_and_owner(make):
    store = make("mbox")
    before = os.stat(store.path)
    store.remove([one(store, 1)])
    after = os.stat(store.path)
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert stat.S_IMODE(after.st_mode) == 0o600


@pytest.mark.parametrize("words", ["Mon Nov 23 03:49:12 2026 +0000", "x", "", f"Mon Nov 23 03:49:12 {10**19}"])
def test_mbox_line_of_another_program_does_not_make_a_message_old(make, words):
    """Else it would expire at once."""
    store = make("mbox", 1)
    box = Path(store.path)
    box.write_bytes(f"From MAILER-DAEMON {words}\n".encode() + box.read_bytes().partition(b"\n")[2])
    os.utime(box, (1_700_000_000,) * 2)
    assert one(store, 0).time == 1_700_000_000


def test_mbox_keeps_every_byte_of_the_others(make):
    store = make("mbox")
    text = Path(store.path).read_bytes()
    first, second, third = (place for place in range(len(text)) if text.startswith(b"From MAILER-DAEMON", place))
    store.remove([one(store, 1)])
    assert Path(store.path).read_bytes() == text[first:second] + text[third:]


def test_what_a_killed_removal_left_goes_with_the_next(make, place):
    store = make("mbox")
    (place / "store.new").write_bytes(b"half")
    store.remove([one(store, 1)])
    assert files(place) == [place / "store"]


@pytest.mark.parametrize("call", ["open", "write", "fchmod", "fsync", "rename", "close"])
@pytest.mark.parametrize("number", range(1, 5))
def test_removal_that_is_killed_loses_nothing(make, place, call, number):
    """At any system call: what is to stay stays, and the next can go on."""
    store = make("mbox")
    entry = one(store, 1)
    if (child := os.fork()) == 0:
        try:
            die_at(call, number)
            store.remove([entry])
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert set(ids(store)) - {identifier(1)} == {identifier(0), identifier(2)}
    store.remove([entry])
    assert [store.original(one(store, number)) for number in (0, 2)] == [ORIGINAL % 0, ORIGINAL % 2]
    assert files(place) == [place / "store"]


def die_at(call, number):
    """Let this process be killed when it does a system call for the so-and-so-many-th time."""
    real, left = getattr(os, call), [number]

    def function(*arguments, **options):
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    setattr(os, call, function)


def test_message_that_comes_after_a_removal_is_in_the_new_mbox(make):
    store = make("mbox")
    store.remove([one(store, 0)])
    make("mbox", 1)
    assert ids(store) == [identifier(number) for number in range(3)]


def test_mbox_that_is_not_there_is_empty_and_not_made(place):
    assert vault.store(f"mbox:{place}/none").entries() == []
    assert files(place) == []


@pytest.mark.parametrize(
    ("kind", "name", "goes"),
    [
        ("dir", ".4cDR2f5x-0123abcd", True),
        ("dir", ".profile", False),
        ("dir", "other", False),
        ("maildir", "tmp/1795407513.4cDR2f5x0-0123abc0.vm", True),
        ("maildir", "new/other", False),
    ],
)
@pytest.mark.parametrize("hours", [35, 37])
def test_temporary_file_goes_when_it_is_old(make, place, kind, name, goes, hours):
    store, file = make(kind, 1), place / "store" / name
    file.write_bytes(b"half a mess")
    os.utime(file, (time.time() - hours * 3600,) * 2)
    expected = goes and hours == 37
    assert store.remove_abandoned(dry_run=True) == expected
    assert file.exists()
    assert store.remove_abandoned(dry_run=False) == expected
    assert file.exists() is not expected


@pytest.mark.parametrize("kind", KINDS)
def test_we_are_ourselves_again_afterwards(make, kind):
    before = os.geteuid(), os.getegid(), os.getgroups()
    ids(make(kind))
    assert (os.geteuid(), os.getegid(), os.getgroups()) == before


def test_file_that_the_owner_cannot_read_is_counted(make, place):
    """Root reads as the owner of the store, not as root."""
    store = make("dir", 2)
    os.chmod(one(store, 1).path, 0)
    assert ids(store) == [identifier(0)]
    assert store.unread == 1


def test_store_of_root_is_refused_to_root(place, monkeypatch):
    """No filter runs as root: this is a folder that somebody has led us to."""
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    with pytest.raises(Deferred, match="belongs to root"):
        vault.store("dir:/").entries()


@pytest.mark.parametrize(("kind", "named"), [("dir", "maildir"), ("maildir", "dir")])
def test_store_that_is_named_as_one_of_another_kind(make, kind, named):
    other = f"{named}:{make(kind).path}"
    with pytest.raises(Deferred, match=f'^{other}: .* did you mean "{kind}:'):
        vault.store(other).entries()


@pytest.mark.parametrize("kind", ["maildir", "dir"])
def test_empty_folder_is_an_empty_store(place, kind):
    (place / "store").mkdir()
    os.chown(place / "store", OWNER, -1)
    assert vault.store(f"{kind}:{place}/store").entries() == []
