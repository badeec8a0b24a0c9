"""What check makes of mailbox_command, as postconf(1) prints it."""

import pytest

from pf_spamfilt.admin.account import Account
from pf_spamfilt.admin.checks import delivery
from pf_spamfilt.admin.checks.findings import ERROR, OK, WARNING
from pf_spamfilt.admin.checks.instance import Instance, services
from pf_spamfilt.admin.site import Transport

TRANSPORT = Transport("spamcheck", "10", {}, ["/usr/local/bin/pf-spamfilt"])


def with_command(value, transports=()):
    """Return an instance with this mailbox_command."""
    return Instance(
        "/etc/postfix",
        [],
        {"mailbox_command": value, "mydestination": "example.com"},
        list(transports),
        Account(89, 89),
        90,
    )


@pytest.fixture
def filter_there(tmp_path):
    """A program of our name."""
    program = tmp_path / "pf-spamfilt"
    program.touch(0o755)
    return str(program)


def looked(value, transports=()):
    """Return severity and id of what is found about this mailbox_command."""
    instance = with_command(value, transports)
    return [(each.severity, each.id) for each in delivery.look(delivery.hook(instance), instance)]


@pytest.mark.parametrize(
    "value",
    ["", "/usr/bin/procmail", 'procmail -a "$EXTENSION"', "/usr/bin/pf-spamfilt2 x", "grep 'pf-spamfilt --stdout'"],
)
def test_other_commands_are_not_the_filter(value):
    assert delivery.hook(with_command(value)) is None


@pytest.mark.parametrize(
    ("value", "argv"),
    [
        ("pf-spamfilt --pipe-to procmail", ["pf-spamfilt", "--pipe-to", "procmail"]),
        ('/a/pf-spamfilt --pipe-to x "$EXTENSION"', ["/a/pf-spamfilt", "--pipe-to", "x", "$EXTENSION"]),
        ("exec /a/pf-spamfilt --stdout", ["/a/pf-spamfilt", "--stdout"]),
        ("DOMAIN=example.com '/a b/pf-spamfilt' x", ["/a b/pf-spamfilt", "x"]),
        ("/a/pf-spamfilt --pipe-to 'x", ["/a/pf-spamfilt", "--pipe-to", "'x"]),
    ],
)
def test_filter_is_found_in_the_command(value, argv):
    assert delivery.hook(with_command(value)).argv == argv


def test_filter_is_found_in_the_command_of_a_service():
    (local,) = services("local unix - n n - - local", "local/unix/mailbox_command = /a/pf-spamfilt --pipe-to x")
    hook = delivery.hook(with_command("")._replace(services=[local]))
    assert (hook.where, hook.argv[1:]) == ("/etc/postfix/master.cf: local/unix: mailbox_command", ["--pipe-to", "x"])


@pytest.mark.parametrize(
    "words",
    [
        "--pipe-to sh",
        "--pipe-to /bin/sh -c x",
        "--pipe-to -- sh",
        "--config /x --pipe-to sh",
        "--config=/x --pipe-to sh",
    ],
)
def test_right_command_is_fine(filter_there, words):
    assert looked(f"{filter_there} {words}") == [(OK, "delivery")]


@pytest.mark.parametrize("words", ["--stdout", "--config /x --stdout", "", "-- $SENDER $RECIPIENT", "--explain"])
def test_form_that_does_not_deliver(filter_there, words):
    assert looked(f"{filter_there} {words}") == [(ERROR, "delivery-form")]


@pytest.mark.parametrize("words", ["--pipe-to /no/procmail", "--pipe-to no-such-procmail"])
def test_command_that_is_not_there(filter_there, words):
    assert looked(f"{filter_there} {words}") == [(ERROR, "delivery-program")]


def test_filter_that_is_not_there():
    assert looked("/no/pf-spamfilt --pipe-to sh") == [(ERROR, "delivery-program")]


def test_transport_beside_it_scans_twice(filter_there):
    found = looked(f"{filter_there} --pipe-to sh", [TRANSPORT])
    assert found == [(OK, "delivery"), (WARNING, "delivery-twice")]


BEFORE = {
    "mailbox_transport": "lmtp:unix:private/dovecot-lmtp",
    "mailbox_transport_maps": "hash:/etc/postfix/boxes",
    "mailbox_command_maps": "hash:/etc/postfix/commands",
    "local_transport": "lmtp:unix:private/dovecot-lmtp",
}
LOCAL = "local unix - n n - - local"


