"""Levels: what a mailbox gets in each zone between them, whether SpamAssassin agrees or not, and to each recipient his.

The tables are those of pf-spamfilt.toml(5). SpamAssassin agrees, or does not, by its required_score for the recipient.
"""

import itertools
from dataclasses import dataclass

import pytest
from proving import (
    MESSAGES,
    Host,
    body_is_whole,
    by_recipient,
    for_recipients,
    is_consistent,
    marks,
    reinjection,
    scoring,
)

from lab.mailbox import Copy

TAG = "[SPAM]"
SUBJECT = "Minutes of Tuesday's meeting"
ZONES = "[policy]\ntag_level = 2\ntag2_level = 6\nkill_level = 10\n" + f'subject_tag = "{TAG}"\n'
RENAME = "rewrite_header Subject [SA]\nrewrite_header From SA\n"
# By score, and whether SpamAssassin, whose required score is then 5, agrees.
STATUS = {
    (1, True): None,
    (1, False): None,
    (4, True): "No, score=4.0 required=5.0",
    (4, False): "No, score=4.0 required=6.0",
    (8, True): "Yes, score=8.0 required=5.0",
    (8, False): "Yes, score=8.0 required=6.0",
    (12, True): "Yes, score=12.0 required=5.0",
    (12, False): "Yes, score=12.0 required=6.0",
}


@dataclass(frozen=True)
class Case:
    """A message of some score to somebody with these preferences of SpamAssassin."""

    score: int
    agreed: bool
    safe: int
    renamed: bool

    def __str__(self) -> str:
        agreed, renamed = "agreed" if self.agreed else "not-agreed", "renamed" if self.renamed else "own-subject"
        return f"{self.score}-{agreed}-safe-{self.safe}-{renamed}"

    @property
    def is_spam(self) -> bool:
        """Whether tag2_level is reached."""
        return self.score >= 6

    @property
    def is_wrapped(self) -> bool:
        """Whether SpamAssassin's report_safe shows."""
        return self.is_spam and self.agreed and self.safe == 1

    @property
    def recipient(self) -> str:
        """Whom it is for."""
        return f"{self}@zones.example"

    @property
    def preferences(self) -> str:
        """What makes SpamAssassin agree with the levels, or not."""
        required = 5 if self.agreed else 50 if self.is_spam else 0.5
        # What the lab's report_safe 0 has added stays after report_safe 1.
        report = f"report_safe {self.safe}\n" + "remove_header spam Report\n" * self.safe
        return f"required_score {required}\nadd_header all Extra yes\n{report}" + RENAME * self.renamed


CASES = [Case(*values) for values in itertools.product((1, 4, 8, 12), (True, False), (0, 1), (False, True))]
each_case = pytest.mark.parametrize("case", CASES, ids=str)

# Each recipient's levels, and what he is told of a score: flag, and required score if he sees one.
TOLD_OF = (-5, 4, 6, 20, 1000)
TOLD = {
    "nothing": ("", ["No 5.0", "No 5.0", "Yes 5.0", "Yes 5.0", "Yes 5.0"]),
    "required": ('tag2_level = "required"', ["No 5.0", "No 5.0", "Yes 5.0", "Yes 5.0", "Yes 5.0"]),
    "always": ('tag2_level = "always"', ["Yes -5.0", "Yes 4.0", "Yes 5.0", "Yes 5.0", "Yes 5.0"]),
    "never": ('tag2_level = "never"', ["No 5.0", "No 5.0", "No 9999.0", "No 9999.0", "No 9999.0"]),
    "below-all": ("tag2_level = -10", ["Yes -10.0", "Yes -10.0", "Yes 5.0", "Yes 5.0", "Yes 5.0"]),
    "lower": ("tag2_level = 3.5", ["No 5.0", "Yes 3.5", "Yes 5.0", "Yes 5.0", "Yes 5.0"]),
    "exactly": ("tag2_level = 4", ["No 5.0", "Yes 4.0", "Yes 5.0", "Yes 5.0", "Yes 5.0"]),
    "decimals": ("tag2_level = 6.31", ["No 5.0", "No 5.0", "No 6.31", "Yes 5.0", "Yes 5.0"]),
    "higher": ("tag2_level = 30", ["No 5.0", "No 5.0", "No 30.0", "No 30.0", "Yes 5.0"]),
    "score-from-5": ("tag_level = 5", ["No -", "No -", "Yes 5.0", "Yes 5.0", "Yes 5.0"]),
    "score-from-6": ("tag_level = 6", ["No -", "No -", "Yes 5.0", "Yes 5.0", "Yes 5.0"]),
    "score-from-7": ("tag_level = 7", ["No -", "No -", "Yes -", "Yes 5.0", "Yes 5.0"]),
    "score-of-spam": ('tag_level = "required"', ["No -", "No -", "Yes 5.0", "Yes 5.0", "Yes 5.0"]),
    "no-score": ('tag_level = "never"\ntag2_level = 7', ["No -", "No -", "No -", "Yes -", "Yes -"]),
    "killed-not-marked": ("kill_level = 3\ntag2_level = 30", ["No 5.0", "No 5.0", "No 30.0", "No 30.0", "Yes 5.0"]),
}
each_score = pytest.mark.parametrize("score", TOLD_OF)


