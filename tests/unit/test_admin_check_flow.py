"""What check makes of the way of mail through Postfix, as postconf(1) prints it."""

import pytest

from pf_spamfilt.admin.account import Account
from pf_spamfilt.admin.checks import flow, instance
from pf_spamfilt.admin.checks.findings import ERROR, OK, WARNING
from pf_spamfilt.admin.checks.instance import Instance
from pf_spamfilt.admin.site import Transport

ENTRIES = """\
pickup unix n - y 60 1 pickup
smtp inet n - y - - smtpd
submission inet n - y - - smtpd
[::1]:10025 inet n - y - - smtpd
spamcheck unix - n n - 10 pipe flags=Rq
amavis unix - - n - 2 smtp
"""
INSIDE = "10.0.0.1:smtp inet n - y - - smtpd\n"
FILTERED = "smtp/inet/content_filter = spamcheck:\n"
OURS = Transport("spamcheck", "10", {}, ["/usr/local/bin/pf-spamfilt"])


def postfix(options=FILTERED, entries=ENTRIES, ours=(OURS,), **main):
    """Return an instance with these -o options and parameters."""
    return Instance("/etc/postfix", instance.services(entries, options), main, list(ours), Account(89, 89), 90)


def bad(found):
    """Return severity and id of what is not fine."""
    return [(each.severity, each.id) for each in found if each.severity != OK]


def test_filter_on_the_smtp_server_alone_is_fine():
    """Submission, and a service that only this host can reach, need none."""
    assert bad(flow.look(postfix())) == []


def test_smtp_server_without_filter_is_a_warning():
    found = [each for each in flow.look(postfix("")) if each.severity != OK]
    assert bad(found) == [(WARNING, "unfiltered")]
    assert "smtp/inet: no content_filter" in found[0].text
    assert found[0].remedy == "Run: postconf -P 'smtp/inet/content_filter=spamcheck:' && postfix reload"


def test_second_smtp_server_without_filter_is_named():
    entries = ENTRIES + "192.0.2.1:25 inet n - y - - smtpd\n"
    (found,) = [each for each in flow.look(postfix(entries=entries)) if each.severity != OK]
    assert "192.0.2.1:25/inet" in found.text


def test_service_behind_postscreen_needs_the_filter():
    entries = ENTRIES.replace("smtp inet n - y - - smtpd", "smtp inet n - y - 1 postscreen\nsmtpd pass - - y - - smtpd")
    assert bad(flow.look(postfix("", entries))) == [(WARNING, "unfiltered")]
    assert bad(flow.look(postfix("smtpd/pass/content_filter = spamcheck:", entries))) == []


def test_other_filter_is_not_ours():
    (found,) = [
        each for each in flow.look(postfix("smtp/inet/content_filter = amavis:[::1]:10024")) if each.severity != OK
    ]
    assert (found.id, "content_filter=amavis:[::1]:10024 is not pf-spamfilt" in found.text) == ("unfiltered", True)


def test_filter_that_names_no_transport_is_an_error():
    found = bad(flow.look(postfix("smtp/inet/content_filter = spamchek:")))
    assert (ERROR, "content-filter") in found


def test_filter_in_main_cf_is_a_loop():
    (found,) = [each for each in flow.look(postfix("", content_filter="spamcheck:")) if each.severity != OK]
    assert (found.severity, found.id) == (ERROR, "loop")
    assert "/etc/postfix/main.cf" in found.text
    assert "postconf -X content_filter" in found.remedy
    assert "smtp/inet/content_filter=spamcheck:" in found.remedy
    assert found.remedy.endswith("; postsuper -r ALL deferred")  # what is on hold stays there


def test_filter_in_main_cf_that_pickup_overrides_is_no_loop():
    assert bad(flow.look(postfix("pickup/unix/content_filter = ", content_filter="spamcheck:"))) == []


def test_filter_on_pickup_is_a_loop():
    found = flow.look(postfix(f"{FILTERED}pickup/unix/content_filter = spamcheck:"))
    assert bad(found) == [(ERROR, "loop")]


def test_filter_in_header_checks_is_a_loop(tmp_path):
    table = tmp_path / "header_checks"
    table.write_text("/^Subject:.*viagra/ FILTER spamcheck:\n")
    assert bad(flow.look(postfix(header_checks=f"regexp:{table}"))) == [(ERROR, "loop")]


@pytest.mark.parametrize(
    "value",
    [
        "permit_mynetworks, check_client_access static:{FILTER spamcheck:}",
        "check_client_access cidr:{table}, reject",
        "check_client_access { cidr:{table}, default_action=tempfail }",
    ],
)
def test_filter_in_an_access_table_is_another_way_to_filter(tmp_path, value):
    table = tmp_path / "access"
    table.write_text("# all but ours\n0.0.0.0/0 FILTER spamcheck:\n")
    assert bad(flow.look(postfix("", smtpd_recipient_restrictions=value.replace("{table}", str(table))))) == []


