"""What check makes of the filter's entry in master.cf, as postconf(1) prints it."""

import os

import pytest

from pf_spamfilt.admin.account import Account
from pf_spamfilt.admin.checks import instance, transport
from pf_spamfilt.admin.checks.findings import ERROR, OK, WARNING, for_directory, warning, worst
from pf_spamfilt.admin.checks.instance import Instance
from pf_spamfilt.admin.site import Transport

ARGV = ["/usr/local/bin/pf-spamfilt", "--", "${sender}", "${recipient}"]
OPTIONS = {"flags": "Rq", "user": "spamfilt", "null_sender": ""}
ENTRY = "spamcheck  unix  -       n       n       -       10      pipe flags=Rq"
MAIN = {"command_time_limit": "1000s", "spamcheck_time_limit": "1000s", "default_process_limit": "100"}


def one(entry=ENTRY, overrides="", **main):
    """Return an instance with one transport."""
    found = Transport("spamcheck", "10", OPTIONS, ARGV)
    services = instance.services(entry, overrides)
    return Instance("/etc/postfix", services, MAIN | main, [found], Account(89, 89), 90)


def bad(findings):
    """Return severity and id of what is not fine."""
    return [(each.severity, each.id) for each in findings if each.severity != OK]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("Rq", []),
        ("qR", []),
        ("R", [WARNING]),
        ("", [WARNING, WARNING]),
        ("DRq", [ERROR]),
        ("Rq.", [ERROR]),
        ("Rq>", [ERROR]),
        ("BRq", [ERROR]),
        ("Rqu", [WARNING]),
        ("Rqhu", [WARNING, WARNING]),
        ("FORXq", [WARNING, WARNING, WARNING]),
        ("Rqz", [ERROR]),
    ],
)
def test_flags_that_change_or_lose_mail_are_errors_others_warnings(flags, expected):
    found = bad(transport.about_flags(flags, "here"))
    assert found == [(severity, "transport-flags") for severity in expected]


@pytest.mark.parametrize(("value", "expected"), [("", []), (None, [WARNING]), ("MAILER-DAEMON", [ERROR])])
def test_null_sender_must_be_there_and_empty(value, expected):
    assert [severity for severity, _ in bad(transport.about_null_sender(value, "here"))] == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("-- ${sender} ${recipient}", []),
        ("-- $sender $(recipient)", []),
        ("--config /etc/other.toml -- ${sender} ${recipient}", []),
        ("--config=/etc/other.toml -- ${sender} ${recipient}", []),
        ("${sender} ${recipient}", [WARNING]),
        ("-f ${sender} -- ${recipient}", [ERROR]),
        ("-- ${recipient} ${sender}", [ERROR]),
        ("-- ${sender}", [ERROR]),
        ("--explain -- ${sender} ${recipient}", [ERROR]),
        ("-- ${sender} ${original_recipient}", [ERROR]),
        ("-- ${sender} ${recipient} ${size}", [ERROR]),
        ("-- ${sender}.${recipient}", [ERROR]),
        ("", [ERROR]),
    ],
)
def test_command_line_has_sender_and_recipients_after_two_dashes(words, expected):
    found = bad(transport.about_command(["/usr/local/bin/pf-spamfilt", *words.split()], "here"))
    assert [severity for severity, _ in found] == expected


def test_remedy_for_the_command_line_keeps_the_settings_file():
    (found,) = transport.about_command(["/pf-spamfilt", "--config", "/x.toml", "${sender}", "${recipient}"], "here")
    assert (
        found.remedy
        == "Write argv=/pf-spamfilt --config /x.toml -- ${sender} ${recipient} there, then run: postfix reload"
    )


