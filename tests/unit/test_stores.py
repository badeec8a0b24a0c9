"""stores.py: whole files under their names, an mbox that stays one, and what is refused."""

import contextlib
import fcntl
import mailbox
import os
import signal
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pf_spamfilt import spool, stores
from pf_spamfilt.exits import Deferred, Ended, SettingsError

MESSAGE = b"Subject: x\n\nFrom me\n>From you\nno From here\n"
ID = "4cDR2f5x-01234567"
TEMPLATE = "spam-%b-%i-%n"
FOREVER = float("inf")
HOST = os.uname().nodename
KINDS = ["dir", "maildir", "mbox"]


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o755)
    return tmp_path


def keep(destination, message=MESSAGE, name=ID, template=TEMPLATE):
    return stores.keep(str(destination), spool.from_bytes(message), name, template, FOREVER)


def files(path):
    return sorted(each for each in path.rglob("*") if each.is_file())


def unquoted(entry):
    """Return what was put into an mbox as this."""
    lines = entry.splitlines(keepends=True)
    return b"".join(
        line[1:] if line.startswith(b">") and line.lstrip(b">").startswith(b"From ") else line for line in lines
    )


def entries(path):
    """Return the messages of an mbox as they stand in it."""
    with contextlib.closing(mailbox.mbox(path, create=False)) as box:
        return [box.get_bytes(key) for key in range(len(box))]


def test_dir_has_a_file_a_message(folder):
    keep(f"dir:{folder}/spam")
    (file,) = files(folder)
    assert file.parent == folder / "spam"
    assert file.read_bytes() == MESSAGE


def test_maildir_is_one(folder):
    keep(f"maildir:{folder}/spam")
    (kept,) = mailbox.Maildir(folder / "spam", create=False)
    assert kept.get_payload() == MESSAGE.partition(b"\n\n")[2].decode()
    (file,) = files(folder)
    assert file.parent == folder / "spam/new"
    assert ID in file.name


def test_mbox_is_one(folder):
    for number in range(3):
        keep(f"mbox:{folder}/spam", MESSAGE + b"%d\n" % number)
    assert list(map(unquoted, entries(folder / "spam"))) == [MESSAGE + b"%d\n" % number for number in range(3)]


@settings(deadline=None)
@given(
    messages=st.lists(st.lists(st.sampled_from([b"From ", b">", b"\n", b"\r\n", b"a", b"\0", b"\xff"])).map(b"".join))
)
def test_mbox_gives_back_any_bytes(tmp_path_factory, messages):
    """But for the end of a last line that has none."""
    path = tmp_path_factory.mktemp("box") / "spam"
    for message in messages:
        keep(f"mbox:{path}", message)
    kept = list(map(unquoted, entries(path))) if messages else []
    assert kept == [message if message.endswith(b"\n") else message + b"\n" for message in messages]


@pytest.mark.parametrize("end", [b"", b"x", b"x\n", b"x\n\n"])
def test_mbox_is_continued_with_an_empty_line_before_the_next_message(folder, end):
    (folder / "spam").write_bytes(end)
    (folder / "spam").chmod(0o600)
    keep(f"mbox:{folder}/spam")
    assert (folder / "spam").read_bytes().partition(b"From MAILER")[0] == (b"x\n\n" if end else b"")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_kept_only_its_owner_can_read(folder, kind):
    old = os.umask(0)
    try:
        keep(f"{kind}:{folder}/spam")
    finally:
        os.umask(old)
    (file,) = files(folder)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    made = [each for each in folder.rglob("*") if each.is_dir()]
    assert {stat.S_IMODE(each.stat().st_mode) for each in made} <= {0o700}


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_kept_can_be_taken_out_again(folder, kind):
    keep(f"{kind}:{folder}/spam", MESSAGE + b"first\n")
    before = [file.read_bytes() for file in files(folder)]
    undo = keep(f"{kind}:{folder}/spam", MESSAGE + b"second\n", "other-id")
    undo()
    assert [file.read_bytes() for file in files(folder)] == before


def test_mbox_to_which_more_was_added_is_left_alone(folder):
    undo = keep(f"mbox:{folder}/spam")
    keep(f"mbox:{folder}/spam")
    undo()
    assert len(entries(folder / "spam")) == 2


def test_name_is_made_of_digest_time_and_id():
    assert stores.file_name("%n.%i.%b", ID, "abc", 86400.9) == f"{ID}.19700102T000000Z.abc"


