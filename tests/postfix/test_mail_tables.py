"""Postfix tables of every kind say who wants what, and who is welcome; mail waits while one cannot be read."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from policies import BLOCK, FAULTS, KINDS, WELCOME, WHOLE_KINDS, Fault, Kind, Policies, database_down, missing, named
from proving import JANE, SAM, Host, by_recipient, scoring

from lab.mailbox import Copy
from lab.smtp import SENDER

JOE = "joe@example.com"
SALES = "sales@example.com"
QUARANTINE = "spam@example.com"

every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
every_whole_kind = pytest.mark.parametrize("kind", WHOLE_KINDS.values(), ids=WHOLE_KINDS)

COUNTING = """
echo "$*" >>{calls}
exec /usr/sbin/postmap "$@"
"""
WRONG = {
    "unknown key": ("kil_level=3", "kil_level: there is no such key"),
    "wrong value": ("kill_level=much", "kill_level: must be a number"),
    "no key": ("much", "much"),
}
ODD_RECIPIENTS = [
    "o'brien@example.com",
    "a%b@example.com",
    "%s@example.com",
    '"(a*)(mail=*"@example.com',
    '"back\\\\slash"@example.com',
    '"a;b--"@example.com',
    "jürgen@example.com",
]


@pytest.fixture(scope="module")
def module_policies(session_mailhost: Host) -> Iterator[Policies]:
    """The tables of examples/policy and their servers, as the tests before have left them; use `policies` instead."""
    with Policies(session_mailhost) as policies:
        yield policies


@pytest.fixture
def policies(module_policies: Policies, mailhost: Host) -> Policies:
    """The tables of examples/policy, as new."""
    module_policies.install()
    return module_policies


def use(mailhost: Host, tables: list[str], policy: str = "") -> None:
    """Have the filter ask these tables for its recipients; handled mail is discarded, unless a table says more."""
    mailhost.configured(f'[tables]\nrecipients = {tables}\n[policy]\ndestiny = "discard"\n{policy}')


def flags(copies: list[Copy]) -> dict[str, str | None]:
    """Return the spam flag of each recipient's copy."""
    return {copy.recipient: copy.header("X-Spam-Flag") for copy in copies}


@every_kind
def test_recipients_of_one_message_have_levels_of_their_own(mailhost: Host, policies: Policies, kind: Kind) -> None:
    """With 4 points Jane's copy is spam, and Sam's is not."""
    use(mailhost, kind.tables)
    assert flags(mailhost.deliver(scoring(4), [JANE, SAM])) == {JANE: "YES", SAM: None}


@every_kind
def test_domain_says_what_the_user_does_not(mailhost: Host, policies: Policies, kind: Kind) -> None:
    """Jane has a tag2_level of her own, and the domain's kill_level; nothing is kept back from the sales department."""
    use(mailhost, kind.tables)
    mailhost.put(scoring(20), [JANE, SALES])
    arrived = {SALES, QUARANTINE} if kind in WHOLE_KINDS.values() else {SALES}
    assert set(by_recipient(mailhost.once(len(arrived)))) == arrived


@every_whole_kind
def test_table_gives_a_subject_tag(mailhost: Host, policies: Policies, kind: Kind) -> None:
    """A text with blanks, found for another case and with an extension."""
    use(mailhost, kind.tables)
    (copy,) = mailhost.deliver(scoring(4), ["Jane+News@Example.com"])
    assert copy.header("Subject") == "[SPAM 4.0] Minutes of Tuesday's meeting"


@every_whole_kind
def test_table_gives_welcome_senders(mailhost: Host, policies: Policies, kind: Kind) -> None:
    """Joe gets what his friend sends; Sam's copy is kept back."""
    use(mailhost, kind.tables)
    mailhost.put(scoring(20), [JOE, SAM], "friend@client.example")
    assert set(by_recipient(mailhost.once(2))) == {JOE, QUARANTINE}


@every_whole_kind
def test_table_gives_blocked_senders(mailhost: Host, policies: Policies, kind: Kind) -> None:
    """What Joe has blocked is kept back from him as spam; Sam gets it."""
    use(mailhost, kind.tables)
    mailhost.put(scoring(1), [JOE, SAM], "bonus@offers.example")
    assert set(by_recipient(mailhost.once(2))) == {SAM, QUARANTINE}


@every_kind
def test_odd_addresses_are_looked_up_as_they_are(mailhost: Host, policies: Policies, kind: Kind) -> None:
    """Quotes, percent signs and parentheses mean nothing to any server: the domain's level holds for all."""
    use(mailhost, kind.tables)
    copies = mailhost.deliver(scoring(6), ODD_RECIPIENTS)
    assert set(flags(copies).values()) == {None}
    assert len(by_recipient(copies)) == len(ODD_RECIPIENTS)


@pytest.mark.parametrize("table", WELCOME.values(), ids=WELCOME)
def test_table_lists_welcome_senders_for_everybody(mailhost: Host, policies: Policies, table: str) -> None:
    """By address, and by a domain above; what others send is discarded."""
    use(mailhost, [], f'kill_level = 15\nwelcome_senders = ["{table}"]\n')
    for sender in ("newsletter@client.example", "bob@mail.partner.example", SENDER):
        mailhost.put(scoring(20), sender=sender)
    copies = mailhost.once(2)
    assert sorted(copy.sender for copy in copies) == ["bob@mail.partner.example", "newsletter@client.example"]
    assert flags(copies) == {JANE: "YES"}


