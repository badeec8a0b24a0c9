"""policy.py: what a recipient wants, and what that makes of a verdict."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pf_spamfilt import policy
from pf_spamfilt.patterns import Address, compiled
from pf_spamfilt.policy import Wishes
from pf_spamfilt.report import BOUNCED, DISCARDED, QUARANTINED, REINJECTED
from pf_spamfilt.verdict import Scan, Verdict

JANE = b"jane@example.com"


def wishes(*, welcome=False, blocked=False, **keys):
    found = Wishes(JANE, [("[policy]", keys)])
    found.welcome, found.blocked = welcome, blocked
    return found


def scan(score, required="5.0", spam=None):
    found = Scan()
    spam = float(score) >= float(required) if spam is None else spam
    found.verdict = Verdict(spam, score, required, "A")
    return found


def decided(score="6.0", *, may_bounce=True, required="5.0", spam=None, **keys):
    found = scan(score, required, spam) if score is not None else Scan(unscanned="600000 bytes")
    return policy.decide(wishes(**keys), found, may_bounce)


def test_the_defaults_do_what_spamassassin_says():
    for score, spam in (("6.0", True), ("4.0", False)):
        found = decided(score)
        assert (found.spam, found.status, found.handled, found.end, found.required) == (
            spam,
            True,
            False,
            REINJECTED,
            "5.0",
        )


@pytest.mark.parametrize(
    ("level", "score", "reached"),
    [
        (5, "5.0", True),
        (5, "4.9", False),
        (6.25, "6.2", False),
        (6.25, "6.3", True),
        (-3, "-3.0", True),
        ("required", "5.0", True),
        ("required", "4.9", False),
        ("always", "-100.0", True),
        ("never", "1000.0", False),
    ],
)
@pytest.mark.parametrize("key", ["tag_level", "tag2_level", "kill_level"])
def test_a_level_is_reached_by_number_or_word(key, level, score, reached):
    found = decided(score, **{key: level})
    assert {"tag_level": found.status, "tag2_level": found.spam, "kill_level": found.handled}[key] is reached


LEVEL = st.sampled_from(["always", "required", "never"]) | st.floats(-99, 99).map(lambda level: round(level, 2))
SCORE = st.floats(-99, 1e5).map(lambda score: f"{score:.1f}")


@given(SCORE, st.floats(-9, 99).map(lambda level: f"{level:.1f}"), LEVEL, st.booleans(), st.booleans())
def test_the_required_score_always_says_what_the_mark_says(score, required, level, welcome, blocked):
    found = decided(score, required=required, tag2_level=level, welcome=welcome, blocked=blocked)
    assert (float(score) >= float(found.required)) == found.spam


@pytest.mark.parametrize(
    ("level", "blocked", "score", "required"),
    [
        (4, False, "4.2", "4.0"),
        (8, False, "6.0", "8.0"),
        (6.25, False, "6.0", "6.25"),
        ("never", False, "6.0", "9999.0"),
        ("never", False, "10000.0", "10001.0"),
        ("always", False, "2.0", "2.0"),
        (8, True, "2.0", "2.0"),
    ],
)
def test_the_required_score_is_the_level_that_decided(level, blocked, score, required):
    assert decided(score, tag2_level=level, blocked=blocked).required == required


def test_without_a_score_the_verdict_counts_and_numbers_do_not():
    found = decided("", spam=True, tag2_level=3, kill_level=3)
    assert (found.spam, found.handled, found.required) == (True, False, "5.0")
    assert decided("", spam=False, tag2_level=3).spam is False
    assert decided("", spam=True, kill_level="required").handled
    assert decided("", spam=False, kill_level="always").handled


@pytest.mark.parametrize(
    ("keys", "spam", "handled", "listed"),
    [
        ({"welcome": True}, True, False, "welcome"),
        ({"blocked": True}, True, True, "block"),
        ({"welcome": True, "blocked": True}, True, False, "both"),
        ({"spam_lover": True}, True, False, ""),
        ({"spam_lover": True, "blocked": True}, True, False, "block"),
        ({"bypass": True, "blocked": True}, False, False, ""),
    ],
)
def test_lists_and_lovers(keys, spam, handled, listed):
    found = decided("9.0", kill_level=5, **keys)
    assert (found.spam, found.handled, found.listed) == (spam, handled, listed)


def test_a_blocked_sender_reaches_every_level_but_never():
    for tag2, kill in itertools.product((9, "always", "required", "never"), repeat=2):
        found = decided("0.0", blocked=True, tag2_level=tag2, kill_level=kill)
        assert (found.spam, found.handled) == (True, kill != "never")


def test_what_was_not_scanned_is_only_handled_if_the_sender_is_blocked():
    found = decided(None, kill_level="always", tag2_level="always")
    assert (found.spam, found.handled) == (False, False)
    found = decided(None, kill_level=5, blocked=True)
    assert (found.spam, found.handled, found.required) == (True, True, "")


@pytest.mark.parametrize(
    ("destiny", "quarantine", "may_bounce", "end"),
    [
        ("pass", "", True, REINJECTED),
        ("pass", "spam@example.com", True, REINJECTED),
        ("discard", "", True, DISCARDED),
        ("discard", "spam@example.com", True, QUARANTINED),
        ("bounce", "", True, BOUNCED),
        ("bounce", "spam@example.com", True, BOUNCED),
        ("bounce", "", False, DISCARDED),
        ("bounce", "spam@example.com", False, QUARANTINED),
    ],
)
def test_destinies(destiny, quarantine, may_bounce, end):
    found = decided("9.0", kill_level=5, destiny=destiny, quarantine=quarantine, may_bounce=may_bounce)
    assert found.end == end


def test_the_first_source_that_has_a_key_wins_key_by_key():
    found = Wishes(
        JANE,
        [("table", {"tag2_level": 3}), ("block", {"tag2_level": 4, "kill_level": 8}), ("[policy]", {"admin": "a@b"})],
    )
    assert found.find("tag2_level") == (3, "table")
    assert found.find("kill_level") == (8, "block")
    assert found.find("admin") == ("a@b", "[policy]")
    assert found.find("destiny") == ("pass", "")


def listed(own, general, *senders):
    lists = [{key: compiled(words) for key, words in each.items()} for each in (own, general)]
    found = Wishes(JANE, [("block", lists[0]), ("[policy]", lists[1])])
    policy.look_up_sender([found], [Address(sender, "+") for sender in senders], lambda *_: False)
    return found.welcome, found.blocked, found.listed_in


W, B = "welcome_senders", "block_senders"


@pytest.mark.parametrize(
    ("own", "general", "expected"),
    [
        ({}, {W: ["x.example"]}, (True, False, "[policy]")),
        ({}, {W: ["x.example"], B: ["a@x.example"]}, (True, True, "[policy]")),
        ({W: ["a@x.example"]}, {B: ["x.example"]}, (True, False, "block")),
        ({B: ["a@x.example"]}, {W: ["."]}, (False, True, "block")),
        ({W: ["!a@x.example"]}, {W: ["."]}, (False, False, "")),
        ({W: ["other.example"]}, {B: ["x.example"]}, (False, True, "[policy]")),
        ({}, {}, (False, False, "")),
    ],
)
def test_a_recipients_own_lists_go_before_the_general_ones(own, general, expected):
    assert listed(own, general, b"a@x.example") == expected


def test_envelope_sender_and_from_address_are_both_looked_at():
    assert listed({}, {B: ["x.example"]}, b"bounces@list.example", b"a@x.example") == (False, True, "[policy]")


def test_only_the_source_whose_list_the_sender_is_on_is_named():
    lists = [("one", {W: compiled(["x.example"])}), ("two", {B: compiled(["y.example"])}), ("[policy]", {})]
    found = Wishes(JANE, lists)
    policy.look_up_sender([found], [Address(b"a@x.example", "+")], None)
    assert found.listed_in == "one"


def test_a_copy_that_spamassassin_made_is_the_same_for_whoever_blocks_the_sender():
    one = scan("6.0")
    copies = {policy.decide(wishes(blocked=blocked), one, True).copy_key for blocked in (True, False)}
    assert len(copies) == 1


KEYS = st.fixed_dictionaries(
    {},
    optional={
        "tag_level": LEVEL,
        "tag2_level": LEVEL,
        "kill_level": LEVEL,
        "subject_tag": st.sampled_from(["", "[SPAM]"]),
        "destiny": st.sampled_from(["pass", "discard", "bounce"]),
        "quarantine": st.sampled_from(["", "q@example.com"]),
        "bypass": st.booleans(),
        "spam_lover": st.booleans(),
        "welcome": st.booleans(),
        "blocked": st.booleans(),
    },
)


@given(st.lists(st.tuples(KEYS, st.integers(0, 2)), max_size=8), st.booleans())
def test_every_recipient_is_in_exactly_one_group_whatever_the_policies(chosen, may_bounce):
    scans = [scan("6.0"), scan("4.0"), Scan(unscanned="600000 bytes")]
    treatments = [policy.decide(wishes(**keys), scans[number], may_bounce) for keys, number in chosen]
    delivered = [each for each in treatments if each.end == REINJECTED]
    groups = policy.grouped(delivered, lambda each: each.copy_key)
    for end in (QUARANTINED, DISCARDED, BOUNCED):
        groups += [[each for each in treatments if each.end == end]]
    assert sorted(id(each) for group in groups for each in group) == sorted(map(id, treatments))
    assert all(len({each.copy_key for each in group}) == 1 for group in groups[:-3])
