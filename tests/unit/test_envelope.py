"""envelope.py: what argv says, what sendmail must get, who spamc's user is."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pf_spamfilt.envelope import Envelope, for_sendmail, spamc_user
from pf_spamfilt.exits import Deferred

ARGUMENT = st.binary(min_size=1).filter(lambda argument: b"\0" not in argument)


@pytest.mark.parametrize("spelling", [b"", b"<>", b"MAILER-DAEMON"])
def test_null_sender_has_three_spellings(spelling):
    assert Envelope(spelling, [b"a@example.com"]).sender == b""


def test_one_pair_of_brackets_is_taken_off():
    envelope = Envelope(b"<a@example.com>", [b"<b@example.com>", b"<<c@example.com>>"])
    assert (envelope.sender, envelope.recipients) == (b"a@example.com", [b"b@example.com", b"<c@example.com>"])


@pytest.mark.parametrize("empty", [b"", b"<>"])
def test_an_empty_recipient_is_refused(empty):
    with pytest.raises(Deferred, match="recipient address is empty"):
        Envelope(b"a@example.com", [b"b@example.com", empty])


@pytest.mark.parametrize(
    ("address", "argument"),
    [
        (b"", b""),
        (b"joe@example.com", b"joe@example.com"),
        (b"-joe@example.com", b"-joe@example.com"),
        (b"joe+x@[192.0.2.1]", b"joe+x@[192.0.2.1]"),
        (b"joe@[IPv6:2001:db8::1]", b"joe@[IPv6:2001:db8::1]"),
        (b"root", b"root"),
        (b"a b@example.com", b'"a b"@example.com'),
        (b'"a b"@example.com', b'"a b"@example.com'),
        (b'"a@b"@example.com', b'"a@b"@example.com'),
        (b'"a@b"', b'"a@b"'),
        (b"a,b@example.com", b'"a,b"@example.com'),
        (b"a@b, c@example.com", b'"a@b, c"@example.com'),
        (b"a..b@example.com", b'"a..b"@example.com'),
        (b".a@example.com", b'".a"@example.com'),
        (b'a"b\\c@example.com', b'"a\\"b\\\\c"@example.com'),
        (b'"a"b"@example.com', b'"\\"a\\"b\\""@example.com'),
        (b'"a\\"@example.com', b'"\\"a\\\\\\""@example.com'),
        (b"a(comment)@example.com", b'"a(comment)"@example.com'),
        (b"g:a@b;@example.com", b'"g:a@b;"@example.com'),
        (b"@example.com", b'""@example.com'),
        ("jörg@exämple.com".encode(), "jörg@exämple.com".encode()),
        (b"j\xf6rg@example.com", b"j\xf6rg@example.com"),
    ],
)
def test_address_is_quoted_so_that_sendmail_reads_one_address(address, argument):
    assert for_sendmail(address) == argument


@pytest.mark.parametrize(
    "address",
    [
        b"a@",
        b"a@b c",
        b"a@b,c",
        b"a@b;c",
        b"a@b>c",
        b'a@b"c',
        b"a@[b",
        b"a@b\nc",
        b"a\tb@c",
        b"a\nb@c",
        b"a\rb@c",
        b'"a\tb"@c',
        b"a@[]",
    ],
)
def test_a_domain_that_no_quoting_saves_is_refused(address):
    with pytest.raises(Deferred, match="one address"):
        for_sendmail(address)


@given(ARGUMENT)
def test_no_separator_of_an_address_list_is_left_unquoted(address):
    try:
        argument = for_sendmail(address)
    except Deferred:
        return
    unquoted = re.sub(rb'^"(\\.|[^"\\])*"|\[[^\[\]]*\]$', b"", argument, flags=re.DOTALL)
    assert not re.search(rb'[\x00-\x20\x7f,;:<>()"\\]', unquoted)


@given(ARGUMENT)
def test_quoting_twice_is_quoting_once(address):
    try:
        argument = for_sendmail(address)
    except Deferred:
        return
    assert for_sendmail(argument) == argument


@pytest.mark.parametrize(
    ("template", "user"),
    [
        ("${recipient}", b"joe+lists@example.com"),
        ("${mailbox}", b"joe+lists"),
        ("${user}", b"joe"),
        ("${extension}", b"lists"),
        ("${domain}", b"example.com"),
        ("${user}@${domain}", b"joe@example.com"),
        ("filter", b"filter"),
        ("", b""),
    ],
)
def test_user_is_made_of_the_macros_of_pipe8(template, user):
    assert spamc_user(template, b"joe+lists@example.com", "+") == user


@pytest.mark.parametrize(
    ("delimiters", "recipient", "user"),
    [
        ("", b"joe+x@a", b"joe+x"),
        ("+-", b"joe-x+y@a", b"joe"),
        ("+", b"+x@a", b"+x"),
        ("+", b"joe", b"joe"),
    ],
)
def test_extension_begins_at_the_first_delimiter_but_not_at_the_start(delimiters, recipient, user):
    assert spamc_user("${user}", recipient, delimiters) == user


def test_a_macro_in_an_address_is_not_expanded():
    assert spamc_user("${user}", b"${domain}@example.com", "+") == b"${domain}"


@given(ARGUMENT)
def test_a_user_with_control_characters_is_none(recipient):
    user = spamc_user("${recipient}", recipient, "+")
    assert user == (b"" if re.search(rb"[\x00-\x1f\x7f]", recipient) else recipient)