@pytest.mark.parametrize(
    ("columns", "compatibility", "expected"),
    [
        ("- n n - 10", "3.6", []),
        ("- n - - 10", "3.6", []),
        ("- n - - 10", "1", []),
        ("- n - - 10", "0", [(ERROR, "transport-chroot")]),
        ("- n y - 10", "3.6", [(ERROR, "transport-chroot")]),
        ("- - n - 10", "3.6", [(ERROR, "transport-unpriv")]),
        ("- y n - 10", "3.6", [(ERROR, "transport-unpriv")]),
    ],
)
def test_columns_let_pipe_become_the_user_outside_a_chroot(columns, compatibility, expected):
    (service,) = instance.services(f"spamcheck unix {columns} pipe flags=Rq", "")
    assert bad(transport.about_columns(service, compatibility, "here")) == expected


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        ("unix -", []),
        ("unix y", []),
        ("unix n", [(ERROR, "transport-private")]),
        ("fifo -", [(ERROR, "transport-private")]),
    ],
)
def test_transport_is_private_and_of_type_unix(start, expected):
    (service,) = instance.services(f"spamcheck {start} n n - 10 pipe flags=Rq", "")
    assert bad(transport.about_columns(service, "3.6", "here")) == expected


@pytest.mark.parametrize(
    ("options", "largest", "expected"),
    [
        ({}, "10240000", []),
        ({"size": "0"}, "10240000", []),
        ({"size": "10240000"}, "10240000", []),
        ({"size": "10000"}, "10240000", ["transport-size"]),
        ({"size": "10000"}, "0", ["transport-size"]),
        ({"size": "1M"}, "10240000", ["transport-size"]),
        ({"eol": r"\r\n"}, "10240000", ["transport-eol"]),
    ],
)
def test_attributes_that_bounce_or_change_mail_are_errors(options, largest, expected):
    assert bad(transport.about_limits(options, largest, "here")) == [(ERROR, name) for name in expected]


def test_attribute_that_pipe_does_not_know_is_an_error():
    (service,) = instance.services(ENTRY, "")
    found = list(transport.about_attributes(OPTIONS | {"nul_sender": ""}, service, "here"))
    assert bad(found) == [(ERROR, "transport-attribute")]
    assert "nul_sender" in found[0].text


def test_option_of_the_service_is_no_attribute():
    (service,) = instance.services(ENTRY, "spamcheck/unix/command_time_limit = 2000s")
    assert list(transport.about_attributes(OPTIONS | {"command_time_limit": "2000s"}, service, "here")) == []


def test_file_of_this_installation_is_fine(tmp_path):
    file = tmp_path / "pf-spamfilt"
    file.touch()
    (found,) = transport.about_path(str(file), str(file), "here")
    assert found.severity == OK


def test_missing_file_is_an_error(tmp_path):
    assert bad(transport.about_path(f"{tmp_path}/pf-spamfilt", "/ours", "here")) == [(ERROR, "transport-path")]


def test_file_of_another_installation_is_a_warning(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).touch()
    (found,) = transport.about_path(f"{tmp_path}/one", f"{tmp_path}/other", "here")
    assert bad([found]) == [(WARNING, "transport-path")]
    assert "not of this installation" in found.text


def test_link_to_this_installation_is_a_warning_with_the_file_itself(tmp_path):
    file, link = tmp_path / "pf-spamfilt", tmp_path / "link"
    file.touch()
    os.symlink(file, link)
    (found,) = transport.about_path(str(link), str(file), "here")
    assert bad([found]) == [(WARNING, "transport-path")]
    assert found.remedy == f"Write argv={file} there, then run: postfix reload"


@pytest.mark.parametrize(
    ("account", "reason"),
    [
        ((0, 100), "is root"),
        ((100, 0), "root's group"),
        ((89, 100), "owner of the mail system"),
        ((100, 89), "group of the owner"),
        ((100, 90), "setgid_group"),
        ((100, 100), ""),
    ],
)
def test_accounts_that_postfix_refuses(account, reason):
    found = transport.refusal(Account(*account), one())
    assert reason in found
    assert bool(found) == bool(reason)


