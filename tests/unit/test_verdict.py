"""verdict.py: only an answer that holds the whole message is believed."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pf_spamfilt import headers, verdict
from pf_spamfilt.exits import ScanFailed

ORIGINAL = b"Return-Path: <a@b>\nReceived: by x\nSubject: hi\n there\nFrom: a@b\nTo: c@d\n\nbody\n.\nmore\n"
STATUS = b"X-Spam-Status: Yes, score=15.3 required=5.0 tests=A,B,\n\tC autolearn=no version=4.0.1\n"
MARKED = ORIGINAL.replace(b"Received", STATUS + b"Received", 1)
WRAPPED = (
    b"Received: from localhost by mx with SpamAssassin\nFrom: a@b\nSubject: hi\n there\n"
    + STATUS
    + b"MIME-Version: 1.0\n"
    b'Content-Type: multipart/mixed; boundary="----------=_5"\n\n'
    b"------------=_5\nContent-Type: text/plain\n\nreport\n\n"
    b"------------=_5\nContent-Type: message/rfc822; x-spam-type=original\nContent-Disposition: inline\n\n"
    + ORIGINAL
    + b"\n------------=_5--\n\n"
)


def test_score_required_and_tests_are_read_from_a_folded_status():
    found = verdict.judge(verdict.SPAM, MARKED, ORIGINAL)
    assert (found.spam, found.score, found.required, found.tests) == (True, "15.3", "5.0", "A,B,C")


@pytest.mark.parametrize(
    ("field", "score", "tests"),
    [
        (b"X-Spam-Status: No, score=-0.1 required=5.0 tests=none autolearn=ham\n", "-0.1", "none"),
        (b"X-Spam-Status: No, hits=1.5 required=5.0\n\ttests=A=1.2,\n\t B=0.3 version=2.6\n", "1.5", "A=1.2,B=0.3"),
        (b"x-spam-status: something of one's own\n", "", ""),
        (b"X-Spam-Checker-Version: SpamAssassin 4.0.1 on mx\n", "", ""),
    ],
)
def test_other_forms_of_the_status_are_read_as_far_as_they_go(field, score, tests):
    found = verdict.judge(verdict.HAM, field + ORIGINAL, ORIGINAL)
    assert (found.spam, found.score, found.tests) == (False, score, tests)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(MARKED, id="marked"),
        pytest.param(MARKED.replace(b"Subject:", b"Subject: ***SPAM***"), id="subject-rewritten"),
        pytest.param(MARKED.replace(b"\n\nbody", b"\nX-Spam-Prev-Subject: hi\n\nbody"), id="fields-added-below"),
        pytest.param(
            MARKED.replace(b"\n\nbody", b"\r\n\nbody").replace(b"d>\nR", b"d>\r\nR"), id="line-ends-of-header"
        ),
        pytest.param(WRAPPED, id="wrapped"),
        pytest.param(WRAPPED.replace(b"report", b"x-spam-type=original\n\nreport"), id="wrapped-with-marker-in-report"),
        pytest.param(
            WRAPPED.replace(b"Subject: hi", b"Subject: x-spam-type=original", 1), id="wrapped-marker-in-subject"
        ),
    ],
)
def test_an_answer_with_the_whole_message_is_accepted(answer):
    assert verdict.judge(verdict.SPAM, answer, ORIGINAL).spam


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="empty"),
        pytest.param(ORIGINAL, id="untouched"),
        pytest.param(b"\nbody\n.\nmore\n", id="no-header"),
        pytest.param(MARKED[:-1], id="last-byte-missing"),
        pytest.param(MARKED.replace(b"body", b"Body"), id="one-byte-changed"),
        pytest.param(MARKED + b"x", id="one-byte-more"),
        pytest.param(MARKED + MARKED, id="twice"),
        pytest.param(STATUS + b"\nbody\n.\nmore\n", id="header-lost"),
        pytest.param(MARKED.replace(b"Received: by x\n", b""), id="field-lost"),
        pytest.param(MARKED.replace(b"Received: by x", b"Received: by y"), id="field-changed"),
        pytest.param(STATUS + b"\nanother message\n", id="another-message"),
        pytest.param(MARKED.replace(b"\n", b"\r\n"), id="body-line-ends"),
        pytest.param(WRAPPED.replace(b"more", b""), id="wrapped-cut"),
        pytest.param(WRAPPED.partition(b"\n.\n")[0], id="wrapped-ends-early"),
        pytest.param(WRAPPED.replace(b"x-spam-type=original", b""), id="wrapped-unmarked"),
        pytest.param(MARKED.replace(b"Yes,", b"No,"), id="contradiction"),
    ],
)
def test_any_other_answer_is_refused(answer):
    with pytest.raises(ScanFailed):
        verdict.judge(verdict.SPAM, answer, ORIGINAL)


def test_a_wrapped_message_is_only_believed_as_spam():
    with pytest.raises(ScanFailed):
        verdict.judge(verdict.HAM, WRAPPED.replace(b"Yes", b"No"), ORIGINAL)


@given(st.binary(min_size=1), st.binary())
def test_whatever_is_accepted_ends_with_what_followed_the_header(original, answer):
    try:
        verdict.judge(verdict.HAM, answer, original)
    except ScanFailed:
        return
    assert answer.endswith(headers.split(original)[1].removeprefix(b"\r\n").removeprefix(b"\n"))


@given(st.binary(min_size=1), st.integers(0), st.integers(0, 255))
def test_no_single_byte_of_what_follows_the_header_can_change(body, position, byte):
    answer = bytearray(STATUS.replace(b"Yes", b"No") + ORIGINAL + body)
    place = len(answer) - 1 - position % len(body)
    assume(answer[place] != byte)
    answer[place] = byte
    with pytest.raises(ScanFailed):
        verdict.judge(verdict.HAM, bytes(answer), ORIGINAL + body)


@given(st.binary())
def test_a_message_that_spamassassin_marked_is_accepted(original):
    original = b"Received: x\n" + original
    assert not verdict.judge(verdict.HAM, b"X-Spam-Level: *\n" + original, original).spam


@pytest.mark.parametrize(
    "status",
    [
        b"Yes, score=6.0 required=5.0 tests=A,B autolearn=no",
        b"Yes, score=6.0, required=5.0, tests=A,B, autolearn=no",
        b"Yes,score=6.0,required=5.0,tests=A,\n\tB autolearn=no",
        b"Yes, hits=6.0 required=5.0 tests=A,\n\tB",
        b"Yes, tests=A,B required=5.0 score=6.0 (6.0/5.0)",
        b"Yes, score=6.0 required=5.0 tests=A,B subject=hi, score=-50, required=99 tests=C",
    ],
)
def test_the_figures_are_found_in_other_forms_of_the_status(status):
    answer = b"X-Spam-Status: " + status + b"\n\nbody"
    found = verdict.judge(1, answer, b"\nbody")
    assert (found.score, found.number, found.required, found.tests) == ("6.0", 6.0, "5.0", "A,B")


@pytest.mark.parametrize(
    ("status", "score", "tests"),
    [
        (b"Yes, score=15,3 required=5,0 tests=A", "15,3", "A"),
        (b"Yes, score=6.0 tests=A=0.1,my_rule=2,\n\tB=3 autolearn=no", "6.0", "A=0.1,my_rule=2,B=3"),
    ],
)
def test_odd_figures_are_not_taken_for_others(status, score, tests):
    found = verdict.judge(1, b"X-Spam-Status: " + status + b"\n\nbody", b"\nbody")
    assert (found.score, found.tests) == (score, tests)


@pytest.mark.parametrize("score", ["", "x", "nan", "inf", "-inf", "6,0"])
def test_what_is_no_number_is_no_score(score):
    assert verdict.Verdict(True, score).number is None


@pytest.mark.parametrize(("number", "shown"), [(5.0, "5.0"), (6.25, "6.25"), (-1.0, "-1.0"), (1e6, "1000000.0")])
def test_a_figure_has_one_decimal_or_as_many_as_it_needs(number, shown):
    assert verdict.figure(number) == shown
