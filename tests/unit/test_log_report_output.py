"""What `report` reads from and writes to: moments, blocks of lines, metrics, charts, files."""

import datetime
import gzip
import io
import os
import re
import stat
import time

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pf_spamfilt.admin.moments import MomentType
from pf_spamfilt.admin.reports import source as logsource
from pf_spamfilt.admin.reports import writing
from pf_spamfilt.admin.reports.html import labelled, ticks
from pf_spamfilt.admin.reports.lines import Line
from pf_spamfilt.admin.reports.prometheus import escaped, text
from pf_spamfilt.admin.reports.tally import Tally
from pf_spamfilt.admin.reports.text import bar

OURS = b"Nov 23 03:49:12 mx1 pf-spamfilt[1]: x"
OTHER = b"Nov 23 03:49:12 mx1 postfix/qmgr[1]: x"
SAMPLE = re.compile(r'pf_spamfilt_\w+(\{\w+="(\\.|[^"\\])*"\})? -?[\d.]+')


def line(**values):
    """Return a line of spam; `values` say what is different."""
    standard = Line(
        1795402152, "2026-11-23", b"4cDR2f5x", b"1", b"a@example.com", b"<b@example.net>", b"15.3", b"spam", None,
        b"reinjected", None, b"0.50", b"0.62", b"A,B", None,
    )  # fmt: skip
    return standard._replace(**values)


def metrics(*lines, unreadable=0):
    """Return the samples of these lines, by name with labels."""
    tally = Tally()
    for number, each in enumerate(lines):
        tally.add(each._replace(process=b"%d" % number))
    written = text(tally, unreadable).splitlines()
    return dict(each.rsplit(" ", 1) for each in written if not each.startswith("#"))


@pytest.mark.parametrize(
    ("words", "moment"),
    [
        ("2026-11-23", (2026, 11, 23)),
        ("2026-11-23 04:00", (2026, 11, 23, 4)),
        ("2026-11-23T04:00:30", (2026, 11, 23, 4, 0, 30)),
    ],
)
def test_a_date_is_a_local_moment(words, moment):
    assert MomentType().convert(words, None, None) == (datetime.datetime(*moment).timestamp(), False)


@pytest.mark.parametrize(("words", "seconds"), [("90m", 5400), ("12h", 43200), ("1d", 86400), ("1.5h", 5400)])
def test_an_age_is_so_long_ago(words, seconds):
    before = time.time()
    found = MomentType().convert(words, None, None)
    assert before - seconds <= found.seconds <= time.time() - seconds
    assert found.moves


@pytest.mark.parametrize("words", ["", "yesterday", "2026-02-30", "23.11.2026", "1x", "-1d", "2026-11-23 25:00", "d"])
def test_other_words_are_no_moment(words):
    with pytest.raises(click.BadParameter, match=r"must be a date"):
        MomentType().convert(words, None, None)


@given(st.lists(st.sampled_from([OURS, OTHER, b""]), max_size=30), st.booleans(), st.integers(1, 200))
def test_blocks_hold_every_line_of_ours_once(lines, ended, size):
    """Whatever the size of a block, and whether the last line has an end."""
    data = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    blocks = list(logsource.blocks(io.BytesIO(data), None, size))
    assert [each for block in blocks for each in block.lines] == [each for each in lines if each == OURS]
    assert sum(block.number for block in blocks) == data.count(b"\n") + bool(data and not data.endswith(b"\n"))


def test_a_line_without_end_does_not_fill_memory():
    data = io.BytesIO(OURS + b"x" * (3 << 20))
    (last,) = [each for block in logsource.blocks(data, None) for each in block.lines]
    assert len(last) < 2 << 20


def read(file):
    return [each for block in logsource.of_file(str(file)).blocks() for each in block.lines]


def test_a_gzip_file_is_read_whatever_its_name(tmp_path):
    file = tmp_path / "mail.log.2"
    file.write_bytes(gzip.compress(OURS + b"\n"))
    assert read(file) == [OURS]


def test_the_bytes_of_a_gzip_file_that_were_read_are_its_own(tmp_path):
    """Progress is told of the file's size."""
    file = tmp_path / "mail.log.gz"
    file.write_bytes(gzip.compress(os.urandom(4 << 20).replace(b"\n", b"") + b"\n" + OURS + b"\n"))
    source = logsource.of_file(str(file))
    assert sum(block.size for block in source.blocks()) == source.size == file.stat().st_size