@pytest.fixture(scope="module")
def zones(module_mailhost: Host) -> dict[str, list[Copy]]:
    """What arrived of CASES."""
    host = module_mailhost
    host.configured(ZONES)
    host.mailbox.clear()
    for case in CASES:
        host.spamd.preferences(case.recipient, case.preferences)
        host.put(scoring(case.score), [case.recipient])
    return by_recipient(host.once(len(CASES)))


@each_case
def test_status_has_the_word_and_the_required_score_that_hold(zones: dict[str, list[Copy]], case: Case) -> None:
    """Below tag_level there is none; where SpamAssassin agrees its own is there."""
    (copy,) = zones[case.recipient]
    status = copy.header("X-Spam-Status")
    assert (status and status.partition(" tests=")[0]) == STATUS[case.score, case.agreed], copy.head


@each_case
def test_stars_are_there_with_the_status(zones: dict[str, list[Copy]], case: Case) -> None:
    (copy,) = zones[case.recipient]
    assert copy.header("X-Spam-Level") == (None if case.score < 2 else "*" * case.score), copy.head


@each_case
def test_flag_is_there_from_tag2_level_on(zones: dict[str, list[Copy]], case: Case) -> None:
    (copy,) = zones[case.recipient]
    assert copy.header("X-Spam-Flag") == ("YES" if case.is_spam else None), copy.head


@each_case
def test_report_is_spamassassins_or_ours(zones: dict[str, list[Copy]], case: Case) -> None:
    """It is in the body of what SpamAssassin has wrapped."""
    (copy,) = zones[case.recipient]
    report = copy.header("X-Spam-Report")
    if not case.is_spam or case.is_wrapped:
        assert report is None, copy.head
        assert (b"%d.0 points, 5.0 required" % case.score in copy.body) == case.is_wrapped
    elif case.agreed:
        assert str(report).endswith(f" T_{case.score} The message asks for {case.score} points"), copy.head
    else:
        assert report == f"score {case.score}.0, 6.0 required; tests: T_{case.score}", copy.head


@each_case
def test_subject_is_tagged_from_tag2_level_on(zones: dict[str, list[Copy]], case: Case) -> None:
    """What SpamAssassin's rewrite_header puts there comes after the tag, and only where SpamAssassin agrees."""
    (copy,) = zones[case.recipient]
    tags = [TAG] * case.is_spam + ["[SA]"] * (case.is_spam and case.agreed and case.renamed)
    assert copy.header("Subject") == " ".join([*tags, SUBJECT]), copy.head


@each_case
def test_from_is_the_senders_unless_spamassassin_agrees(zones: dict[str, list[Copy]], case: Case) -> None:
    (copy,) = zones[case.recipient]
    assert ("(SA)" in str(copy.header("From"))) == (case.is_spam and case.agreed and case.renamed), copy.head


@each_case
def test_other_fields_of_spamassassin_are_there_where_it_agrees(zones: dict[str, list[Copy]], case: Case) -> None:
    """But always its name and version."""
    (copy,) = zones[case.recipient]
    assert copy.header("X-Spam-Extra") == ("yes" if case.agreed else None), copy.head
    assert (copy.header("X-Spam-Prev-Subject") is None) or (case.agreed and case.renamed), copy.head
    assert copy.header("X-Spam-Checker-Version"), copy.head


