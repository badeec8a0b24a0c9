"""admin/showing.py: whatever a sender has written, what a person sees is printable, and no error."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pf_spamfilt.admin import output
from pf_spamfilt.admin.keeping import kept, showing, vault

MESSAGES = sorted([*Path("tests/messages").glob("*.eml"), *Path("tests/postfix/messages").glob("*.eml")])
PIECES = st.sampled_from(
    [
        b"Content-Type: multipart/mixed; boundary=x\n",
        b"Content-Type: text/html; charset=x\n",
        b"Content-Type: text/plain; charset=unicode_escape; name*0*=utf-8''%ff\n",
        b"Content-Transfer-Encoding: base64\n",
        b"Content-Transfer-Encoding: x-uuencode\n",
        b"Content-Disposition: attachment; filename*=x''a%1b\n",
        b"Subject: =?utf-8?b?w7?= =?utf-8?b?w6?= =?rot13?q?=1b?=\n",
        b"\n",
        b"--x\n",
        b"--x--\n",
        b"begin 644 x\n",
        b"<style><p>\x1b[31m\x9b\xc2\x9b\n",
        b"\\ud800 \\N{x}\n",
    ]
)
HOSTILE = st.one_of(st.binary(), st.lists(PIECES).map(b"".join))


def shown(original):
    return [
        *(text for row in (*showing.header(original), *showing.parts(original)) for text in row),
        *showing.text(original),
    ]


@given(HOSTILE)
def test_nothing_that_acts_on_a_terminal_is_shown(original):
    assert all(text.isprintable() for text in shown(original))


@given(st.one_of(st.binary(), st.lists(PIECES).map(b" ".join)))
def test_any_subject_is_one_printable_line(subject):
    assert showing.decoded(subject).isprintable()


def test_no_more_of_a_text_is_decoded_than_is_looked_at(monkeypatch):
    """A sender names the charset, and one takes minutes for a megabyte."""
    sizes, real = [], showing.in_charset
    monkeypatch.setattr(showing, "in_charset", lambda data, charset: sizes.append(len(data)) or real(data, charset))
    assert showing.text(b"Content-Type: text/plain; charset=punycode\n\n" + b"abcd" * 500_000)
    assert sizes == [80_000]


@pytest.mark.parametrize("moment", [-1e30, -1.0, 0.0, 1e12, 1e30, 10**30])
def test_message_of_any_time_is_shown(moment):
    """Its file can have any."""
    found = kept.parse(b"X-Quarantine-ID: <x-1>\nX-Envelope-From: <>\nX-Envelope-To: <a@b.example>\n\n")
    entry = vault.Entry(vault.store("dir:/x"), "", "name", found, moment, 1)
    assert showing.row(entry)
    assert showing.for_program(entry)
    assert list(showing.described(entry))


def test_deeply_nested_message_is_shown():
    """The email package recurses."""
    header = b"".join(
        b"Content-Type: multipart/mixed; boundary=%d\n\n--%d\n" % (number, number) for number in range(2000)
    )
    assert shown(header)


@pytest.mark.parametrize(
    ("subject", "text"),
    [
        (b"plain", "plain"),
        (b"Gr\xc3\xbc\xc3\x9fe", "Grüße"),
        (b"=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        (b"=?UTF-8?B?R3LDvMOfZQ==?=", "Grüße"),
        (b"=?iso-8859-1?q?Gr=FC=DFe_an_alle?= now", "Grüße an alle now"),
        (b"Re: =?iso-8859-1*de?q?Gr=FC=DFe?=", "Re: Grüße"),
        (b"=?utf-8?q?one?= =?utf-8?q?two?=", "onetwo"),
        (b"=?utf-8?q?one?= =?utf-8?q?two?= three", "onetwo three"),
        (b"=?utf-8?q?a=C3?= =?utf-8?q?=BC?=", "aü"),
        (b"=?utf-8?q?a?= =?iso-8859-1?q?=FC?=", "aü"),
        (b"=?utf-8?b?R3LDvMOfZQ?=", "Grüße"),
        (b"=?nonsense?q?abc?=", "abc"),
        (b"=?utf-8?q?unfinished", "=?utf-8?q?unfinished"),
        (b"what=? is=?", "what=? is=?"),
        (b"=?utf-8?q?=1B[31m?=", "?[31m"),
    ],
)
def test_encoded_words_are_decoded(subject, text):
    assert showing.decoded(subject) == text


@pytest.mark.parametrize("file", MESSAGES, ids=lambda file: file.stem)
def test_every_message_is_shown(file):
    shown(file.read_bytes())


def test_parts_have_type_size_and_name():
    original = (
        b"Content-Type: multipart/mixed; boundary=x\n\n--x\nContent-Type: text/plain\n\nhello\n"
        b"--x\nContent-Type: application/pdf; name==?utf-8?q?Gr=C3=BC=C3=9Fe.pdf?=\n"
        b"Content-Transfer-Encoding: base64\n\nAAAA\n--x--\n"
    )
    assert showing.parts(original) == [("text/plain", "5 bytes"), ("application/pdf", "3 bytes, Grüße.pdf")]


def test_text_is_that_before_html():
    original = (
        b"Content-Type: multipart/alternative; boundary=x\n\n--x\nContent-Type: text/html\n\n<p>markup</p>\n"
        b"--x\nContent-Type: text/plain; charset=iso-8859-1\n\n\n\nGr\xfc\xdfe\n--x--\n"
    )
    assert showing.text(original) == ["Grüße"]


def test_of_html_the_text_is_shown():
    assert showing.text(b"Content-Type: text/html\n\n<style>p {}</style><p>hello <b>you</b>\n") == ["hello you"]


def test_only_the_beginning_of_a_text_is_shown():
    lines = showing.text(b"\n" + b"line\n" * 1000)
    assert lines[-1] == "..."
    assert len(lines) < 30


def test_row_has_a_cell_for_each_heading():
    block = b"X-Quarantine-ID: <a-b>\nX-Envelope-From: <>\nX-Envelope-To: <jane@example.com>\nSubject: x\n\n"
    entry = vault.Entry(vault.store("dir:/x"), "", "f", kept.parse(block), 0.0, 1234567)
    cells = dict(zip(showing.HEADINGS, showing.row(entry), strict=True))
    assert (cells["sender"], cells["size"], cells["score"], cells["subject"]) == ("<>", "1.2M", "", "x")


@pytest.mark.parametrize(
    ("text", "columns"), [("abc", 3), ("Grüße", 5), ("u\u0308", 1), ("日本", 4), ("\u2013\u2026", 2), ("\uff21", 2)]
)
def test_width_is_that_on_a_terminal(text, columns):
    assert output.width(text) == columns