def test_filter_action_for_another_transport_is_not_ours(tmp_path):
    found = flow.look(postfix("", smtpd_client_restrictions="check_client_access static:{FILTER spamcheck2:}"))
    assert bad(found) == [(WARNING, "unfiltered")]


def test_service_with_authentication_of_its_own_is_submission():
    entries = ENTRIES + "10587 inet n - y - - smtpd\n"
    assert bad(flow.look(postfix(f"{FILTERED}10587/inet/smtpd_sasl_auth_enable = yes\n", entries))) == []


@pytest.mark.parametrize("service", ["smtp inet n - y - - smtpd", "smtpd pass - - y - - smtpd"])
def test_smtp_server_with_authentication_gets_foreign_mail_nevertheless(service):
    name, kind = service.split()[:2]
    found = flow.look(
        postfix(f"{name}/{kind}/smtpd_sasl_auth_enable = yes\n", f"{service}\nspamcheck unix - n n - - pipe")
    )
    assert bad(found) == [(WARNING, "unfiltered")]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("smtpd_relay_restrictions", "permit_mynetworks,reject"),
        ("smtpd_relay_restrictions", "permit_sasl_authenticated, permit_mynetworks, reject"),
        ("smtpd_recipient_restrictions", "reject_non_fqdn_recipient permit_mynetworks reject"),
        ("smtpd_client_restrictions", "permit_mynetworks, reject"),
    ],
)
def test_service_that_lets_in_none_but_known_clients_needs_no_filter(name, value):
    """As the inside address of examples/gateway."""
    found = list(flow.look(postfix(f"{FILTERED}10.0.0.1:smtp/inet/{name} = {value}\n", f"{ENTRIES}{INSIDE}")))
    assert bad(found) == []
    assert any("10.0.0.1:smtp/inet: no content_filter: only clients" in each.text for each in found)


def test_that_only_known_clients_are_let_in_is_no_excuse_if_nothing_is_filtered():
    """A host behind a gateway knows the client by whom all spam comes."""
    found = flow.look(postfix("", smtpd_client_restrictions="permit_mynetworks, reject"))
    assert bad(found) == [(WARNING, "unfiltered")]


@pytest.mark.parametrize(
    "value",
    [
        "reject_unauth_destination",
        "permit_mynetworks, reject_unauth_destination",
        "permit_mynetworks, check_client_access static:OK, reject",
        "permit_mynetworks, permit_auth_destination, reject",
        "permit_mynetworks, warn_if_reject reject",
        "permit_mynetworks",
        "",
    ],
)
def test_service_that_lets_in_others_needs_the_filter(value):
    options = f"{FILTERED}10.0.0.1:smtp/inet/smtpd_relay_restrictions = {value}\n"
    assert bad(flow.look(postfix(options, f"{ENTRIES}{INSIDE}"))) == [(WARNING, "unfiltered")]


@pytest.mark.parametrize("host", ["127.0.0.1", "[127.0.0.1]", "localhost", "[::1]"])
def test_service_that_only_this_host_can_reach_needs_no_filter(host):
    assert bad(flow.look(postfix(entries=f"{ENTRIES}{host}:10026 inet n - y - - smtpd\n"))) == []


def test_filter_action_in_a_restriction_class_is_another_way_to_filter():
    main = {"smtpd_restriction_classes": "a, scanned", "scanned": "check_client_access static:{FILTER spamcheck:}"}
    assert bad(flow.look(postfix("", **main))) == []


def test_filter_action_in_a_comment_filters_nothing(tmp_path):
    table = tmp_path / "access"
    table.write_text("#0.0.0.0/0 FILTER spamcheck:\n  # FILTER spamcheck:\n")
    assert bad(flow.look(postfix("", smtpd_client_restrictions=f"check_client_access cidr:{table}"))) == [
        (WARNING, "unfiltered")
    ]


def test_filter_in_header_checks_that_pickup_leaves_out_is_no_loop():
    options = f"{FILTERED}pickup/unix/receive_override_options = no_header_body_checks\n"
    assert bad(flow.look(postfix(options, header_checks="static:{FILTER spamcheck:}"))) == []


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("default_transport", "spamcheck:", [ERROR]),
        ("mailbox_transport", "spamcheck", [ERROR]),
        ("virtual_transport", "spamcheck2:", []),
        ("transport_maps", "static:spamcheck:", [ERROR]),
        ("transport_maps", "hash:{table}", [ERROR]),
        ("transport_maps", "hash:{table}.none, hash:/etc/postfix/spamcheck", []),
    ],
)
def test_filter_that_is_to_deliver_mail_is_a_loop(tmp_path, name, value, expected):
    table = tmp_path / "transport"
    table.write_text("# x smtp:\nexample.com\tspamcheck:\n")
    found = bad(flow.about_deliveries(postfix(**{name: value.replace("{table}", str(table))}), ["spamcheck"]))
    assert found == [(severity, "loop") for severity in expected]