@each_case
def test_body_is_the_senders_or_spamassassins_report_with_the_original(
    zones: dict[str, list[Copy]], case: Case
) -> None:
    (copy,) = zones[case.recipient]
    message = scoring(case.score)
    assert (copy.message.get_content_type() == "multipart/mixed") == case.is_wrapped, copy.head
    assert message in copy.body if case.is_wrapped else body_is_whole(copy, message)


@each_case
def test_copy_in_a_zone_says_one_thing(zones: dict[str, list[Copy]], case: Case) -> None:
    (copy,) = zones[case.recipient]
    assert is_consistent(copy, TAG), copy.head


class Sent:
    """One message for all who are in TOLD: its bytes, its queue id, spamd's scans, and a copy for each name."""

    def __init__(self, host: Host, message: bytes) -> None:
        self.message = message
        before = len(host.scans())
        self.queue_id = host.put(message, [f"{name}@told.example" for name in TOLD])
        copies = host.once(len(TOLD))
        self.scans = host.scans()[before:]
        self.copies = {copy.recipient.partition("@")[0]: copy for copy in copies}


@pytest.fixture(scope="module")
def told(module_mailhost: Host) -> dict[int, Sent]:
    """What all recipients got of one message for each score."""
    host = module_mailhost
    host.configured("".join(for_recipients(f"{name}@told.example", keys) for name, (keys, _) in TOLD.items()))
    found = {}
    for score in TOLD_OF:
        host.mailbox.clear()
        found[score] = Sent(host, MESSAGES["gtube"] if score == 1000 else scoring(score))
    return found


def summary(copy: Copy) -> str:
    """Return the flag of a copy, and the required score or "-"."""
    flag = "Yes" if copy.header("X-Spam-Flag") == "YES" else "No"
    status = copy.header("X-Spam-Status") or " required=-"
    return f"{flag} {status.partition('required=')[2].partition(' ')[0]}"


@each_score
@pytest.mark.parametrize("name", TOLD)
def test_each_recipient_of_a_message_is_told_by_his_own_levels(told: dict[int, Sent], name: str, score: int) -> None:
    copy = told[score].copies[name]
    assert summary(copy) == TOLD[name][1][TOLD_OF.index(score)], copy.head


@each_score
@pytest.mark.parametrize("name", TOLD)
def test_each_copy_of_a_message_says_one_thing(told: dict[int, Sent], name: str, score: int) -> None:
    copy = told[score].copies[name]
    assert is_consistent(copy), copy.head
    assert body_is_whole(copy, told[score].message)


@each_score
def test_recipients_with_the_same_copy_share_one_sendmail(told: dict[int, Sent], score: int) -> None:
    """There are as many reinjections as copies that differ."""
    copies = told[score].copies.values()
    different = {tuple(marks(copy)) for copy in copies}
    assert len({reinjection(copy) for copy in copies}) == len(different)


@each_score
def test_recipients_with_different_levels_cost_one_scan(told: dict[int, Sent], score: int) -> None:
    (scan,) = told[score].scans
    assert "user=spamfilt," in scan


def test_postfix_log_tells_for_how_many_it_was_tagged(told: dict[int, Sent], mailhost: Host) -> None:
    line = mailhost.postfix.log_lines(told[6].queue_id, "relay=spamcheck")[0]
    spam = sum(says[2].startswith("Yes") for _, says in TOLD.values())
    assert f"(spam 6.0/5.0, tagged for {spam}; {len(TOLD)} reinjected)" in line


def test_score_that_is_higher_than_any_level_stays_below_never(mailhost: Host) -> None:
    """What is never spam says No with a required score above its own."""
    mailhost.spamd.preferences("owner@example.com", "score GTUBE 20000\n")
    mailhost.configured('[policy]\ntag2_level = "never"\n')
    (copy,) = mailhost.deliver("gtube", ["owner@example.com"])
    assert str(copy.header("X-Spam-Status")).startswith("No, score=20000.0 required=20001.0 "), copy.head
    assert is_consistent(copy), copy.head