def test_digest_is_the_same_for_the_same_body(folder):
    for number, body in enumerate((b"a", b"a", b"b")):
        keep(f"dir:{folder}/spam", b"Subject: %d\r\n\r\n" % number + body, f"id{number}", "%b.%n")
    digests = [file.name.partition(".")[0] for file in sorted(files(folder), key=lambda file: file.name[-1])]
    assert digests[0] == digests[1] != digests[2]


def test_name_that_is_taken_gets_the_id(folder):
    for number in range(2):
        keep(f"dir:{folder}/spam", MESSAGE, f"id{number}", "name")
    assert [file.name for file in files(folder)] == ["name", "name-id1"]


def test_slashes_at_the_end_are_ignored(folder):
    keep(f"dir:{folder}/spam//")
    assert files(folder / "spam")


def link(path):
    (path.parent / "real").mkdir(mode=0o700, exist_ok=True)
    path.symlink_to("real")


def open_to_all(path):
    path.mkdir()
    path.chmod(0o777)


def open_to_a_group(path):
    path.mkdir()
    path.chmod(0o770)


def sticky(path):
    path.mkdir()
    path.chmod(0o1777)


def somebody_elses(path):
    path.mkdir()
    os.chown(path, 12345, 0)


def plain_file(path):
    path.write_bytes(b"")


