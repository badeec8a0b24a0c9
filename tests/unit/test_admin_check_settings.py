"""What check makes of a settings file: every error, and what is allowed but hardly meant."""

import pytest

from pf_spamfilt import settings
from pf_spamfilt.admin.checks import settings_file
from pf_spamfilt.admin.checks.findings import ERROR, OK, WARNING


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "pf-spamfilt.toml"
    file.touch(0o644)
    return file


def surprises(source, text):
    """Return what surprises in settings that have no errors."""
    source.write_text(text)
    assert [each.severity for each in settings_file.errors(str(source), False)] == [OK]
    found = settings_file.surprises(str(source), settings_file.read(str(source)), settings.load(str(source)))
    return [each for each in found if each.severity != OK]


def test_every_error_is_a_finding(source):
    source.write_text("[spamc]\ntimout = 3\nmax_size = 'big'\n[polcy]\n")
    found = list(settings_file.errors(str(source), False))
    assert [each.severity for each in found] == [ERROR, ERROR, ERROR]
    assert 'did you mean "timeout"?' in found[0].text


def test_missing_file_means_the_defaults_unless_it_is_named(tmp_path):
    (unnamed,) = settings_file.errors(f"{tmp_path}/none", False)
    (named,) = settings_file.errors(f"{tmp_path}/none", True)
    assert (unnamed.severity, named.severity) == (OK, ERROR)


def test_link_to_no_file_is_an_error(source):
    source.unlink()
    source.symlink_to("/nonexistent")
    (found,) = settings_file.errors(str(source), False)
    assert (found.severity, "a link to /nonexistent" in found.text) == (ERROR, True)


def test_folder_is_no_settings_file(tmp_path):
    (found,) = settings_file.errors(str(tmp_path), False)
    assert (found.severity, "not a regular file" in found.text) == (ERROR, True)


@pytest.mark.parametrize(("mode", "severity"), [(0o644, OK), (0o640, OK), (0o664, WARNING), (0o646, ERROR)])
def test_file_that_others_may_write(source, mode, severity):
    source.chmod(mode)
    (found,) = settings_file.about_mode(str(source))
    assert found.severity == severity


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[policy]\ntag2_level = 6.31\nkill_level = 6.31\ndestiny = 'discard'\nquarantine = 'spam@example.com'\n",
        "[policy]\ntag_level = 2\ntag2_level = 6\nkill_level = 10\nadmin = 'a@b.example'\n",
        "[policy]\nkill_level = 10\n[tables]\nrecipients = ['hash:/x']\n",
        "[policy]\nquarantine = 'a@b.example'\n[[recipients]]\nmatch = ['b.example']\nkill_level = 9\n",
        "[policy]\nquarantine = 'a@b.example'\n[tables]\nrecipients = ['hash:/x']\n",
        "[policy]\nquarantine = 'a@b.example'\nkill_level = 5\n[[recipients]]\nmatch = ['.']\ndestiny = 'discard'\n",
        "[[recipients]]\nmatch = ['b.example']\nkill_level = 9\ndestiny = 'bounce'\n",
        "[[recipients]]\nmatch = ['localhost', '<>', '.', 'hash:/x', '/a/', '!.b.example', '@b.example']\n",
        "[[recipients]]\nmatch = ['a@b.example']\ntag_level = 3\n[[recipients]]\nmatch = ['.']\ntag_level = 4\n",
        "[[recipients]]\nmatch = ['.']\ntag_level = 3\n[[recipients]]\nmatch = ['b.example']\ntag2_level = 4\n",
    ],
    ids=lambda text: text[:60],
)
def test_settings_that_mean_what_they_say(source, text):
    assert surprises(source, text) == []


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("[policy]\nkill_level = 9\ndestiny = 'discard'\n", "discard", "[policy]"),
        (
            "[policy]\ndestiny = 'discard'\n[[recipients]]\nmatch = ['b.example']\nkill_level = 9\n",
            "discard",
            "[[recipients]] 1",
        ),
        ("[policy]\nkill_level = 9\ndestiny = 'bounce'\n", "bounce", "the innocent"),
        ("[policy]\nkill_level = 9\ndestiny = 'bounce'\nquarantine = 'a@b.example'\n", "bounce", "the innocent"),
        ("[policy]\nquarantine = 'spam@example.com'\n", "kill-level", "quarantine: without effect"),
        ("[policy]\nadmin = 'a@b.example'\nwarn_sender = true\n", "kill-level", "admin, warn_sender: without effect"),
        ("[policy]\nkill_level = 9\n", "kill-level", "kill_level: without effect"),
        ("[policy]\ntag2_level = 6\nkill_level = 5\nquarantine = 'a@b.example'\n", "levels", "kill_level 5 is below"),
        ("[policy]\ntag_level = 7\ntag2_level = 6.3\n", "levels", "tag_level 7 is above tag2_level 6.3"),
        ("[[recipients]]\nmatch = ['jane']\ntag2_level = 3\n", "pattern", '"jane" is the domain jane'),
        ("[policy]\nwelcome_senders = ['!paypal']\n", "pattern", '[policy] welcome_senders: "!paypal"'),
        (
            "[[recipients]]\nmatch = ['.']\ntag_level = 3\n[[recipients]]\nmatch = ['b.example']\ntag_level = 4\n",
            "block",
            "[[recipients]] 2 is without effect: [[recipients]] 1",
        ),
        ("[spamc]\ntimeout = 900\n", "timeout", "cut off at 870 s by deadline = 900"),
        ("[spamc]\ntimeout = 870\nservers = ['a', 'b']\n", "timeout", "no time for a second server"),
    ],
    ids=lambda text: text[:60],
)
def test_settings_that_surprise(source, text, name, said):
    (found,) = surprises(source, text)
    assert (found.severity, found.id) == (WARNING, name)
    assert said in found.text


def test_tables_are_found_wherever_patterns_are(source):
    source.write_text("""
[policy]
welcome_senders = ["hash:/a", "b.example", "/x:y/"]
[[recipients]]
match = ["!pcre:/b", "."]
block_senders = ["hash:/a"]
[[senders]]
match = ["ldap:/c"]
admin = "a@b.example"
""")
    assert settings_file.read(str(source)).tables() == ["pcre:/b", "ldap:/c", "hash:/a"]


def test_quarantines_are_found_wherever_they_are(source):
    source.write_text("""
[policy]
quarantine = "dir:/a"
[[recipients]]
match = ["."]
quarantine = ""
[[senders]]
match = ["."]
quarantine = "a@b.example"
""")
    assert settings_file.read(str(source)).quarantines() == ["dir:/a", "a@b.example"]
