"""patterns.py: one grammar for addresses, the first pattern that matches decides."""

import marshal
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pf_spamfilt import patterns
from pf_spamfilt.patterns import Address, compiled, matching

TABLES = {"hash:/etc/postfix/friends": {"sam@example.com"}}


class Lookup:
    """What a message needs beyond plain addresses."""

    def has(self, table, address):
        """Look into TABLES."""
        return not TABLES[table].isdisjoint(address.keys)

    def search(self, regex, address):
        """Search without a limit."""
        return re.search(regex, address.text, re.IGNORECASE) is not None


def decision(words, *addresses):
    found = [Address(address, "+") for address in addresses]
    return matching(compiled(words), found, Lookup())


@pytest.mark.parametrize(
    ("pattern", "address"),
    [
        ("jane@example.com", b"jane@example.com"),
        ("Jane@Example.COM", b"jANE@eXAMPLE.com"),
        ("jane@example.com", b"jane+list@example.com"),
        ("jane+list@example.com", b"jane+list@example.com"),
        ("example.com", b"jane@example.com"),
        ("example.com", b"jane@example.com."),
        (".example.com", b"jane@example.com"),
        (".example.com", b"jane@a.b.example.com"),
        (".com", b"jane@example.com"),
        (".", b"jane@example.com"),
        ("@example.com", b"jane@example.com"),
        ("@.example.com", b"jane@a.example.com"),
        ("@.", b"jane@example.com"),
        (".", b"root"),
        (".", b""),
        ("<>", b""),
        ("/^j.*@/", b"Jane@example.com"),
        ("/^$/", b""),
        ("hash:/etc/postfix/friends", b"Sam+x@example.com"),
        ('"john doe"@example.com', b'"john doe"@example.com'),
        ("john@example.com", b'"john"@example.com'),
        ("[192.0.2.1]", b"jane@[192.0.2.1]"),
        ("j\u00e4ne@example.com", "J\u00c4NE@example.com".encode()),
    ],
)
def test_a_pattern_matches(pattern, address):
    assert decision([pattern], address) is True
    assert decision(["!" + pattern], address) is False


@pytest.mark.parametrize(
    ("pattern", "address"),
    [
        ("jane@example.com", b"joe@example.com"),
        ("jane+list@example.com", b"jane@example.com"),
        ("example.com", b"jane@mail.example.com"),
        ("example.com", b"jane@badexample.com"),
        (".example.com", b"jane@badexample.com"),
        ("xample.com", b"jane@example.com"),
        ("example.com", b"example.com"),
        ("example.com", b""),
        ("<>", b"jane@example.com"),
        ("/^ane@/", b"jane@example.com"),
        ("hash:/etc/postfix/friends", b"jane@example.com"),
        ("bad@example.com", b"!bad@example.com"),
        ("!bad@example.com", b"!bad@example.com"),
    ],
)
def test_a_pattern_does_not_match(pattern, address):
    assert decision([pattern], address) is None


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["jane@example.com", "!example.com"], True),
        (["!jane@example.com", "example.com"], False),
        (["joe@example.com", "!/jane/", "."], False),
        (["!example.net", "/jane/", "!."], True),
        (["!hash:/etc/postfix/friends", "."], True),
        (["!.", "jane@example.com"], False),
        ([], None),
    ],
)
def test_the_first_pattern_that_matches_decides(words, expected):
    assert decision(words, b"jane@example.com") is expected


def test_a_pattern_that_matches_any_of_the_addresses_matches():
    assert decision(["!bad.example", "good.example"], b"a@good.example", b"b@bad.example") is False
    assert decision(["good.example", "!bad.example"], b"a@good.example", b"b@bad.example") is True


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("", '"" is empty'),
        ("!", '"!" is empty'),
        ("@", "names no user"),
        ("!!jane@example.com", 'has one "!" too many'),
        ("@hash:/x", "is no address, domain"),
        ("/[[a]/", "is no regular expression: Possible nested set"),
        ("*@example.com", 'did you mean "example.com"?'),
        ("*.example.com", 'all below a domain is ".example.com"'),
        ("jane@", "has no domain"),
        ("a..b", "has an empty part in its domain"),
        ("example.com.", "has an empty part in its domain"),
        ("a@b.example, c@d.example", "is no address, domain"),
        ("/(/", "is no regular expression: missing )"),
        ("//", "must be a regular expression between two slashes"),
        ("/jane", "must be a regular expression between two slashes"),
        ("hash:", 'must be a Postfix table, "type:name"'),
        ("Hash:/x", 'must be a Postfix table, "type:name"'),
        ("a\nb.example", "is no address"),
    ],
)
def test_an_error_shows_the_bad_pattern_and_what_is_wrong(pattern, problem):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        compiled(["good.example", pattern])
    assert str(caught.value).startswith(f'"{pattern}" ')
    assert problem in str(caught.value)


def test_compiled_patterns_survive_the_compiled_file_and_can_be_shown():
    words = ["a@b.example", "!.c.example", "/x/", "!/y/", "hash:/z", "d.example"]
    found = marshal.loads(marshal.dumps(compiled(words)))
    assert patterns.words(found) == words


WORD = st.sampled_from(["a@x.y", "!a@x.y", "x.y", "!x.y", ".y", "!.y", ".", "!.", "/^b/", "!/^b/", "b@x.y", "z@q.r"])
ADDRESS = st.sampled_from([b"a@x.y", b"a+e@x.y", b"b@x.y", b"c@x.y", b"c@w.y", b"q@z", b""])


@given(st.lists(WORD), st.lists(ADDRESS, min_size=1, max_size=3))
def test_a_list_decides_as_its_patterns_one_by_one(words, addresses):
    one_by_one = (decision([word], *addresses) for word in words)
    assert decision(words, *addresses) is next((found for found in one_by_one if found is not None), None)


@given(st.lists(st.lists(WORD)), ADDRESS)
def test_lists_with_an_index_decide_as_each_alone(lists, address):
    index = marshal.loads(marshal.dumps(patterns.index([compiled(words) for words in lists])))
    found = patterns.those_matching(index, Address(address, "+"), Lookup())
    assert found == [number for number, words in enumerate(lists) if decision(words, address)]


def test_one_of_thousands_is_found_and_no_other():
    words = [f"user{number}@example.com" for number in range(5000)]
    assert all(decision(words, word.encode()) for word in words[::97])
    assert decision(words, b"user5000@example.com") is None
    assert patterns.words(compiled(words)) == sorted(words)


@given(st.binary())
def test_any_bytes_are_an_address(data):
    address = Address(data, "+-")
    assert address.keys[-1] == "."
    assert not any(key != key.lower() for key in address.keys)


@pytest.mark.parametrize("address", [b"a@", b"@", b"a@.", b"a@.."])
def test_an_address_without_a_domain_has_no_empty_key(address):
    assert Address(address, "+").keys == ["."]


def test_a_domain_that_is_too_long_for_one_has_no_keys():
    assert Address(b"jane@" + b"a." * 200 + b"example", "+").keys == ["."]
