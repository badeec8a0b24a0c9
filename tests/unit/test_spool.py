"""spool.py: the message is read whole, kept as it came, and a feeder that vanished is noticed."""

import os
import posix
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pf_spamfilt import headers, spool
from pf_spamfilt.exits import Deferred


def soon():
    return time.monotonic() + 10


def fed(data):
    """A pipe that holds `data` and then ends."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.close(reader)
        view = memoryview(data)
        while view:
            view = view[os.write(writer, view) :]
        os._exit(0)
    os.close(writer)
    return reader


def content(message):
    return os.pread(message.fd, message.size + 1, 0)


@pytest.mark.parametrize("size", [1, 99_999, 100_000, 100_001, 1_000_000])
def test_a_message_is_read_whole_and_in_memory_up_to_the_limit(size):
    data = os.urandom(size)
    source = fed(data)
    message = spool.read(source, 100_000, soon())
    os.close(source)
    os.wait()
    assert content(message) == data
    assert message.in_memory is (size <= 100_000)
    assert data.startswith(message.head)


def test_a_message_up_to_the_limit_needs_no_writable_directory(monkeypatch):
    monkeypatch.setattr(spool, "disk_file", lambda: pytest.fail("a file on disk"))
    source = fed(b"x")
    assert spool.read(source, 1, soon()).size == 1
    os.wait()
    os.close(source)


def test_an_empty_message_is_deferred():
    with open(os.devnull, "rb") as source, pytest.raises(Deferred, match="empty"):
        spool.read(source.fileno(), 100, soon())


def test_a_message_that_does_not_end_is_deferred():
    reader, writer = os.pipe()
    os.write(writer, b"half a mess")
    with pytest.raises(Deferred, match="did not end in time"):
        spool.read(reader, 100, time.monotonic() + 0.1)
    os.close(reader)
    os.close(writer)


def test_a_full_disk_is_deferred_with_its_own_code():
    full = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(Deferred, match="No space left on device") as caught:
        spool.write(full, b"x")
    os.close(full)
    assert caught.value.code == "4.3.1"


def test_a_temporary_file_has_no_name_and_goes_where_there_is_room(tmp_path, monkeypatch):
    monkeypatch.setitem(posix.environ, b"TMPDIR", bytes(tmp_path / "missing"))
    os.close(spool.disk_file())
    monkeypatch.setitem(posix.environ, b"TMPDIR", bytes(tmp_path))
    fd = spool.disk_file()
    assert os.listdir(tmp_path) == []
    assert os.readlink(f"/proc/self/fd/{fd}").startswith(str(tmp_path))
    os.close(fd)


FIELDS = st.lists(
    st.sampled_from([b"A: b\n", b"X-Spam-Flag: NO\n", b"x-spam-a: b\n\tc\n", b"B: c\n d\n", b"X-Spa: m\n"])
)


@given(FIELDS, st.binary(), st.booleans())
@settings(max_examples=50)
def test_forged_fields_go_and_nothing_else_changes(fields, body, in_memory):
    data = b"".join(fields) + b"\n" + body
    message = spool.from_bytes(data)
    message.in_memory = in_memory
    clean = spool.without_forgery(message, len(data) if in_memory else 0)
    kept = [field for field in fields if not field.lower().startswith(b"x-spam-")]
    assert content(clean) == b"".join(kept) + b"\n" + body
    if clean.fd != message.fd:
        os.close(clean.fd)
    os.close(message.fd)


def test_what_stands_behind_a_forged_field_is_none_either():
    """Without the first field the mbox line comes first; sendmail drops it, and the next line would be a field."""
    clean = spool.without_forgery(spool.from_bytes(b"X-Spam-A: b\nFrom x\nX-Spam-Flag: NO\n\nbody\n"), 100)
    assert content(clean) == b"From x\n\nbody\n"


def test_a_message_without_forged_fields_is_not_copied():
    message = spool.from_bytes(b"A: b\n\nX-Spam-Flag: in the body\n")
    assert spool.without_forgery(message, 100) is message
    assert headers.split(content(message))[0] == [b"A: b\n"]


def test_forged_fields_do_not_make_a_message_too_large_for_a_scan():
    """Only what is left of it counts: otherwise whoever does not want to be scanned adds some."""
    source = fed(b"X-Spam-A: b\n" * 100 + b"A: b\n\nbody\n")
    message = spool.read(source, 1000, soon())
    clean = spool.without_forgery(message, 1000)
    os.wait()
    assert (message.in_memory, clean.in_memory, clean.head) == (False, True, b"A: b\n\nbody\n")


def test_forged_fields_alone_are_no_message():
    with pytest.raises(Deferred, match="the message is empty"):
        spool.without_forgery(spool.from_bytes(b"X-Spam-Flag: YES\n"), 100)


@pytest.mark.parametrize(
    ("data", "size", "expected"),
    [(b"a\nbc\nd", 5, b"a\nbc\n"), (b"a\nbc\nd", 4, b"a\n"), (b"a\nbc", 2, b"a\n"), (b"abcdef", 3, b"abc")],
)
def test_a_message_is_cut_at_the_end_of_a_line(data, size, expected):
    message = spool.read(fed(data), 1, soon())
    assert content(spool.cut(message, size)) == expected


@pytest.mark.parametrize("limit", [1, 1_000_000])
def test_with_another_header_the_rest_keeps_its_bytes(limit):
    rest = b"\n" + os.urandom(200_000)
    message = spool.read(fed(b"A: b\nC: d\n" + rest), limit, soon())
    old = [b"A: b\n", b"C: d\n"]
    changed = spool.with_header(message, old, [b"X: y\n", b"C: d\n"])
    assert content(changed) == b"X: y\nC: d\n" + rest
    assert changed.in_memory == message.in_memory
    assert spool.with_header(message, old, list(old)) is message


def test_a_field_does_not_run_into_a_text_without_header():
    message = spool.from_bytes(b"  indented\n")
    assert content(spool.with_header(message, [], [b"X: y\n"])) == b"X: y\n\n  indented\n"
    assert content(spool.with_header(spool.from_bytes(b"\nx"), [], [b"X: y\n"])) == b"X: y\n\nx"
