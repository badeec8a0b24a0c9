"""admin/loglines.py and tally.py: what a log line says, and what all of them come to."""

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pf_spamfilt import report
from pf_spamfilt.admin.reports.figures import figures
from pf_spamfilt.admin.reports.lines import Foreign, Reader, Unreadable
from pf_spamfilt.admin.reports.tally import Seconds, Tally, Top, cause, score_place
from pf_spamfilt.policy import Treatment, Wishes
from pf_spamfilt.verdict import Scan, Verdict

LATEST = datetime.datetime(2026, 11, 23, 12).timestamp()
BEGINNING = "Nov 23 03:49:12 mx1 pf-spamfilt[123]: "
UNREACHED = "4.4.1 spamc cannot connect to spamd"


def line(sender=b"a@example.com", to=(b"b@example.net",), spam=True, action="reinjected", **more):
    """Return the line that the filter writes of a message; without a score it was not scanned."""
    score, scan = more.get("score", "15.3"), Scan(to[0] if to else b"")
    scan.verdict = Verdict(spam, score, "5.0", more.get("tests", "A,B")) if score else None
    record = report.Record()
    record.queue_id, record.sender, record.size = more.get("queue_id", "4cDR2f5x"), sender, 1234
    record.scan_seconds = 0.5 if score else 0.0
    outcome = report.Outcome(list(to), action, scan, more.get("treatment"))
    return report.line(record, outcome, 0.62, more.get("reason", ""))


def treated(spam=True, listed="", kept=""):
    """Return a treatment that says this."""
    treatment = Treatment(Wishes(b"b@example.net", []), Scan())
    treatment.spam, treatment.listed, treatment.kept = spam, listed, kept
    return treatment


def read(text, beginning=BEGINNING, latest=LATEST):
    return Reader(latest).read((beginning + text).encode())


def tallied(lines):
    """Return the tally of lines that have their beginning."""
    tally, reader = Tally(), Reader(LATEST)
    for text in lines:
        tally.add(reader.read(text.encode()))
    return tally


def of_one_run(*lines):
    """Return the figures of lines that one process of the filter wrote."""
    return figures(tallied(BEGINNING + text for text in lines), 10)


def of_runs(*lines, most=10):
    """Return the figures of lines that a process each wrote."""
    return figures(tallied(BEGINNING.replace("123", str(n)) + text for n, text in enumerate(lines)), most)


def taking(hundredths):
    """Return the seconds of messages that took so many hundredths."""
    seconds = Seconds()
    for number in hundredths:
        seconds.counts[b"%d.%02d" % divmod(number, 100)] += 1
    return seconds


def local(*when):
    return int(datetime.datetime(*when).timestamp())


@pytest.mark.parametrize(
    ("beginning", "moment"),
    [
        ("Nov 23 03:49:12 mx1 pf-spamfilt[123]: ", local(2026, 11, 23, 3, 49, 12)),
        ("Nov  3 03:49:12 mx1 pf-spamfilt[123]: ", local(2026, 11, 3, 3, 49, 12)),
        ("<22>Nov 23 03:49:12 pf-spamfilt[123]: ", local(2026, 11, 23, 3, 49, 12)),
        ("2026-11-23T03:49:12.123456+01:00 mx1 pf-spamfilt[123]: ", 1795402152),
        ("2026-11-23T03:49:12+0100 mx1 pf-spamfilt[123]: ", 1795402152),
        ("2026-11-23T02:49:12Z mx1 pf-spamfilt[123]: ", 1795402152),
        ("2026-11-23T03:49:12 mx1 pf-spamfilt[123]: ", local(2026, 11, 23, 3, 49, 12)),
    ],
)
def test_a_line_is_read_after_this_beginning(beginning, moment):
    found = read(line(), beginning)
    assert (found.moment, found.process, found.queue_id) == (moment, b"123", b"4cDR2f5x")


def test_a_stamp_without_a_year_goes_back_over_new_year():
    latest = datetime.datetime(2026, 1, 2).timestamp()
    assert read(line(), "Dec 31 23:59:59 mx1 pf-spamfilt[1]: ", latest).day == "2025-12-31"


def test_february_29_is_that_of_the_last_leap_year():
    assert read(line(), "Feb 29 10:00:00 mx1 pf-spamfilt[1]: ").day == "2024-02-29"


@pytest.mark.parametrize("stamp", ["Nov 31 10:00:00", "Xyz 10 10:00:00", "2026-13-01T10:00:00", "Nov 23 25:00:00"])
def test_a_time_that_does_not_exist_makes_a_line_unreadable(stamp):
    with pytest.raises(Unreadable):
        read(line(), f"{stamp} mx1 pf-spamfilt[1]: ")


@pytest.mark.parametrize(
    "text",
    [
        "4cDR2f5x: passed without a scan: spamc cannot connect to spamd",
        "/usr/bin/spamc -x -E exited with status 0",
        "/etc/postfix/pf-spamfilt.toml.compiled is stale",
    ],
)
def test_a_line_of_the_filter_that_is_not_of_a_message_says_nothing(text):
    assert read(text) is None