@pytest.mark.parametrize(
    ("entry", "overrides", "main", "deadline", "limit"),
    [
        (ENTRY, "", {}, 900, ""),
        (ENTRY, "", {}, 1000, "command_time_limit, 1000 s"),
        (ENTRY, "", {"spamcheck_time_limit": "10m"}, 900, "spamcheck_time_limit, 600 s"),
        (ENTRY, "", {"command_time_limit": "5m", "spamcheck_time_limit": "1h"}, 900, ""),
        (ENTRY, "spamcheck/unix/command_time_limit = 800s", {}, 900, "command_time_limit, 800 s"),
        (ENTRY, "spamcheck/unix/command_time_limit = 2000s", {}, 1500, ""),
        (ENTRY, "spamcheck/unix/spamcheck_time_limit = 800", {}, 900, "spamcheck_time_limit, 800 s"),
    ],
)
def test_deadline_must_be_below_the_limit_that_holds(entry, overrides, main, deadline, limit):
    site = one(entry, overrides, **main)
    (found,) = transport.about_time(site.transports[0], site, deadline, "/etc/postfix/pf-spamfilt.toml")
    assert found.severity == (ERROR if limit else OK)
    assert limit in found.text


@pytest.mark.parametrize(
    ("column", "timeout", "children", "expected"),
    [("10", 300, 5, OK), ("10", 300, 1, OK), ("11", 300, 1, WARNING), ("-", 300, 5, WARNING), ("0", 300, 5, WARNING)],
)
def test_filters_that_would_wait_longer_than_their_timeout_are_a_warning(column, timeout, children, expected):
    site = one(ENTRY.replace("10 ", f"{column} "))
    (found,) = transport.about_processes(site.transports[0], site, timeout, children)
    assert found.severity == expected


@pytest.mark.parametrize(
    ("text", "unit", "seconds"),
    [
        ("1000s", "s", 1000),
        ("90", "s", 90),
        ("1m", "s", 60),
        ("3h", "s", 10800),
        ("5d", "d", 432000),
        ("2", "d", 172800),
        ("1w", "s", 604800),
        ("", "s", 0),
        ("soon", "s", 0),
    ],
)
def test_times_are_read_as_postfix_writes_them(text, unit, seconds):
    assert instance.seconds(text, unit) == seconds


def test_options_of_a_service_are_its_own():
    entries = "smtp inet n - y - - smtpd\n[::1]:25 inet n - y - - smtpd -o content_filter=a:\n"
    smtp, local = instance.services(entries, "[::1]:25/inet/content_filter = a:\n")
    assert (smtp.overrides, local.overrides) == ({}, {"content_filter": "a:"})


@pytest.mark.parametrize(
    ("argv", "file"),
    [
        (["/pf-spamfilt", "--", "${sender}", "--config"], ""),
        (["/pf-spamfilt"], ""),
        (["/pf-spamfilt", "--config", "/x", "--"], "/x"),
        (["/pf-spamfilt", "--config=/x", "--"], "/x"),
        (["/pf-spamfilt", "--config"], ""),
    ],
)
def test_settings_file_of_a_transport_is_what_the_filter_takes_for_it(argv, file):
    assert Transport("spamcheck", "10", {}, argv).settings_file == file


def test_commands_for_another_instance_name_its_directory():
    found = warning(
        "loop",
        "postfix reload",
        "Run: postconf -X x; postfix reload; postsuper -r ALL deferred; postfix-x pf-spamfilt-admin compile",
    )
    there = for_directory(found, "/etc/postfix-in")
    assert there.text == "postfix reload"
    assert there.remedy == (
        "Run: postconf -c /etc/postfix-in -X x; postfix -c /etc/postfix-in reload; postsuper -c /etc/postfix-in"
        " -r ALL deferred; postfix-x pf-spamfilt-admin -c /etc/postfix-in compile"
    )


def test_worst_severity_is_the_exit_status():
    error = list(transport.about_null_sender("x", "here"))
    mild = list(transport.about_null_sender(None, "here"))
    assert (worst([]), worst(mild), worst([*error, *mild])) == (0, 1, 2)