WRONG = {
    link: "is a symbolic link or no folder",
    plain_file: "is a symbolic link or no folder",
    open_to_all: "can be written to by others (mode 0777): chmod go-w",
    open_to_a_group: "can be written to by others (mode 0770): chmod go-w",
    sticky: "can be written to by others (mode 1777): chmod go-w",
    somebody_elses: "belongs to user id 12345",
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("store", ["dir:{}/spam", "maildir:{}/spam", "mbox:{}/spam/box"])
def test_folder_that_is_not_ours_alone_is_refused(folder, store, wrong):
    destination = store.format(folder)
    wrong(folder / "spam")
    for act in (stores.check, keep):
        with pytest.raises(SettingsError) as error:
            act(destination)
        assert destination in error.value.text
        assert WRONG[wrong] in error.value.text
    assert not [file for file in files(folder) if file.stat().st_size]


@pytest.mark.parametrize("part", ["tmp", "new"])
def test_maildir_with_a_part_that_is_a_link_is_refused(folder, part):
    keep(f"maildir:{folder}/spam")
    for file in files(folder):
        file.unlink()
    (folder / "spam" / part).rmdir()
    (folder / "spam" / part).symlink_to(folder)
    for act in (stores.check, keep):
        with pytest.raises(SettingsError, match=f"{part} is a symbolic link or no folder"):
            act(f"maildir:{folder}/spam")
    assert not files(folder)


def box_link(path):
    (path.parent / "real").write_bytes(b"")
    path.symlink_to("real")


def box_with_two_names(path):
    path.write_bytes(b"")
    os.link(path, path.parent / "other")


def box_fifo(path):
    os.mkfifo(path, 0o600)


def box_open_to_all(path):
    path.write_bytes(b"")
    path.chmod(0o666)


@pytest.mark.parametrize("wrong", [box_link, box_with_two_names, box_fifo, box_open_to_all, open_to_all])
def test_mbox_that_is_no_file_of_ours_alone_is_refused(folder, wrong):
    wrong(folder / "spam")
    for act in (stores.check, keep):
        with pytest.raises(Ended, match=f'quarantine "mbox:{folder}/spam": '):
            act(f"mbox:{folder}/spam")
    assert not [file for file in files(folder) if file.stat().st_size]


@pytest.mark.parametrize("kind", KINDS)
def test_folder_whose_parent_is_missing_is_refused(folder, kind):
    for act in (stores.check, keep):
        with pytest.raises(Ended, match="No such file or directory"):
            act(f"{kind}:{folder}/none/spam")


@pytest.mark.parametrize("kind", KINDS)
def test_check_changes_nothing(folder, kind):
    stores.check(f"{kind}:{folder}/spam")
    assert list(folder.iterdir()) == []


@pytest.fixture
def patience(monkeypatch):
    monkeypatch.setattr(stores, "PATIENCE", 0.2)


def test_mbox_that_another_process_has_locked_is_waited_for_and_then_deferred(folder, patience):
    box = folder / "spam"
    box.touch(0o600)
    if (child := os.fork()) == 0:
        with box.open("r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            (folder / "ready").touch()
            signal.pause()
    while not (folder / "ready").exists():
        pass
    with pytest.raises(Deferred, match="is locked by another program"):
        keep(f"mbox:{box}")
    os.kill(child, 9)
    os.waitpid(child, 0)
    keep(f"mbox:{box}")


def test_lock_file_of_another_program_is_waited_for_and_not_removed(folder, patience):
    (folder / "spam.lock").write_text("123\n")
    with pytest.raises(Deferred, match=r"remove its \.lock"):
        keep(f"mbox:{folder}/spam")
    assert files(folder) == [folder / "spam", folder / "spam.lock"]
    assert (folder / "spam").stat().st_size == 0


def test_lock_file_that_another_program_forgot_is_removed(folder):
    (folder / "spam.lock").write_text("123\n")
    os.utime(folder / "spam.lock", (1, 1))
    keep(f"mbox:{folder}/spam")
    assert files(folder) == [folder / "spam"]


def test_mbox_that_was_replaced_while_it_was_waited_for_gets_the_message(folder, patience, monkeypatch):
    box = folder / "spam"
    keep(f"mbox:{box}")
    replaced = []

    def lockf(fd, how, real=fcntl.lockf):
        if not replaced:
            replaced.append(Path(box).rename(folder / "old"))
            box.touch(0o600)
        return real(fd, how)

    monkeypatch.setattr(fcntl, "lockf", lockf)
    keep(f"mbox:{box}", MESSAGE, "second")
    assert len(entries(box)) == 1
    assert len(entries(folder / "old")) == 1


def abandon(box, size, length, start, host=HOST):
    """Leave a lock file as a filter does that is killed while it adds a message of this length."""
    lock = box.with_name(box.name + ".lock")
    lock.write_bytes(f"pf-spamfilt {host} 1 {size} {length}\n".encode() + start[:200])
    return lock


@pytest.mark.parametrize("end", [b"", b"x", b"x\n", b"x\n\n"])
@pytest.mark.parametrize("cut", [1, 2, 3, 30, 60, 300, -1])
def test_what_a_killed_writer_left_in_an_mbox_is_taken_out(folder, end, cut):
    """Whatever the file ended with before."""
    box = folder / "spam"
    box.write_bytes(end)
    box.chmod(0o600)
    keep(f"mbox:{box}", MESSAGE + b"y" * 300)
    added = box.read_bytes()[len(end) :]
    box.write_bytes(end + added[:cut])
    abandon(box, len(end), len(added), added)
    keep(f"mbox:{box}", MESSAGE, "second")
    assert box.read_bytes().count(b"From MAILER-DAEMON") == 1
    assert box.read_bytes().startswith(end)
    assert files(folder) == [box]


@pytest.mark.parametrize("more", [b"", b"From somebody else\n\n"])
def test_what_is_whole_or_anothers_stays_in_an_mbox(folder, more):
    """The writer was killed when all was written; or another program, which ignores our lock, added its own."""
    box = folder / "spam"
    keep(f"mbox:{box}")
    first = box.stat().st_size
    keep(f"mbox:{box}")
    added = box.read_bytes()[first:]
    abandon(box, first, len(added) + (1000 if more else 0), added)
    with box.open("ab") as file:
        file.write(more)
    before = box.read_bytes()
    keep(f"mbox:{box}")
    assert box.read_bytes().startswith(before)


def test_mbox_that_was_changed_after_its_writer_was_killed_loses_nothing(folder):
    """A mail program took a message out: what the lock file says is in the middle of another one now."""
    box = folder / "spam"
    keep(f"mbox:{box}", MESSAGE + b"y" * 300)
    before = box.read_bytes()
    abandon(box, 100, 1000, b"From MAILER-DAEMON now\nX-Quarantine-ID: <x>\n")
    keep(f"mbox:{box}", MESSAGE, "second")
    assert box.read_bytes().startswith(before)


def test_numbers_in_another_programs_forgotten_lock_file_mean_nothing(folder):
    box = folder / "spam"
    keep(f"mbox:{box}", MESSAGE + b"y" * 300)
    before = box.read_bytes()
    (folder / "spam.lock").write_bytes(b"1 2 3 100 1000\n" + before[100:300])
    os.utime(folder / "spam.lock", (1, 1))
    keep(f"mbox:{box}", MESSAGE, "second")
    assert box.read_bytes().startswith(before)


def test_lock_of_a_filter_on_another_host_is_waited_for(folder, patience):
    """Over NFS it may still write: whether its process is dead cannot be seen from here."""
    box = folder / "spam"
    keep(f"mbox:{box}")
    whole = box.read_bytes()
    box.write_bytes(whole + whole[:60])
    abandon(box, len(whole), len(whole), whole, "other-host")
    with pytest.raises(Deferred, match="is locked by another program"):
        keep(f"mbox:{box}")
    assert box.read_bytes() == whole + whole[:60]


def test_the_other_lock_is_free_while_one_is_waited_for(folder, monkeypatch):
    """Most programs take the lock file first: neither would ever get both."""
    box, lock, seen = folder / "spam", folder / "spam.lock", []
    lock.write_text("123\n")

    def sleep(_):
        if (child := os.fork()) == 0:
            with box.open("r+b") as file:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os._exit(0)
        seen.append(os.waitpid(child, 0)[1])
        lock.unlink()

    monkeypatch.setattr(stores.time, "sleep", sleep)
    keep(f"mbox:{box}")
    assert seen == [0]


def test_lock_file_that_is_a_fifo_is_waited_for_and_not_read_for_ever(folder, patience):
    os.mkfifo(folder / "spam.lock")
    with pytest.raises(Deferred, match="is locked by another program"):
        keep(f"mbox:{folder}/spam")


def test_lock_is_not_waited_for_past_the_deadline(folder, monkeypatch):
    (folder / "spam.lock").write_text("123\n")
    monkeypatch.setattr(stores.time, "sleep", lambda _: pytest.fail("it waits"))
    with pytest.raises(Deferred, match="is locked by another program"):
        stores.keep(f"mbox:{folder}/spam", spool.from_bytes(MESSAGE), ID, TEMPLATE, 0)


def test_message_that_cannot_be_taken_out_again_is_told_of(folder, monkeypatch):
    undo = keep(f"mbox:{folder}/spam")
    (folder / "spam.lock").write_text("123\n")
    with pytest.raises(Deferred, match="is locked by another program"):
        undo()
    assert len(entries(folder / "spam")) == 1


def test_file_that_has_got_the_name_of_one_that_is_taken_out_stays(folder):
    """It was removed by a person, and another message with the same name kept: its file has the same inode, too."""
    undo = keep(f"dir:{folder}/spam", MESSAGE, "first", "name")
    (folder / "spam/name").unlink()
    keep(f"dir:{folder}/spam", MESSAGE, "second", "name")
    undo()
    assert files(folder) == [folder / "spam/name"]


def test_message_in_an_mbox_that_is_as_long_as_one_that_is_taken_out_stays(folder):
    box = folder / "spam"
    undo = keep(f"mbox:{box}", b"X-Quarantine-ID: <a>\n\n")
    box.write_bytes(b"")
    keep(f"mbox:{box}", b"X-Quarantine-ID: <b>\n\n")
    undo()
    assert len(entries(box)) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_no_file_stays_open(folder, kind):
    """Otherwise a message for a thousand recipients with a thousand stores could never be kept."""
    before = os.listdir("/proc/self/fd")
    message = spool.from_bytes(MESSAGE)
    undo = stores.keep(f"{kind}:{folder}/spam", message, ID, TEMPLATE, FOREVER)
    undo()
    message.close()
    assert os.listdir("/proc/self/fd") == before


def as_nobody(act):
    """Do something as an account without privileges in a child, and return what Ended it raised said."""
    read_end, write_end = os.pipe()
    if (child := os.fork()) == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            act()
        except Ended as error:
            os.write(write_end, f"{error.code} {error.text}".encode())
        finally:
            os._exit(0)
    os.close(write_end)
    os.waitpid(child, 0)
    with open(read_end) as file:
        return file.read()


@pytest.fixture
def nobodys():
    """A folder of an account without privileges, where it can come."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        os.chown(name, 65534, 65534)
        yield Path(name)


def test_lock_file_that_we_may_not_read_is_waited_for(nobodys, patience):
    """Postfix makes its own with mode 0."""
    (nobodys / "spam.lock").touch(0)
    assert "4.3.0" in as_nobody(lambda: keep(f"mbox:{nobodys}/spam"))
    assert "is locked by another program" in as_nobody(lambda: keep(f"mbox:{nobodys}/spam"))


def test_mbox_that_we_may_not_write_is_found_before_anything_is_kept(nobodys):
    (nobodys / "spam").touch(0o600)
    assert "Permission denied" in as_nobody(lambda: stores.check(f"mbox:{nobodys}/spam"))


@pytest.mark.parametrize("part", ["tmp", "new", "cur"])
def test_part_of_a_maildir_that_we_may_not_write_is_found_before_anything_is_kept(nobodys, part):
    assert as_nobody(lambda: keep(f"maildir:{nobodys}")) == ""
    os.chown(nobodys / part, 0, 0)
    assert f"{part}: Permission denied" in as_nobody(lambda: stores.check(f"maildir:{nobodys}"))
