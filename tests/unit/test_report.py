"""report.py: the lines for Postfix's log and ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pf_spamfilt import report
from pf_spamfilt.verdict import Scan, Verdict


def outcome(verdict=None, unscanned="", recipients=1, action="reinjected"):
    scan = Scan(b"b0@example.com", unscanned)
    scan.verdict = verdict
    return report.Outcome([b"b%d@example.com" % number for number in range(recipients)], action, scan)


def record(*outcomes):
    record = report.Record()
    record.queue_id, record.sender, record.outcomes = "4cDR2f5x", b"a@example.com", list(outcomes)
    return record


def line(found, outcome):
    return report.line(found, outcome, 0.625)


@pytest.mark.parametrize(
    ("verdict", "unscanned", "expected"),
    [
        (Verdict(True, "15.3", "5.0", "A,B"), "", "spam 15.3/5.0, tagged; 2 reinjected"),
        (Verdict(False, "0.2", "5.0"), "", "ham 0.2/5.0; 2 reinjected"),
        (Verdict(True), "", "spam, tagged; 2 reinjected"),
        (None, "600000 bytes", "not scanned (600000 bytes); 2 reinjected"),
    ],
)
def test_summary_says_verdict_and_what_was_done(verdict, unscanned, expected):
    assert report.summary(record(outcome(verdict, unscanned, 2))) == expected


def test_an_address_cannot_look_like_another_key():
    found = record()
    found.sender = b"a>, to=<evil"
    assert "from=<a?, to=?evil>, to=<b0@example.com>" in line(found, outcome())


@given(st.text())
def test_summary_is_one_line_that_postfix_shows_whole(reason):
    line = report.summary(record(outcome(unscanned=reason)))
    assert len(line) <= 100
    assert line.isprintable()
    assert line.isascii()
    assert line.endswith("; 1 reinjected")


def test_line_is_in_postfix_manner():
    found = record()
    found.size, found.scan_seconds = 1234, 0.5
    assert line(found, outcome(Verdict(True, "15.3", "5.0", "A,B"))) == (
        "4cDR2f5x: from=<a@example.com>, to=<b0@example.com>, size=1234, user=b0@example.com, score=15.3, "
        "required=5.0, verdict=spam, action=reinjected, scan=0.50, total=0.62, tests=A,B"
    )


def test_line_of_a_message_with_many_recipients_names_some():
    assert "<b4@example.com>,(+995 more), size" in line(record(), outcome(recipients=1000))


@given(st.binary())
def test_printable_is_one_short_line_for_any_bytes(data):
    text = report.printable(data, 50)
    assert text.isprintable()
    assert len(text) <= 50