@pytest.mark.parametrize(
    "beginning",
    [
        "Nov 23 03:49:12 mx1 pf-spamfilt-admin[123]: ",
        "Nov 23 03:49:12 mx1 postfix/smtpd[9]: warning: helo < pf-spamfilt[123]: ",
        "Nov 23 03:49:12 postfix/smtpd[9]: pf-spamfilt[123]: ",
        "23.11.2026 03:49:12 mx1 pf-spamfilt[123]: ",
    ],
)
def test_a_line_with_another_beginning_is_foreign(beginning):
    with pytest.raises(Foreign):
        read(line(), beginning)


@pytest.mark.parametrize("length", range(20, len(line()) - 9, 17))
def test_a_cut_line_is_unreadable(length):
    with pytest.raises(Unreadable):
        read(line()[:length])


@given(
    st.binary(max_size=250),
    st.lists(st.binary(max_size=250), max_size=9),
    st.sampled_from(report.ACTIONS),
    st.booleans(),
)
def test_addresses_are_never_taken_for_something_else(sender, to, action, spam):
    """Whatever they are, a line is read as it was meant, or it was cut and is unreadable."""
    text = line(sender, to, spam, action)
    try:
        found = read(text)
    except Unreadable:
        assert text.endswith("...")
        return
    assert (found.action, found.verdict) == (action.encode(), b"spam" if spam else b"ham")
    assert (found.recipient_count, found.sender.decode()) == (len(to), report.address(sender))
    assert found.recipients == [report.address(each).encode() for each in to[:5]]


@pytest.mark.parametrize(
    "sender", [b"a>, to=<evil", b'"x, verdict=ham, action=discarded"@example.com', b"x, scan=9.00, total=9.00, tests=Z"]
)
def test_an_address_that_looks_like_keys_is_an_address(sender):
    found = of_runs(line(sender))
    assert [each["sender"] for each in found["spam_senders"]] == [report.address(sender)]
    assert (found["verdicts"]["spam"]["messages"], found["actions"]["reinjected"]) == (1, 1)


@pytest.mark.parametrize(
    ("word", "forged"),
    [
        ("to=<b@example.net>", f"to=<b@example.net>,(+{'9' * 5000} more)"),
        ("scan=0.50", f"scan={'9' * 400}.50"),
        ("Nov 23 03:49:12", "0001-01-01T00:00:00Z"),
        ("Nov 23 03:49:12", "9999-12-31T23:59:59-12:00"),
    ],
    ids=lambda text: text[:40],
)
def test_a_number_that_no_filter_writes_makes_a_line_unreadable(word, forged):
    """Such a line is somebody else's, and must not end the report."""
    text = BEGINNING + line()
    assert word in text
    with pytest.raises(Unreadable):
        read(text.replace(word, forged), "")


def test_the_last_test_of_a_line_with_the_line_ends_of_a_network_is_no_other():
    assert read(line() + "\r").test_names == [b"A", b"B"]


def test_a_test_that_was_cut_is_not_counted():
    tests = ",".join(f"A_RATHER_LONG_NAME_OF_A_TEST_{number}" for number in range(60))
    text = line(tests=tests)
    assert text.endswith("...")
    names = {each["test"] for each in of_runs(text, most=100)["tests"]}
    assert len(names) > 10
    assert names < set(tests.split(","))


def test_recipients_who_are_not_named_count():
    text = line(to=[b"b%d@example.com" % number for number in range(12)])
    assert "(+7 more)" in text
    assert of_runs(text)["actions"]["reinjected"] == 12


def test_a_message_with_several_lines_counts_once():
    found = of_one_run(line(to=[b"b@example.net"]), line(to=[b"c@example.net"], action="discarded"))
    assert (found["messages"], found["actions"]["reinjected"], found["actions"]["discarded"]) == (1, 1, 1)
    assert [each["messages"] for each in found["tests"]] == [1, 1]


def test_a_message_that_is_spam_for_one_is_spam():
    found = of_one_run(line(spam=False), line(spam=True))
    assert [found["verdicts"][name]["messages"] for name in ("spam", "ham")] == [1, 0]
    assert [found["verdicts"][name]["recipients"] for name in ("spam", "ham")] == [1, 1]
    assert [(step["spam"], step["ham"]) for step in found["scores"]] == [(1, 0)]
    assert (found["days"][0]["spam"], found["days"][0]["ham"]) == (1, 0)
    assert found["tests"][0] == {"test": "A", "messages": 1, "spam": 1, "ham": 0}


def test_a_message_that_is_spam_for_the_first_stays_spam():
    found = of_one_run(line(spam=True), line(spam=False))
    assert [found["verdicts"][name]["messages"] for name in ("spam", "ham")] == [1, 0]


def test_two_runs_of_one_queue_id_are_two_messages():
    assert of_runs(line(), line())["messages"] == 2


