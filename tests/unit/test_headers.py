"""headers.py: a header is split without loss, and is where Postfix sees it."""

from io import BytesIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pf_spamfilt import headers

# Bytes that look like messages more often than random ones do.
LINES = st.sampled_from(
    [b"Subject: x", b"X-Spam-Flag: YES", b"x-SPAM-y : z", b" folded", b"\tfolded", b"", b"From a b", b"no field", b":"]
)
MESSAGE_LIKE = st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r\n", b""]))).map(
    lambda pairs: b"".join(line + end for line, end in pairs)
)
ANY_MESSAGE = st.one_of(st.binary(), MESSAGE_LIKE)


@given(ANY_MESSAGE)
def test_joined_fields_and_rest_equal_the_input(message):
    fields, rest = headers.split(message)
    assert b"".join(fields) + rest == message


@given(ANY_MESSAGE)
def test_what_follows_the_fields_begins_no_field(message):
    fields, rest = headers.split(message)
    again, _ = headers.split(b"X: y\n" + rest)
    assert len(again) == 1 or rest[:1] in (b" ", b"\t")
    assert b"" not in fields


@given(ANY_MESSAGE)
def test_sifted_header_and_the_stream_after_it_equal_the_input(message):
    stream = BytesIO(message)
    pieces = [piece for piece, _ in headers.sift(stream)]
    assert b"".join(pieces) + stream.read() == message


@given(ANY_MESSAGE)
def test_sift_and_split_see_the_same_header(message):
    sifted = b"".join(piece for piece, forged in headers.sift(BytesIO(message)) if forged)
    fields, _ = headers.split(message)
    assert sifted == b"".join(field for field in fields if field[:7].lower() == b"x-spam-")


@given(st.binary(min_size=1, max_size=20), st.integers(0, 3))
def test_sift_finds_a_forged_field_whose_lines_are_longer_than_a_piece(filler, extra):
    long = b"X-Spam-Report: " + b"y" * (headers.PIECE - 16 + extra) + b"X-Spam-Flag: z\n z\n"
    message = b"A: b\n" + long + b"C: d\n\n" + filler
    kept = b"".join(piece for piece, forged in headers.sift(BytesIO(message)) if not forged)
    assert kept.startswith(b"A: b\nC: d\n\n")


@pytest.mark.parametrize(
    ("message", "count"),
    [
        pytest.param(b"", 0, id="nothing"),
        pytest.param(b"\nbody", 0, id="empty-header"),
        pytest.param(b"A: b", 1, id="no-final-newline"),
        pytest.param(b"A: b\n c\n\td\nE:f\n\nG: h\n", 2, id="folded"),
        pytest.param(b"A : b\n\n", 1, id="blank-before-colon"),
        pytest.param(b"A: b\njunk\nC: d\n", 1, id="junk-ends-it"),
        pytest.param(b" A: b\n", 0, id="continues-nothing"),
        pytest.param(b"\xc3\xa4: b\n", 0, id="8-bit-name"),
        pytest.param(b"A B: c\n", 0, id="blank-in-name"),
        pytest.param(b"From x y\nA: b\n\n", 2, id="mbox-line"),
        pytest.param(b"A: b\nFrom x y\n\n", 1, id="mbox-line-only-first"),
        pytest.param(b"From x y\n>From z\n>>From z\nA: b\n\n", 4, id="mbox-lines-that-sendmail-drops"),
        pytest.param(b"A: b\n \nC: d\n\n", 2, id="blank-line-of-blanks-folds"),
        pytest.param(b"A: b\r\n\r\nC: d\r\n", 1, id="crlf"),
    ],
)
def test_header_ends_where_postfix_ends_it(message, count):
    assert len(headers.split(message)[0]) == count


def test_name_and_value_are_read_without_case_and_folding():
    field = b"X-Spam-STATUS : Yes,\r\n\ttests=A,\r\n  B\r\n"
    assert headers.name_of(field) == b"x-spam-status"
    assert headers.value_of(field) == b"Yes, tests=A, B"


@pytest.mark.parametrize(("message", "end"), [(b"A: b\r\n\r\n", b"\r\n"), (b"A: b\nC: d\r\n", b"\n"), (b"", b"\n")])
def test_line_end_is_that_of_the_first_line(message, end):
    assert headers.line_end(message) == end


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"jane@example.com", [b"jane@example.com"]),
        (b"Jane <jane@example.com>", [b"jane@example.com"]),
        (b'"Doe, Jane <x@y>" <jane@example.com> (a@b), joe@example.net', [b"jane@example.com", b"joe@example.net"]),
        (b"friends: jane@example.com, <joe@example.net>;", [b"jane@example.com", b"joe@example.net"]),
        (b"jane(a (nested) comment)@example.com", [b"jane@example.com"]),
        (b'"jane doe"@example.com', [b'"jane doe"@example.com']),
        (b'"a\\"b <x@y>" <jane@example.com>', [b"jane@example.com"]),
        (b"<@relay.example:jane@example.com>", [b"jane@example.com"]),
        (b"\n =?utf-8?q?J=C3=A4ne?=\n <jane@example.com>", [b"jane@example.com"]),
        (b"nobody", []),
        (b"", []),
    ],
)
def test_addresses_stand_without_names_comments_and_groups(value, expected):
    assert headers.addresses_of(b"From: " + value + b"\n") == expected


@given(st.binary())
def test_addresses_are_found_in_any_bytes(value):
    assert all(b"@" in address for address in headers.addresses_of(b"From: " + value))