def test_a_cut_gzip_file_is_an_error(tmp_path):
    file = tmp_path / "mail.log.gz"
    file.write_bytes(gzip.compress(OURS * 1000)[:-20])
    with pytest.raises(click.ClickException, match=r"mail\.log\.gz: the gzip file is cut or broken"):
        read(file)


def test_metrics_are_in_the_text_format():
    tally = Tally()
    tally.add(line())
    tally.add(line(action=b"deferred", verdict=b"unscanned", tests=None, reason=b"4.4.1 x"))
    written = text(tally, 0)
    assert written.endswith("\n")
    kinds = {}
    for each in written.splitlines():
        if each.startswith("# TYPE "):
            _, _, name, kind = each.split()
            assert kinds.setdefault(name, kind) == kind
        elif not each.startswith("# HELP "):
            assert SAMPLE.fullmatch(each), each
    assert set(kinds.values()) == {"counter", "histogram", "gauge"}
    assert all(name.endswith("_total") == (kind == "counter") for name, kind in kinds.items() if kind != "histogram")


def test_metrics_count_messages_by_verdict():
    found = metrics(line(), line(), line(verdict=b"ham"))
    assert [found[f'pf_spamfilt_messages_total{{verdict="{each}"}}'] for each in ("spam", "ham", "unscanned")] == [
        "2", "1", "0",
    ]  # fmt: skip


def test_metrics_count_deferrals_by_code():
    deferred = line(action=b"deferred", verdict=b"unscanned", tests=None)
    found = metrics(deferred._replace(reason=b"4.4.1 spamc x"), deferred._replace(reason=b"4.4.1 spamc y"))
    assert found['pf_spamfilt_deferrals_total{code="4.4.1"}'] == "2"


def test_metrics_have_seconds_as_a_histogram():
    found = metrics(line(scan=b"0.10"), line(scan=b"0.30"), line(scan=b"2000.00"))
    buckets = [
        found[f'pf_spamfilt_scan_seconds_bucket{{le="{end}"}}'] for end in ("0.1", "0.25", "0.5", "1000", "+Inf")
    ]
    assert buckets == ["1", "1", "2", "2", "3"]
    assert (found["pf_spamfilt_scan_seconds_count"], found["pf_spamfilt_scan_seconds_sum"]) == ("3", "2000.4")


def test_metrics_tell_when_the_last_line_was_written():
    found = metrics(line(moment=1795402152), line(moment=1795402100), unreadable=7)
    assert found["pf_spamfilt_last_line_timestamp_seconds"] == "1795402152"
    assert found["pf_spamfilt_unreadable_lines_total"] == "7"


def test_a_label_cannot_end_its_quotes():
    assert escaped('a"b\\c\nd') == r"a\"b\\c\nd"


@given(st.integers(0, 10**9))
def test_the_lines_of_a_chart_are_few_and_reach_over_all(most):
    lines = ticks(most)
    assert lines[0] == 0
    assert lines[-1] >= most
    assert 2 <= len(lines) <= 6


@given(st.integers(1, 2000), st.integers(1, 20))
def test_not_more_columns_are_labelled_than_there_is_room(count, room):
    assert 1 <= len(labelled(count, room)) <= room


@pytest.mark.parametrize(("encoding", "expected"), [("utf-8", "\u2588" * 30), ("latin-1", "#" * 30)])
def test_bars_are_of_what_the_terminal_can_show(monkeypatch, encoding, expected):
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    assert bar(5, 5) == expected


def test_a_file_is_replaced_and_nothing_is_left_beside_it(tmp_path):
    file = tmp_path / "x.prom"
    file.write_text("old")
    with file.open() as old:
        writing.replace(str(file), "new", 0o644)
        assert old.read() == "old"
    assert (file.read_text(), os.listdir(tmp_path)) == ("new", ["x.prom"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o644


def test_a_symbolic_link_to_a_file_stays_one(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    writing.replace(str(tmp_path / "link"), "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


@pytest.mark.parametrize("name", ["fifo", "folder", "/proc/self/fd/1"])
def test_what_is_no_file_is_not_replaced(tmp_path, name):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    with pytest.raises(click.ClickException, match="no regular file"):
        writing.replace(str(tmp_path / name), "new")


def test_a_file_that_cannot_be_written_is_an_error(tmp_path):
    with pytest.raises(click.ClickException, match=r"x\.prom: cannot be written: No such file"):
        writing.replace(str(tmp_path / "nonexistent" / "x.prom"), "new")
