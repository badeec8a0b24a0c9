"""pf-spamfilt-admin setup: what it reads from master.cf, the edits it derives, the settings that it writes."""

import shlex
import tomllib

import click
import pytest

from pf_spamfilt import schema
from pf_spamfilt.admin.setups import install, mastercf, step
from pf_spamfilt.admin.site import Site

SMTP = "smtp       inet  n       -       y       -       -       smtpd"
SUBMISSION = f"{SMTP.replace('smtp ', 'submission ', 1)} -o syslog_name=postfix/submission"
POSTSCREEN = "smtp       inet  n       -       y       -       1       postscreen"
BEHIND = "smtpd      pass  -       -       y       -       -       smtpd"
PICKUP = "pickup     unix  n       -       y       60      1       pickup"


def entry(line):
    (found,) = mastercf.entries(line)
    return found


def servers(*lines):
    return [each.service for each in mastercf.smtp_servers(mastercf.entries("\n".join(lines)))]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ("", ""),
        (" -o content_filter=spamcheck:", "spamcheck:"),
        (" -o a=b -o content_filter=smtp:[127.0.0.1]:10024 -o c=d", "smtp:[127.0.0.1]:10024"),
        (" -o {content_filter=with a blank} -o c=d", "with a blank"),
        (" -o content_filter=first: -o content_filter=last:", "last:"),
        (" -o receive_override_options=no_content_filter=x", ""),
    ],
)
def test_the_filter_of_an_entry_is_what_its_last_option_says(options, found):
    assert entry(SMTP + options).content_filter == found


def test_a_filter_is_added_behind_the_other_options_which_stay_as_they_are():
    edit = entry(SMTP + " -o {a=two  blanks} -o b=c").with_filter("spamcheck")
    assert edit == ["-M", "smtp/inet=smtp inet n - y - - smtpd -o {a=two  blanks} -o b=c -o content_filter=spamcheck:"]


def test_a_filter_is_taken_out_and_nothing_else():
    edit = entry(SMTP + " -o a=b -o content_filter=spamcheck: -o {c=d e}").without_filter()
    assert edit == ["-M", "smtp/inet=smtp inet n - y - - smtpd -o a=b -o {c=d e}"]


def test_an_empty_filter_is_replaced():
    edit = entry(SMTP + " -o content_filter= -o a=b").with_filter("spamcheck")
    assert edit == ["-M", "smtp/inet=smtp inet n - y - - smtpd -o a=b -o content_filter=spamcheck:"]


def test_the_smtp_server_is_the_smtpd_on_the_smtp_port():
    assert servers(SMTP, SUBMISSION, PICKUP) == ["smtp/inet"]


def test_the_smtp_port_may_be_that_of_one_address_or_a_number():
    lines = [SMTP.replace("smtp ", f"{name} ", 1) for name in ("192.0.2.1:smtp", "[::1]:25", "127.0.0.1:10025")]
    assert servers(*lines) == ["192.0.2.1:smtp/inet", "[::1]:25/inet"]


def test_behind_postscreen_it_is_the_smtpd_of_type_pass():
    assert servers(POSTSCREEN, BEHIND, SUBMISSION) == ["smtpd/pass"]


def test_an_smtpd_of_type_pass_without_postscreen_is_not_used():
    assert servers(SMTP, BEHIND) == ["smtp/inet"]


@pytest.fixture
def read(tmp_path):
    """Read a text as the settings file."""

    def read(text):
        (tmp_path / "pf-spamfilt.toml").write_text(text)
        return schema.read(str(tmp_path / "pf-spamfilt.toml"))

    return read


def test_the_settings_without_a_quarantine_are_the_defaults(read):
    assert read(install.settings_text("")) == read("[spamc]\n[policy]\n")


@pytest.mark.parametrize("store", ["dir:/var/spool/x", "maildir:/srv/a b", "spam@example.com", '"odd\\"@example.com'])
def test_the_settings_with_a_quarantine_keep_spam_there(store):
    policy = tomllib.loads(install.settings_text(store))["policy"]
    assert policy == {"kill_level": 15, "quarantine": store, "destiny": "discard"}


@pytest.mark.parametrize("store", ["", "dir:/var/spool/x", 'dir:/a\\b"c'])
def test_settings_as_setup_writes_them_are_untouched(store):
    assert install.is_untouched(install.settings_text(store))


@pytest.mark.parametrize("change", ["", "\n", "x = 1\n", "[x", "policy = 1\n"])
def test_settings_that_somebody_has_changed_are_not(change):
    text = install.settings_text("")
    assert not install.is_untouched((text + change) if change.strip() else change)


def test_a_file_is_shown_as_shell_that_writes_it(tmp_path):
    file = tmp_path / "a file"
    made = step.write("why", str(file), "it's $HOME\n")
    assert made.shell == f"cat >{shlex.quote(str(file))} <<'END'\nit's $HOME\nEND"


def test_a_file_is_written_whole_and_readable_for_all(tmp_path):
    file = tmp_path / "settings"
    step.write("why", str(file), "text\n").act()
    assert (file.read_text(), file.stat().st_mode & 0o777, list(tmp_path.iterdir())) == ("text\n", 0o644, [file])


def test_another_instance_is_named_on_each_command_line(tmp_path):
    site = Site(str(tmp_path))
    assert step.postfix(site, "postconf", "-M") == ["postconf", "-c", str(tmp_path), "-M"]
    assert step.postfix(Site("/etc/postfix"), "postconf", "-M") == ["postconf", "-M"]


def test_settings_that_are_not_the_instances_own_are_named_where_they_are_compiled(tmp_path):
    shells = [each.shell for each in install._settings(Site(str(tmp_path), f"{tmp_path}/other.toml"), "")]
    assert shells[-1] == f"pf-spamfilt-admin -c {tmp_path} --config {tmp_path}/other.toml compile"
    own = [each.shell for each in install._settings(Site(str(tmp_path), f"{tmp_path}/pf-spamfilt.toml"), "")]
    assert own[-1] == f"pf-spamfilt-admin -c {tmp_path} compile"


def test_a_quarantine_that_has_mail_is_not_left_for_another(tmp_path):
    (tmp_path / "old").mkdir()
    settings = install.settings_text(f"dir:{tmp_path}/old")
    install._refuse_to_leave(settings, f"dir:{tmp_path}/new")
    (tmp_path / "old" / "message").touch()
    with pytest.raises(click.ClickException, match=r"mail is kept in dir:.*/old"):
        install._refuse_to_leave(settings, f"dir:{tmp_path}/new")
    install._refuse_to_leave(settings, f"maildir:{tmp_path}/old")