def test_a_deferred_message_counts_when_it_is_disposed_of():
    found = of_runs(*[line(score="", action="deferred", reason=UNREACHED)] * 3, line())
    assert (found["messages"], found["verdicts"]["unscanned"]["messages"]) == (1, 0)
    assert (found["days"][0]["messages"], found["days"][0]["deferred"]) == (1, 3)


def test_deferrals_are_told_by_cause():
    found = of_runs(*[line(score="", action="deferred", reason=UNREACHED)] * 3)
    text = "spamc cannot connect to spamd"
    assert found["causes"] == [{"action": "deferred", "code": "4.4.1", "cause": text, "tries": 3}]


def test_an_unscanned_message_has_no_scan_time():
    found = of_runs(line(score=""))
    assert found["verdicts"]["unscanned"]["messages"] == 1
    assert (found["seconds"]["scan"]["messages"], found["seconds"]["total"]["messages"]) == (0, 1)


def test_a_kept_copy_is_counted_beside_its_action():
    treatment = treated(kept="<dir:/var/spool/spam, action=bounced>/4cDR2f5x-00")
    found = of_runs(line(treatment=treatment, action="quarantined"))
    assert (found["kept"], found["actions"]["quarantined"], found["actions"]["bounced"]) == (1, 1, 0)


def test_a_blocked_sender_is_counted_as_such():
    found = of_runs(line(b"s@shop.example", treatment=treated(listed="block")), line(b"s@shop.example"))
    assert found["spam_senders"] == [{"sender": "s@shop.example", "messages": 2, "blocked": 1}]


def test_days_without_mail_are_told():
    tally = tallied(f"Nov {day} 10:00:00 mx1 pf-spamfilt[{day}]: {line()}" for day in (20, 22))
    days = [(day["day"], day["messages"]) for day in figures(tally, 10)["days"]]
    assert days == [("2026-11-20", 1), ("2026-11-21", 0), ("2026-11-22", 1)]


def test_an_empty_log_has_figures():
    assert figures(Tally(), 10)["messages"] == 0


@pytest.mark.parametrize(
    ("score", "place"),
    [
        (b"15.3", 15), (b"-0.1", -1), (b"0", 0), (b"5,3", 5), (b"1000", 20), (b"-5", -5), (b"-5.1", -6), (b"-100", -6),
        (b"", None), (b"nan", None), (b"inf", None), (b"x", None),
    ],
)  # fmt: skip
def test_score_is_counted_in_a_step(score, place):
    assert score_place(score) == place


def test_percentiles_are_those_of_nearest_rank():
    seconds = taking(100 * number for number in range(1, 101))
    assert seconds.summary() == {"messages": 100, "p50": 50, "p90": 90, "p95": 95, "p99": 99, "max": 100}


@given(st.lists(st.integers(0, 500), min_size=1, max_size=200))
def test_percentiles_are_times_that_so_many_did_not_pass(hundredths):
    seconds = taking(hundredths)
    found, times = seconds.summary(), sorted(number / 100 for number in hundredths)
    for share in (50, 90, 95, 99):
        limit = found[f"p{share}"]
        assert limit in times
        assert 100 * sum(time <= limit for time in times) >= share * len(times)
        assert 100 * sum(time < limit for time in times) < share * len(times)
    assert found["max"] == times[-1]


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (
            (
                f"{UNREACHED}: connect to spamd on 127.0.0.1:783 failed (#1 of 3)",
                f"{UNREACHED}: connect to spamd on 10.0.0.7:1783 failed (#3 of 3)",
            ),
            ("4.4.1", "spamc cannot connect to spamd: connect to spamd on N failed (#N of N)"),
        ),
        (
            ("4.3.0 /x/ takes too long for jane@example.com", "4.3.0 /x/ takes too long for joe+x@example.net"),
            ("4.3.0", "/x/ takes too long for <address>"),
        ),
        (("5.6.0 sendmail exited with status 65: no",), ("5.6.0", "sendmail exited with status 65: no")),
        (("no code",), ("", "no code")),
        (("4.3.0 " + "x" * 290 + "...", "4.3.0 " + "x" * 400), ("4.3.0", "x" * 120)),
    ],
)
def test_causes_are_told_without_what_differs_each_time(reasons, expected):
    assert {cause(reason.encode()) for reason in reasons} == {expected}


def test_what_came_most_is_known_among_very_many():
    """Memory is bounded, and so is the error."""
    top = Top(limit=100)
    for number in range(10_000):
        top.add([number, -1] if number % 10 == 0 else [number])
    assert len(top.counts) <= 100
    name, count = top.most(1)[0]
    assert name == -1
    assert count <= 1000 <= count + top.missed


def test_memory_for_runs_is_bounded():
    tally = tallied(BEGINNING + line(queue_id=f"4cDR{number}") for number in range(6000))
    assert len(tally._runs) < 5000
    assert tally.messages[b"spam"] == 6000
