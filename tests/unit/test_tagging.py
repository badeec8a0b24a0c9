"""tagging.py: the header that each judgement and policy makes."""

from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pf_spamfilt import headers, tagging
from pf_spamfilt.policy import Treatment, Wishes
from pf_spamfilt.spool import from_bytes
from pf_spamfilt.verdict import Scan, Verdict

HAM_ANSWER = (
    b"X-Spam-Checker-Version: SpamAssassin 4.0.1 on h\nX-Spam-Level: ****\n"
    b"X-Spam-Status: No, score=4.2 required=5.0 tests=A,B,\n\tC autolearn=no version=4.0.1\nX-Spam-ASN: AS1\n"
)
SPAM_ANSWER = (
    b"X-Spam-Flag: YES\nX-Spam-Checker-Version: SpamAssassin 4.0.1 on h\nX-Spam-Level: ******\n"
    b"X-Spam-Status: Yes, score=6.0 required=5.0 tests=A,B\nX-Spam-Report:\n\t* 6.0 A\nX-Spam-Prev-Subject: Hi\n"
)
ORIGINAL = b"From: a@b\nSubject: Hi\n"


def treatment(verdict=None, answer=b"", spam=False, status=True, required="", tag="", failed=""):
    scan = Scan(unscanned=failed, failed=bool(failed))
    scan.verdict = verdict
    scan.answer = from_bytes(answer) if answer else None
    result = Treatment(Wishes(b"jane@example.com", []), scan)
    result.spam, result.status, result.required, result.tag = spam, status, required, tag
    return result


def edited(base, found):
    answer = headers.split(found.scan.answer.head)[0] if found.scan.answer else []
    result = tagging.fields(headers.split(base)[0], answer, found)
    return b"".join(tagging.tagged(result, found) if found.tag else result)


HAM, SPAM = Verdict(False, "4.2", "5.0", "A,B,C"), Verdict(True, "6.0", "5.0", "A,B")


def test_ham_that_is_spam_here_is_the_original_with_corrected_fields():
    found = treatment(HAM, HAM_ANSWER + ORIGINAL, spam=True, required="4.0")
    assert edited(ORIGINAL, found) == (
        b"X-Spam-Flag: YES\nX-Spam-Checker-Version: SpamAssassin 4.0.1 on h\nX-Spam-Level: ****\n"
        b"X-Spam-Status: Yes, score=4.2 required=4.0 tests=A,B,C\n"
        b"X-Spam-Report: score 4.2, 4.0 required; tests: A, B, C\n" + ORIGINAL
    )


def test_spam_that_is_none_here_is_the_original_without_flag_report_and_rewritten_subject():
    found = treatment(SPAM, SPAM_ANSWER + b"From: a@b\nSubject: [SPAM] Hi\n", required="8.0")
    assert edited(ORIGINAL, found) == (
        b"X-Spam-Checker-Version: SpamAssassin 4.0.1 on h\nX-Spam-Level: ******\n"
        b"X-Spam-Status: No, score=6.0 required=8.0 tests=A,B\n" + ORIGINAL
    )


def test_what_spamassassin_judged_alike_stays_as_it_is():
    assert edited(SPAM_ANSWER + ORIGINAL, treatment(SPAM, SPAM_ANSWER, spam=True)) == SPAM_ANSWER + ORIGINAL
    assert edited(HAM_ANSWER + ORIGINAL, treatment(HAM, HAM_ANSWER)) == HAM_ANSWER + ORIGINAL


def test_fields_for_the_head_of_a_message_are_put_on_the_whole_of_it():
    found = treatment(SPAM, SPAM_ANSWER + b"Subject: [SPAM] Hi\n", spam=True)
    found.scan.partial = True
    assert edited(ORIGINAL, found) == SPAM_ANSWER.replace(b"X-Spam-Prev-Subject: Hi\n", b"") + ORIGINAL


def test_below_tag_level_status_and_level_are_taken_out():
    found = edited(HAM_ANSWER + ORIGINAL, treatment(HAM, HAM_ANSWER, status=False))
    assert found == b"X-Spam-Checker-Version: SpamAssassin 4.0.1 on h\nX-Spam-ASN: AS1\n" + ORIGINAL


