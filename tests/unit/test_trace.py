"""trace.py: what the Received fields tell."""

import pytest

from pf_spamfilt import headers, trace

BY_SMTP = (
    b"Received: from a.example (a.example [192.0.2.1])\n"
    b"\tby mx.example (Postfix) with ESMTP id 4cDR2f5x\n"
    b"\tfor <b@c>; now\n"
)
BY_US = b"Received: by mx.example (Postfix, from userid 110)\n\tid 4cDR2f5y; now\n"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (BY_SMTP, "4cDR2f5x"),
        (b"Return-Path: <a>\n" + BY_US + BY_SMTP, "4cDR2f5y"),
        (b"Received: from id by mx.example (Postfix) id ABC123; x\n", "ABC123"),
        (b"Received: by mx.example; no such thing\n" + BY_SMTP, "NOQUEUE"),
        (b"Received: by mx.example id a,b=c; x\n", "NOQUEUE"),
        (b"Subject: no trace\n", "NOQUEUE"),
        (b"", "NOQUEUE"),
    ],
)
def test_queue_id_is_in_the_topmost_received_field(header, expected):
    assert trace.queue_id(headers.split(header)[0]) == expected


@pytest.mark.parametrize(
    ("fields", "loop"),
    [
        pytest.param([BY_US] * 3, True, id="three-passes"),
        pytest.param([BY_US] * 2, False, id="two-passes"),
        pytest.param([BY_US.replace(b"110", b"1100")] * 3, False, id="another-account"),
        pytest.param([BY_US.replace(b"mx", host) for host in (b"a", b"b", b"c")], False, id="three-hosts-of-a-chain"),
        pytest.param([BY_SMTP, BY_US, BY_US, BY_SMTP, BY_US], True, id="among-others"),
        pytest.param([BY_SMTP.replace(b"(Postfix)", b"(Postfix, from userid 110)")] * 3, False, id="not-local"),
    ],
)
def test_a_loop_is_one_host_taking_a_message_from_us_three_times(fields, loop):
    assert trace.is_loop(fields, 110) is loop


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (BY_SMTP, "mx.example"),
        (BY_US + BY_SMTP, "mx.example"),
        (b"Received: by <evil> id x\n", ""),
        (b"Received: nowhere\n", ""),
        (b"Subject: by mx.example\n", ""),
    ],
)
def test_our_host_is_in_the_topmost_received_field(header, expected):
    assert trace.host(headers.split(header)[0]) == expected


@pytest.mark.parametrize(
    ("sender", "header", "expected"),
    [
        (b"a@b", b"Subject: x\n", True),
        (b"", b"Subject: x\n", False),
        (b"a@b", b"List-Id: <x.y>\n", False),
        (b"a@b", b"LIST-Unsubscribe: <mailto:x>\n", False),
        (b"a@b", b"Precedence:  Bulk\n", False),
        (b"a@b", b"precedence: list\n", False),
        (b"a@b", b"Precedence: junk\n", False),
        (b"a@b", b"Precedence: first-class\n", True),
        (b"a@b", b"Auto-Submitted: auto-generated (x)\n", False),
        (b"a@b", b"Auto-Submitted:\n auto-replied; x=y\n", False),
        (b"a@b", b"Auto-Submitted: No\n", True),
        (b"a@b", b"Auto-Submitted: no; x=y\n", True),
        (b"a@b", b"Auto-Submitted: no(body)\n", True),
        (b"a@b", b"Auto-Submitted: notified\n", False),
        (b"a@b", b"Auto-Submitted:\n", False),
    ],
)
def test_only_what_a_person_wrote_is_answered(sender, header, expected):
    assert trace.may_answer(sender, headers.split(header)[0]) is expected


RELEASED = b"X-Quarantine-Released: <4cDR2f5x-01234567>\n"
BY_ROOT = BY_US.replace(b"110", b"0")


@pytest.mark.parametrize(
    ("header", "released"),
    [
        pytest.param(BY_ROOT + RELEASED + BY_SMTP, True, id="by-root"),
        pytest.param(BY_US + RELEASED + BY_SMTP, True, id="by-our-account"),
        pytest.param(b"From a@x now 1:2:3\nReturn-Path: <a>\n" + BY_ROOT + RELEASED, True, id="below-what-pipe-adds"),
        pytest.param(BY_ROOT.replace(b"userid 0", b"userid 111") + RELEASED + BY_SMTP, False, id="by-another-account"),
        pytest.param(BY_SMTP + RELEASED, False, id="from-another-host"),
        pytest.param(BY_SMTP + BY_ROOT + RELEASED, False, id="released-on-another-host"),
        pytest.param(BY_ROOT + BY_SMTP + RELEASED, False, id="forged-and-forwarded-by-root"),
        pytest.param(BY_US + BY_ROOT + RELEASED + BY_SMTP, True, id="by-root-and-back-from-us"),
        pytest.param(BY_US + BY_US + BY_SMTP + RELEASED, False, id="forged-and-back-from-us"),
        pytest.param(BY_US + RELEASED.replace(b"<", b"<x") + BY_SMTP + RELEASED, True, id="released-again"),
        pytest.param(RELEASED + BY_ROOT + BY_SMTP, False, id="above-the-received-fields"),
        pytest.param(BY_ROOT + BY_SMTP, False, id="without-the-field"),
        pytest.param(RELEASED, False, id="without-received-fields"),
        pytest.param(b"", False, id="nothing"),
    ],
)
def test_released_is_what_root_or_our_account_has_just_submitted_with_the_field_on_top(header, released):
    assert trace.is_released(trace.telling(headers.split(header)[0]), 110) == released


KEPT = b"X-Quarantine-ID: <4cDR2f5x-01234567>\n"
FORWARDED = b"Received: by mx.example (Postfix)\n\tid 4cDR3; Mon, 23 Nov 2026 03:49:12 +0000 (UTC)\n"


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        pytest.param(BY_US + KEPT + BY_SMTP, True, id="by-an-account"),
        pytest.param(b"Return-Path: <>\nDelivered-To: a@x\n" + BY_US + KEPT, True, id="below-what-local-adds"),
        pytest.param(FORWARDED + BY_US + KEPT + BY_SMTP, True, id="by-an-alias"),
        pytest.param(BY_SMTP + KEPT, False, id="from-another-host"),
        pytest.param(BY_SMTP + BY_US + KEPT, False, id="kept-on-another-host"),
        pytest.param(BY_US + BY_SMTP + KEPT, False, id="forged-and-forwarded"),
        pytest.param(FORWARDED + KEPT, False, id="submitted-by-nobody"),
        pytest.param(KEPT + BY_US, False, id="above-the-received-fields"),
        pytest.param(KEPT, False, id="without-received-fields"),
        pytest.param(BY_US, False, id="without-the-field"),
    ],
)
def test_kept_is_what_an_account_of_this_host_has_submitted_with_the_field_on_top(header, kept):
    assert trace.is_kept(trace.telling(headers.split(header)[0])) == kept


def test_what_a_delivery_agent_has_put_on_top_is_taken_off():
    """What stands below the first hop is older, and shows a loop."""
    added = [b"From a@b  Mon Nov 23\n", b"Return-Path: <a@b>\n", b"X-Original-To: x@y\n", b"delivered-to: x@y\n"]
    below = [b"Received: by z\n", b"Delivered-To: x@y\n", b"Subject: hi\n"]
    assert trace.without_delivery(added + below) == below
    assert trace.without_delivery(below) == below
    assert trace.without_delivery(added) == []
