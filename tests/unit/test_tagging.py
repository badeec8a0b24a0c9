"""tagging.py: header edits."""

import pytest

from pf_spamfilt import tagging


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (b"A: b\n\nbody", b"X-Spam-Unscanned: spamd is down\nA: b\n\nbody"),
        (b"A: b\r\n\r\nbody", b"X-Spam-Unscanned: spamd is down\r\nA: b\r\n\r\nbody"),
        (b"From x y\nA: b\n\n", b"From x y\nX-Spam-Unscanned: spamd is down\nA: b\n\n"),
    ],
)
def test_an_unscanned_message_is_marked_on_top_in_its_own_line_ends(message, expected):
    assert tagging.unscanned(message, "spamd is down") == expected


def test_a_reason_cannot_add_a_field():
    assert tagging.unscanned(b"\n", "a\nEvil: b\r\n\xff") == b"X-Spam-Unscanned: a Evil: b ?\n\n"