@pytest.mark.parametrize("table", BLOCK.values(), ids=BLOCK)
def test_table_lists_blocked_senders_for_everybody(mailhost: Host, policies: Policies, table: str) -> None:
    use(mailhost, [], f'block_senders = ["{table}"]\n')
    found = {}
    for sender in ("bonus@mail.casino.example", SENDER):
        mailhost.mailbox.clear()
        found[sender] = flags(mailhost.deliver(scoring(1), sender=sender))[JANE]
    assert found == {"bonus@mail.casino.example": "YES", SENDER: None}


def test_exception_in_a_list_of_tables_goes_first(mailhost: Host, policies: Policies) -> None:
    """An exclamation mark before a table takes its senders out of what follows."""
    use(mailhost, [], f'kill_level = 15\nwelcome_senders = ["!{named("hash:welcome")}", "."]\n')
    for sender in ("bob@mail.partner.example", SENDER):
        mailhost.put(scoring(20), sender=sender)
    (copy,) = mailhost.once(1)
    assert copy.sender == SENDER


@pytest.mark.parametrize(("kind", "fault"), FAULTS.values(), ids=FAULTS)
def test_mail_waits_for_a_table_to_be_mended(mailhost: Host, policies: Policies, kind: Kind, fault: Fault) -> None:
    """Deferred, and the log names the table; the next queue run after mending delivers."""
    use(mailhost, kind.tables)
    with fault(policies, kind):
        queue_id = mailhost.put(scoring(4))
        mailhost.deferred(queue_id, "dsn=4.3.0", f"table {kind.tables[0]}: ")
    assert flags(mailhost.retry()) == {JANE: "YES"}


@pytest.mark.parametrize("table", [WELCOME["hash"], WELCOME["pgsql"]], ids=["file missing", "server down"])
def test_mail_waits_for_a_list_of_senders_to_be_mended(mailhost: Host, policies: Policies, table: str) -> None:
    """Nobody is taken for unwelcome because a table is gone."""
    use(mailhost, [], f'kill_level = 15\nwelcome_senders = ["{table}"]\n')
    fault = missing if table == WELCOME["hash"] else database_down
    with fault(policies, Kind([table], "welcome.db")):
        queue_id = mailhost.put(scoring(20), sender="newsletter@client.example")
        mailhost.deferred(queue_id, "dsn=4.3.0", f"table {table}: ")
    assert flags(mailhost.retry()) == {JANE: "YES"}


def test_hanging_server_defers_in_time(mailhost: Host, policies: Policies) -> None:
    """At the deadline, and postmap is gone."""
    tables = KINDS["pgsql"].tables
    use(mailhost, tables, "[limits]\ndeadline = 2\n")
    with policies.database.paused():
        mailhost.deferred(mailhost.put(scoring(4)), "dsn=4.", "postmap took too long")
        mailhost.wait_no_filter()
    use(mailhost, tables)
    assert flags(mailhost.retry()) == {JANE: "YES"}


def test_table_of_an_unknown_type_defers(mailhost: Host) -> None:
    use(mailhost, ["nosuch:/etc/postfix/table"])
    mailhost.deferred(mailhost.put(), "dsn=4.3.0", "table nosuch:/etc/postfix/table: ", "unsupported dictionary type")


@pytest.mark.parametrize(("result", "said"), WRONG.values(), ids=WRONG)
def test_mail_waits_for_a_wrong_entry_to_be_mended(mailhost: Host, result: str, said: str) -> None:
    """The log names table, key, and what is wrong."""
    use(mailhost, [f"static:{result}"])
    mailhost.deferred(mailhost.put(), "dsn=4.3.5", f"table static:{result}, key jane@example.com: ", said)
    mailhost.settings()
    mailhost.retry()


@pytest.fixture
def calls(mailhost: Host) -> Iterator[Path]:
    """A file with a line for each call of postmap, by the program `counting`."""
    file = mailhost.directory / "calls"
    file.touch()
    file.chmod(0o666)
    yield file
    file.unlink()


def test_a_message_asks_each_table_once(mailhost: Host, policies: Policies, calls: Path) -> None:
    """For all recipients and all addresses of the sender together."""
    tables = [*KINDS["hash"].tables, *KINDS["pgsql"].tables]
    lists = [WELCOME["sqlite"], BLOCK["pcre"]]
    command = mailhost.program("counting", COUNTING.format(calls=calls))
    mailhost.configured(
        f'[tables]\ncommand = ["{command}"]\nrecipients = {tables}\n'
        f'[policy]\nwelcome_senders = ["{lists[0]}"]\nblock_senders = ["{lists[1]}"]\n'
    )
    mailhost.deliver("clean", [JANE, SAM, JOE, "ann@example.com"])
    assert sorted(calls.read_text().splitlines()) == sorted(f"-q - {table}" for table in [*tables, *lists])