def test_service_that_is_there_twice_is_a_warning():
    (found,) = flow.about_duplicates(postfix(entries=ENTRIES + "smtp inet n - n - - smtpd\n"))
    assert (found.severity, "smtp/inet is there 2 times" in found.text) == (WARNING, True)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("/etc/postfix/main.cf: unused parameter: spamchek_time_limit=5", [WARNING]),
        ("/etc/postfix/main.cf: unused parameter: contentfilter=spamcheck:", [WARNING]),
        ("/etc/postfix/main.cf: unused parameter: virtual_mailbox_limit_maps=hash:/x", []),
        ("/etc/postfix/main.cf: undefined parameter: x", [WARNING]),
    ],
)
def test_of_parameters_without_use_those_are_told_that_may_be_misspelt(line, expected):
    assert [severity for severity, _ in bad(flow.about_complaints([line], ["spamcheck"]))] == expected


def test_blind_copies_are_made_twice():
    found = [each for each in flow.look(postfix(always_bcc="archive@example.com")) if each.severity != OK]
    assert bad(found) == [(WARNING, "bcc-twice")]
    assert "smtp/inet/receive_override_options=no_address_mappings" in found[0].remedy


def test_blind_copies_are_made_once_without_address_mappings():
    options = f"{FILTERED}smtp/inet/receive_override_options = no_address_mappings\n"
    assert bad(flow.look(postfix(options, always_bcc="archive@example.com"))) == []


def test_milter_that_signs_what_the_filter_gives_back_is_a_warning():
    assert bad(flow.look(postfix(non_smtpd_milters="inet:localhost:8891"))) == [(WARNING, "milters")]


def test_remedy_against_milters_leaves_other_overrides():
    options = f"{FILTERED}pickup/unix/receive_override_options = no_header_body_checks\n"
    (found,) = [each for each in flow.look(postfix(options, non_smtpd_milters="inet:x:1")) if each.severity != OK]
    assert "pickup/unix/receive_override_options=no_header_body_checks,no_milters'" in found.remedy


def test_milter_that_pickup_leaves_out_is_fine():
    options = f"{FILTERED}pickup/unix/receive_override_options = no_milters\n"
    assert bad(flow.look(postfix(options, non_smtpd_milters="inet:localhost:8891"))) == []


@pytest.mark.parametrize(("value", "expected"), [("5d", []), ("5", []), ("1h", []), ("0", [ERROR]), ("300s", [ERROR])])
def test_queue_that_keeps_mail_no_hour_is_an_error(value, expected):
    assert [severity for severity, _ in bad(flow.about_queue(postfix(maximal_queue_lifetime=value)))] == expected


@pytest.mark.parametrize(
    ("value", "allowed"),
    [
        ("static:anyone", True),
        ("root, spamfilt", True),
        ("root SPAMFILT", True),
        ("root", False),
        ("!spamfilt, static:all", False),
        ("!www-data, static:all", True),
        ("!www-data", False),
        ("", False),
        ("hash:/users", True),
        ("!hash:/users, static:all", False),
    ],
)
def test_list_of_those_who_may_submit_is_read_as_postfix_does(value, allowed):
    def has(table, key):
        return table == "static:all" or (table, key) == ("hash:/users", "spamfilt")

    assert flow.is_listed(value, "spamfilt", has) == allowed


def test_list_of_those_who_may_submit_may_be_in_a_file(tmp_path):
    file = tmp_path / "users"
    file.write_text("root\n# www-data\nspamfilt\n")
    assert flow.is_listed(f"{file}", "spamfilt", lambda *_: False)
    assert not flow.is_listed(f"{file}", "www-data", lambda *_: False)
    assert not flow.is_listed(f"!{file}, static:all", "spamfilt", lambda table, _: table == "static:all")


@pytest.mark.parametrize(
    ("directory", "allowed", "severity"),
    [("/etc/postfix", "", OK), ("/etc/postfix-in", "/a, /etc/postfix-in", OK), ("/etc/postfix-in", "/etc", ERROR)],
)
def test_other_configuration_directory_must_be_listed_in_the_default_one(directory, allowed, severity):
    (found,) = flow.about_directory(directory, allowed)
    assert found.severity == severity


@pytest.mark.parametrize(("postfixs", "ours", "severity"), [("+", "+", OK), ("", "+", OK), ("-", "+", WARNING)])
def test_delimiter_is_as_in_main_cf(postfixs, ours, severity):
    (found,) = flow.about_delimiter(postfix(recipient_delimiter=postfixs), ours, "/etc/postfix/pf-spamfilt.toml")
    assert found.severity == severity