@pytest.mark.parametrize(("name", "value"), BEFORE.items())
def test_what_goes_before_mailbox_command_is_a_warning(filter_there, name, value):
    instance = with_command(f"{filter_there} --pipe-to sh")
    instance = instance._replace(services=services(LOCAL, ""), main={**instance.main, name: value})
    (found,) = [each for each in delivery.look(delivery.hook(instance), instance) if each.severity != OK]
    assert (found.severity, found.id) == (WARNING, "delivery-before")
    assert f"/etc/postfix/main.cf: {name}={value} " in found.text
    assert f"postconf -X {name} " in found.remedy or name.endswith("_maps")


def test_what_a_service_sets_is_told_as_its_own(filter_there):
    instance = with_command(f"{filter_there} --pipe-to sh")
    instance = instance._replace(services=services(LOCAL, "local/unix/mailbox_transport = lmtp:unix:x"))
    (found,) = [each for each in delivery.look(delivery.hook(instance), instance) if each.severity != OK]
    assert "/etc/postfix/master.cf: local/unix: mailbox_transport=" in found.text
    assert "postconf -PX local/unix/mailbox_transport " in found.remedy


@pytest.mark.parametrize("value", ["local", "local:$myhostname", ""])
def test_local_transport_that_is_local_is_fine(filter_there, value):
    instance = with_command(f"{filter_there} --pipe-to sh")
    instance = instance._replace(services=services(LOCAL, ""), main={**instance.main, "local_transport": value})
    assert [each.severity for each in delivery.look(delivery.hook(instance), instance)] == [OK]


@pytest.mark.parametrize("program", ["/usr/bin/none-such", "maildrop"])
def test_delivery_agent_that_is_not_there_is_an_error(monkeypatch, program):
    """Also without the filter before it: for each file that names the filter there has to be one who reads it."""
    monkeypatch.setattr(delivery, "_PATH", "/nonexistent")
    instance = with_command(f'{program} -d "$USER"')
    (found,) = delivery.about_agents(instance)
    assert (found.severity, found.id) == (ERROR, "delivery-program")
    assert f"{program}: there is no such program: local mail bounces" in found.text
    assert list(delivery.about_agents(instance._replace(main={**instance.main, "mailbox_transport": "lmtp:x"}))) == []


@pytest.mark.parametrize(
    "command", ["/bin/sh -c true", "exec no-matter", "test x = x || no", "", "pf-spamfilt --pipe-to no"]
)
def test_commands_of_a_shell_are_not_looked_for(command):
    assert list(delivery.about_agents(with_command(command))) == []


def about_root(aliases, destination="example.com", home="/nonexistent", root="root", **main):
    """Return what is found about root's mail; `aliases` are those tables that have root."""
    main = {"alias_maps": "hash:/etc/aliases, nis:mail", "mydestination": destination, "default_privs": "nobody"} | main
    instance = with_command("pf-spamfilt --pipe-to sh")._replace(main=main)
    return list(delivery.about_root(instance, lambda table, name: name == root and table in aliases, home))


def test_root_without_an_alias_is_a_warning():
    (found,) = about_root([])
    assert (found.severity, found.id) == (WARNING, "delivery-root")
    assert "as nobody" in found.text
    assert "root: jane" in found.remedy
    assert "into /etc/aliases, then run: newaliases" in found.remedy


def test_root_with_an_alias_is_fine():
    assert [each.severity for each in about_root(["nis:mail"])] == [OK]


def test_a_file_that_newaliases_does_not_read_is_not_named():
    (found,) = about_root([], alias_maps="ldap:/etc/postfix/aliases.cf, lmdb:/etc/mail/aliases")
    assert "into /etc/mail/aliases, then run: newaliases" in found.remedy


@pytest.mark.parametrize("root", ["root", "root@mail.example.com", "root@example.com"])
def test_root_with_a_virtual_alias_is_fine(root):
    found = about_root(["hash:/v"], root=root, virtual_alias_maps="hash:/v", myorigin="mail.example.com")
    assert [each.severity for each in found] == [OK]


@pytest.mark.parametrize("name", ["mailbox_transport", "mailbox_transport_maps", "local_transport"])
def test_root_is_another_agents_matter_where_that_delivers(name):
    assert about_root([], **{name: "lmtp:unix:private/dovecot-lmtp"}) == []


def test_root_with_a_forward_is_fine(tmp_path):
    (tmp_path / ".forward").write_text("jane\n")
    assert [each.severity for each in about_root([], home=str(tmp_path))] == [OK]


def test_where_no_domain_is_local_root_has_no_mail():
    assert about_root([], destination="") == []


def test_store_is_not_for_all_recipients():
    hook = delivery.hook(with_command("pf-spamfilt --pipe-to sh"))
    found = list(delivery.about_quarantines(hook, ["spam@example.com", "dir:/var/spool/pf-spamfilt"]))
    assert [(each.severity, each.id) for each in found] == [(ERROR, "delivery-quarantine")]
    assert "dir:/var/spool/pf-spamfilt" in found[0].text