def test_a_corrected_message_below_tag_level_tells_no_score_in_its_fields():
    found = edited(ORIGINAL, treatment(SPAM, SPAM_ANSWER, status=False, required="8.0"))
    assert found == b"X-Spam-Checker-Version: SpamAssassin 4.0.1 on h\n" + ORIGINAL


@pytest.mark.parametrize(
    "status",
    [
        b"No, score=4.2 required=5.0 tests=A,B,C autolearn=no",
        b"No, score=4.2, required=5.0, tests=A,B,C",
        b"No,required=5.0,score=4.2",
        b"No, 4.2/5.0 (A)",
        b"No, score=4.2 threshold=5.0 required=5.0 required=5.0",
        b"OK (4.2)",
        b"",
    ],
)
def test_a_status_in_any_form_becomes_the_usual_one(status):
    found = treatment(HAM, b"X-Spam-Status: " + status + b"\n", spam=True, required="4.0")
    assert b"X-Spam-Status: Yes, score=4.2 required=4.0 tests=A,B,C\n" in edited(b"", found)


@pytest.mark.parametrize(("level", "kept"), [(b"****", True), (b"", True), (b"No ****", False), (b"4.2", False)])
def test_a_level_that_may_speak_of_the_verdict_is_taken_out(level, kept):
    found = treatment(HAM, b"X-Spam-Level: " + level + b"\n", spam=True, required="4.0")
    assert (b"X-Spam-Level" in edited(b"", found)) is kept


def test_an_unscanned_message_is_marked_on_top_in_its_own_line_ends():
    found = treatment(failed="spamd is down")
    assert edited(b"A: b\n", found) == b"X-Spam-Unscanned: spamd is down\nA: b\n"
    assert edited(b"A: b\r\n", found) == b"X-Spam-Unscanned: spamd is down\r\nA: b\r\n"
    assert edited(b"From x y\nA: b\n", found) == b"From x y\nX-Spam-Unscanned: spamd is down\nA: b\n"


def test_a_reason_cannot_add_a_field():
    assert edited(b"", treatment(failed="a\nEvil: b\r\n\xff")) == b"X-Spam-Unscanned: a Evil: b ?\n"


def test_an_unscanned_message_of_a_blocked_sender_says_why_it_is_spam():
    found = treatment(spam=True)
    found.listed = "block"
    marks = b"X-Spam-Flag: YES\nX-Spam-Report: the sender is on a block list here; not scanned\n"
    assert edited(ORIGINAL, found) == marks + ORIGINAL


def test_a_long_list_of_tests_is_folded():
    verdict = Verdict(False, "4.2", "5.0", ",".join(f"A_LONG_NAME_OF_TEST_{number}" for number in range(90)))
    head = edited(b"", treatment(verdict, b"X-Spam-Level:\n", spam=True, required="4.0"))
    assert max(map(len, head.splitlines())) < 80
    assert len(headers.split(head)[0]) == 3
    folded = edited(b"", treatment(verdict, b"X-Spam-Status: No\n", spam=True, required="4.0"))
    assert max(map(len, folded.splitlines())) < 80
    assert verdict.tests.encode() in folded.replace(b"\n\t", b"")


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        (b"Subject: Hi\n", b"Subject: [SPAM] Hi\n"),
        (b"Subject:Hi\r\n", b"Subject:[SPAM] Hi\r\n"),
        (b"SUBJECT :  Hi \n", b"SUBJECT :  [SPAM] Hi \n"),
        (b"Subject:\n\tfolded\n text\n", b"Subject:\n\t[SPAM] folded\n text\n"),
        (b"Subject: =?utf-8?B?SGk=?=\n", b"Subject: [SPAM] =?utf-8?B?SGk=?=\n"),
        (b"Subject: \xfcber\n", b"Subject: [SPAM] \xfcber\n"),
        (b"Subject:\n", b"Subject: [SPAM]\n"),
        (b"Subject: \r\n", b"Subject: [SPAM] \r\n"),
        (b"Subject: [SPAM] Hi\n", b"Subject: [SPAM] Hi\n"),
        (b"Subject: [SPAM]\n", b"Subject: [SPAM]\n"),
        (b"A: b\n", b"Subject: [SPAM]\nA: b\n"),
        (b"A: b\r\n", b"Subject: [SPAM]\r\nA: b\r\n"),
        (b"Subject: a\nSubject: b\n", b"Subject: [SPAM] a\nSubject: [SPAM] b\n"),
    ],
)
def test_the_tag_stands_before_the_text_which_keeps_its_bytes(subject, expected):
    found = treatment(SPAM, SPAM_ANSWER, spam=True, tag="[SPAM]")
    assert edited(subject, found) == expected
    assert edited(expected, found) == expected


