"""Every message file, with the filter and without it: what is delivered differs in SpamAssassin's fields only.

All is sent once for the whole module, by DATA and by BDAT, to NAME@filtered.example and NAME@plain.example.
"""

import pytest
from proving import MESSAGES, Host, by_recipient, is_mark, marks, sent_fields

from lab.mailbox import Copy

WAYS = ("data", "bdat")
CASES = [f"{name}.{way}" for name in MESSAGES for way in WAYS]
Delivered = dict[str, list[Copy]]


@pytest.fixture(scope="module")
def delivered(module_mailhost: Host) -> Delivered:
    """What arrived for whom, when every message has been sent to both ports in both ways."""
    before = len(module_mailhost.scans())
    for case in CASES:
        name, way = case.split(".")
        module_mailhost.put(name, [f"{case}@filtered.example"], chunked=way == "bdat")
        module_mailhost.put(name, [f"{case}@plain.example"], filtered=False, chunked=way == "bdat")
    copies = module_mailhost.once(2 * len(CASES))
    assert len(module_mailhost.scans()) == before + len(CASES)
    return by_recipient(copies)


@pytest.fixture(params=CASES)
def pair(request: pytest.FixtureRequest, delivered: Delivered) -> tuple[Copy, Copy]:
    """The one copy of a message that was filtered, and the one that was not."""
    (filtered,), (plain,) = (delivered[f"{request.param}@{domain}.example"] for domain in ("filtered", "plain"))
    return filtered, plain


def test_body_is_delivered_as_postfix_alone_delivers_it(pair: tuple[Copy, Copy]) -> None:
    filtered, plain = pair
    assert filtered.body == plain.body


def test_other_header_fields_stay_as_they_are(pair: tuple[Copy, Copy]) -> None:
    """All but X-Spam-*, in their order, with their folding."""
    filtered, plain = (sent_fields(copy) for copy in pair)
    assert [field for field in filtered if not is_mark(field)] == [field for field in plain if not is_mark(field)]


def test_marks_are_spamassassins_alone(pair: tuple[Copy, Copy]) -> None:
    """No X-Spam-* field of the sender survives, and SpamAssassin's are there."""
    filtered, plain = pair
    names = [field.split(b":")[0] for field in marks(filtered)]
    assert names.count(b"X-Spam-Status") == names.count(b"X-Spam-Checker-Version") == 1
    assert not set(marks(filtered)) & set(marks(plain))
    assert len(names) == len(set(names)), filtered.head


@pytest.mark.parametrize("name", ["clean", "dots", "multipart", "nul-bytes", "undeclared-8-bit", "long-lines"])
def test_body_is_the_one_that_was_sent(delivered: Delivered, name: str) -> None:
    """Postfix alone changes nothing either: so these bodies are those of the files."""
    for way in WAYS:
        (copy,) = delivered[f"{name}.{way}@filtered.example"]
        assert copy.body == MESSAGES[name].partition(b"\n\n")[2]