def test_macros_are_replaced_and_other_figures_are_no_second_tag():
    found = treatment(SPAM, SPAM_ANSWER, spam=True, required="5.0", tag="*_SCORE_/_REQD_*")
    assert edited(b"Subject: Hi\n", found) == b"Subject: *6.0/5.0* Hi\n"
    assert edited(b"Subject: *-16.1/4* Hi\n", found) == b"Subject: *-16.1/4* Hi\n"


def test_a_tag_that_is_not_ascii_becomes_an_encoded_word():
    found = treatment(SPAM, SPAM_ANSWER, spam=True, tag="\u26a0 _SCORE_")
    assert edited(b"Subject: Hi\n", found) == b"Subject: =?utf-8?q?=E2=9A=A0=206.0?= Hi\n"


NAMES = st.sampled_from([b"Subject: ", b"subject :", b"X: "])
TEXTS = st.one_of(st.binary(), st.sampled_from([b"[SPAM]", b"[SPAM] x", b" \r", b"Hi"]))


@pytest.mark.parametrize("tag", ["_SCORE_", "_SCORE__REQD_", "x _SCORE_", "\u26a0", "_SCORE_ \u26a0"])
@pytest.mark.parametrize("text", [b"Hi", b"", b"x6", b"=?utf-8?q?Hi?="])
def test_any_tag_is_added_once(tag, text):
    found = treatment(SPAM, SPAM_ANSWER, spam=True, required="5.0", tag=tag)
    once = edited(b"Subject: " + text + b"\n", found)
    assert len(once) > len(b"Subject: \n" + text) + 2
    assert edited(once, found) == once


def test_the_blank_between_an_encoded_tag_and_an_encoded_text_is_shown():
    found = treatment(SPAM, SPAM_ANSWER, spam=True, tag="\u26a0")
    shown = make_header(decode_header(edited(b"Subject: =?utf-8?q?Hi?=\n", found).decode().partition(": ")[2]))
    assert str(shown) == "\u26a0 Hi"


@given(st.lists(st.tuples(NAMES, TEXTS.map(lambda text: text.replace(b"\n", b"") + b"\n")).map(b"".join)))
def test_nothing_but_the_tag_is_added_whatever_the_header_holds(base):
    found = treatment(SPAM, SPAM_ANSWER, spam=True, tag="[SPAM]")
    after = tagging.tagged(base, found)
    added = after[: len(after) - len(base)]
    assert [field.strip() for field in added] == ([] if any(map(is_subject, base)) else [b"Subject: [SPAM]"])
    for old, new in zip(base, after[len(added) :], strict=True):
        text = new.partition(b":")[2].lstrip()
        assert text.startswith(b"[SPAM]") if is_subject(old) else old == new
        assert len(new) - len(old) in (0, len(b"[SPAM] "))
        assert old in (new, new.replace(b"[SPAM] ", b"", 1), new.replace(b" [SPAM]", b"", 1))


def is_subject(field):
    return headers.name_of(field) == b"subject"


def test_an_mbox_line_without_an_end_does_not_run_into_a_field():
    assert tagging.on_top([b"From a@b Mon"], [b"X: y\n"]) == [b"From a@b Mon\n", b"X: y\n"]
