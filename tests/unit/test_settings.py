"""settings.py and schema.py: what the file may say, and which file is believed."""

import marshal
import os
import posix

import pytest

from pf_spamfilt import patterns, policy_keys, schema, settings
from pf_spamfilt.exits import SettingsError


@pytest.fixture
def source(tmp_path):
    file = tmp_path / "pf-spamfilt.toml"
    file.write_text("[spamc]\ntimeout = 17\n")
    return file


def test_without_a_file_the_defaults_hold(tmp_path):
    chosen = settings.load(str(tmp_path / "none.toml"))
    assert (chosen.spamc.max_size, chosen.spamc.on_failure, chosen.limits.deadline) == (512000, "defer", 900)
    assert chosen.sendmail.command == ["/usr/sbin/sendmail", "-G", "-i"]


def test_a_file_that_was_named_must_be_there(tmp_path):
    with pytest.raises(SettingsError, match=r"none\.toml: No such file"):
        settings.load(str(tmp_path / "none.toml"), required=True)


def test_what_the_file_does_not_say_is_the_default(source):
    chosen = settings.load(str(source))
    assert (chosen.spamc.timeout, chosen.spamc.max_size, chosen.note) == (17, 512000, "")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("[spamc]\ntimout = 3", '[spamc] timout: there is no such key; did you mean "timeout"?'),
        ("[spamd]\ntimeout = 3", '[spamd]: there is no such section; did you mean "spamc"?'),
        ("timeout = 3", "timeout: there is no such key; there are recipient_delimiter"),
        ("kill_level = 15", "kill_level: belongs below a line [policy], or in a block"),
        ("[[recipient]]\nmatch = ['.']", '[recipient]: there is no such section; did you mean "recipients"?'),
        ("[tables]\nrecipients = ['proxy:hash:/x']", '"proxy:hash:/x" cannot be asked by the filter\'s account'),
        ("recipients = 3", "recipients: must be blocks, each under a line of its own: [[recipients]]"),
        ("policy = []", "policy: must be a section: [policy]"),
        ("[recipients]\nmatch = ['.']", "recipients: must be blocks, each under a line of its own: [[recipients]]"),
        ("recipients = [3]", "recipients: must be blocks, each under a line of its own: [[recipients]]"),
        ("[[policy]]\nbypass = true", "policy: must be a section: [policy]"),
        ("[[recipients]]\nbypass = true", "[[recipients]] 1 match: must say whom the block is for"),
        ("[[recipients]]\nmatch = []", "[[recipients]] 1 match: must say whom the block is for"),
        ("[[recipients]]\nmatch = 'a@b'", "[[recipients]] 1 match: must be a list of patterns"),
        (
            "[[recipients]]\nmatch = ['.']\n[[recipients]]\nmatch = ['a.example', '*@b.example']",
            '[[recipients]] 2 match: "*@b.example" names no user: did you mean "b.example"?',
        ),
        ("[[senders]]\nmatch = ['.']\ntag_level = 3", "[[senders]] 1 tag_level: there is no such key; there are match"),
        ("[[recipients]]\nmatch = ['.']\ntag3_level = 3", 'tag3_level: there is no such key; did you mean "tag'),
        ("[policy]\nmatch = ['.']", "[policy] match: there is no such key"),
        ("[policy]\ntag_level = 'allways'", '[policy] tag_level: must be a number, or one of "always", "required"'),
        ("[policy]\nkill_level = true", "[policy] kill_level: must be a number, or one of"),
        ("[policy]\nkill_level = nan", "[policy] kill_level: must be a number, or one of"),
        ("[policy]\nkill_level = '8'", "[policy] kill_level: must be a number, or one of"),
        ('[policy]\nsubject_tag = "a\\nb"', "[policy] subject_tag: must be text, without control characters"),
        ("[policy]\nsubject_tag = '" + "x" * 73 + "'", "[policy] subject_tag: must be text of at most 72 characters"),
        ("[policy]\ndestiny = 'reject'", '[policy] destiny: must be one of "pass", "discard", "bounce"'),
        ("[policy]\nquarantine = 'sql:/x'", '[policy] quarantine: must be empty, "maildir:/PATH"'),
        ("[policy]\nquarantine = 'dir:x'", '[policy] quarantine: must be empty, "maildir:/PATH"'),
        ("[policy]\nquarantine = 'a@b, c@d'", '[policy] quarantine: must be empty, "maildir:/PATH"'),
        ("[policy]\nquarantine = 'spam-quarantine'", '[policy] quarantine: must be empty, "maildir:/PATH"'),
        ("[policy]\nquarantine = '${name}@b'", '[policy] quarantine: must be empty, "maildir:/PATH"'),
        ("[policy]\nquarantine_name = 'a/b'", "[policy] quarantine_name: must be the name of a file"),
        ("[policy]\nbypass = 'no'", "[policy] bypass: must be true or false"),
        ("[policy]\nadmin = 'a@b, c@d'", '[policy] admin: must be one address, "user@example.com", or empty'),
        ("[policy]\nadmin = 'A <a@b>'", '[policy] admin: must be one address, "user@example.com", or empty'),
        ("[policy]\nwelcome_senders = 'a@b'", "[policy] welcome_senders: must be a list of patterns"),
        ("[policy]\nblock_senders = ['/(/']", '[policy] block_senders: "/(/" is no regular expression: missing )'),
        ("[tables]\nrecipients = ['/etc/postfix/x']", '[tables] recipients: "/etc/postfix/x" must be a Postfix table'),
        ("[tables]\nrecipients = 'hash:/x'", "[tables] recipients: must be a list of Postfix lookup tables"),
        ("[spamc]\noversize = 'tail'", '[spamc] oversize: must be one of "pass", "head"'),
        ("[spamc]\nper_recipient = 1", "[spamc] per_recipient: must be true or false"),
        ("spamc = 3", "spamc: must be a section: [spamc]"),
        ("[spamc]\ntimeout = 0", "[spamc] timeout: must be a number from 1 to 86400, not 0"),
        ("[spamc]\ntimeout = true", "[spamc] timeout: must be a number from 1 to 86400, not True"),
        ("[spamc]\ntimeout = '3'", "[spamc] timeout: must be a number from 1 to 86400, not '3'"),
        ("[spamc]\nmax_size = 268435457", "[spamc] max_size: must be a number from 1 to 268435456"),
        ("[spamc]\norder = 'x'", '[spamc] order: must be one of "listed", "random", not \'x\''),
        ("[spamc]\ncommand = 'spamc'", "[spamc] command: must be a list of words, the first an absolute path"),
        ("[spamc]\ncommand = ['spamc']", "[spamc] command: must be a list of words, the first an absolute path"),
        ("[spamc]\ncommand = []", "[spamc] command: must be a list of words, the first an absolute path"),
        ("[spamc]\nservers = ['a,b']", '[spamc] servers: must be a list of "host"'),
        ("[spamc]\nservers = ['-e']", '[spamc] servers: must be a list of "host"'),
        ("[spamc]\nservers = ['a:x']", '[spamc] servers: must be a list of "host"'),
        ("[spamc]\nuser = '${name}'", "[spamc] user: must be text with the macros ${recipient}"),
        ("[spamc]\nuser = '$user'", "[spamc] user: must be text with the macros ${recipient}"),
        ("[sendmail]\ncommand = [1]", "[sendmail] command: must be a list of words"),
        ("[log]\nfacility = 'male'", '[log] facility: must be one of "mail"'),
        ("[log]\nfile = 'log'", "[log] file: must be an absolute path, or empty, not 'log'"),
        ("[log]\nlevel = 4", "[log] level: must be a number from 0 to 3, not 4"),
        ("[log]\nsyslog = 1", "[log] syslog: must be true or false, not 1"),
        ("[spamc]\nservers = ['a:65536']", '[spamc] servers: must be a list of "host"'),
        ("[spamc]\nservers = [':']", '[spamc] servers: must be a list of "host"'),
        ("[sendmail]\ncommand = ['/usr/sbin/sendmail', '-t']", "[sendmail] command: must be without -t"),
        ('[""]\nrecipient_delimiter = "-"', "there is no such key"),
        ("a = " + "[" * 3000, "recursion"),
        ("[spamc]\ntimeout = 0x" + "f" * 6000, "[spamc] timeout: must be a number from 1 to 86400, not this"),
        ("[spamc", "Expected ']'"),
        ("a = '\x01'", "character"),
    ],
    ids=lambda value: value[:40],
)
def test_an_error_names_file_key_and_what_is_allowed(source, text, error):
    source.write_text(text)
    with pytest.raises(SettingsError) as caught:
        settings.load(str(source))
    assert caught.value.text.startswith(f"{source}: ")
    assert error in caught.value.text
    assert (caught.value.status, caught.value.code) == (75, "4.3.5")


def test_every_problem_is_found_not_only_the_first():
    blocks = [{"match": ["@"], "tag_level": ""}, {"bypass": 1}]
    found = list(schema.problems({"": {"a": 1}, "spamc": {"timeout": 0, "order": 0}, "x": {}, "recipients": blocks}))
    assert len(found) == 8


def test_the_defaults_pass_their_own_checks():
    assert list(schema.problems(settings.DEFAULTS)) == []
    assert {name: set(keys) for name, keys in schema.CHECKS.items()} == {
        name: set(keys) for name, keys in settings.DEFAULTS.items()
    }


POLICY = """
[policy]
tag2_level = 6.3
subject_tag = "*** SPAM _SCORE_ ***"
welcome_senders = ["friend@example.com", ".example.org", "!/^spam/", "hash:/etc/postfix/friends"]
quarantine = "${user}+spam@${domain}"
admin = "postmaster"
[[recipients]]
match = [".example.net", "!."]
kill_level = 12
quarantine = "dir:/var/spool/spam"
[[recipients]]
match = ["."]
bypass = true
[[senders]]
match = ["<>"]
admin = "security@example.com"
[tables]
recipients = ["pgsql:/etc/postfix/policy.cf"]
"""


@pytest.mark.parametrize("compiling", [False, True])
def test_policies_are_read_with_their_patterns_compiled(source, compiling):
    source.write_text(POLICY)
    if compiling:
        schema.compile_file(str(source))
    chosen = settings.load(str(source))
    assert (chosen.policy["tag2_level"], chosen.note) == (6.3, "")
    assert patterns.words(chosen.policy["welcome_senders"])[2:] == ["!/^spam/", "hash:/etc/postfix/friends"]
    assert chosen.recipients[1] == [{"kill_level": 12, "quarantine": "dir:/var/spool/spam"}, {"bypass": True}]
    assert chosen.senders[1] == [{"admin": "security@example.com"}]
    assert chosen.tables.recipients == ["pgsql:/etc/postfix/policy.cf"]


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("tag2_level", "6.3", 6.3),
        ("kill_level", "never", "never"),
        ("bypass", "Y", True),
        ("spam_lover", "f", False),
        ("warn_sender", "1", True),
        ("subject_tag", "[SPAM] here ", "[SPAM] here"),
        ("kill_level", "-3.5", -3.5),
        ("quarantine", "maildir:/x", "maildir:/x"),
        ("block_senders", "A@b.example, .c.example", patterns.compiled(["a@b.example", ".c.example"])),
        ("welcome_senders", "", []),
    ],
)
def test_a_table_says_the_same_as_text(key, text, value):
    assert policy_keys.from_text(key, text) == value


@pytest.mark.parametrize(
    ("key", "text", "error"),
    [
        ("kil_level", "6", "kil_level: there is no such key; there are tag_level"),
        ("kill_level", "six", 'kill_level: must be a number, or one of "always", "required", "never", not \'six\''),
        ("kill_level", "", "kill_level: must be a number"),
        ("kill_level", "1_0", "kill_level: must be a number"),
        ("kill_level", "1e3", "kill_level: must be a number"),
        ("admin", "${user}@x", "admin: must be one address"),
        ("bypass", "maybe", "bypass: must be true or false, not 'maybe'"),
        ("welcome_senders", "x@", '"x@" has no domain'),
    ],
)
def test_wrong_text_is_an_error(key, text, error):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        policy_keys.from_text(key, text)
    assert error in str(caught.value)


@pytest.mark.parametrize(
    ("result", "pairs"),
    [
        ("tag2_level=6", [("tag2_level", "6")]),
        ("tag2_level=6 kill_level=9", [("tag2_level", "6"), ("kill_level", "9")]),
        ("tag2_level=6,kill_level=9", [("tag2_level", "6"), ("kill_level", "9")]),
        (" tag2_level=6 ,\tkill_level=9 ", [("tag2_level", "6"), ("kill_level", "9")]),
        ('subject_tag="[SPAM] a=b",bypass=no', [("subject_tag", "[SPAM] a=b"), ("bypass", "no")]),
        ("block_senders=a@x.example,b.example bypass=t", [("block_senders", "a@x.example,b.example"), ("bypass", "t")]),
        ('block_senders="a@x.example, b.example"', [("block_senders", "a@x.example, b.example")]),
        ("admin= bypass=t", [("admin", ""), ("bypass", "t")]),
        ("", []),
    ],
)
def test_what_a_table_answers_is_split_into_keys_and_values(result, pairs):
    assert list(policy_keys.assignments(result)) == pairs


@pytest.mark.parametrize(
    "result", ["OK", "tag2_level = 6", 'subject_tag="x', 'subject_tag="x"y', "=6", "tag2_level=6 OK"]
)
def test_what_is_no_assignment_is_an_error(result):
    with pytest.raises(ValueError, match=r"must be|is missing"):
        list(policy_keys.assignments(result))


def test_a_list_may_come_in_parts_but_nothing_else_twice():
    found = policy_keys.from_result("welcome_senders=a.example,welcome_senders=b.example tag2_level=3")
    assert patterns.words(found["welcome_senders"]) == ["a.example", "b.example"]
    with pytest.raises(ValueError, match="tag2_level: is there twice"):
        policy_keys.from_result("tag2_level=3,tag2_level=4")


@pytest.mark.parametrize(
    "server", ["host", "host:783", "192.0.2.1", "[2001:db8::1]:783", "2001:db8::1", "/run/spamd.sock"]
)
def test_servers_are_hosts_ports_and_sockets(source, server):
    source.write_text(f'[spamc]\nservers = ["{server}"]')
    assert settings.load(str(source)).spamc.servers == [server]


def test_unreadable_bytes_are_an_error_that_names_the_file(source):
    source.write_bytes(b"a = '\xff'")
    with pytest.raises(SettingsError, match=r"pf-spamfilt\.toml"):
        settings.load(str(source))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_file_is_an_error_not_a_wait(tmp_path, make):
    make(tmp_path / "pf-spamfilt.toml")
    with pytest.raises(SettingsError, match=r"pf-spamfilt\.toml: is not a regular file"):
        settings.load(f"{tmp_path}/pf-spamfilt.toml")


def compiled(source):
    """Compile, then give the compiled file other content than the source, to see which is read."""
    target = schema.compile_file(str(source))
    with open(target, "rb+") as file:
        made, _ = marshal.loads(file.read())
        file.seek(0)
        file.write(marshal.dumps((made, {"spamc": {"timeout": 99}})))
        file.truncate()
    return target


def test_a_fresh_compiled_file_is_read_instead_of_the_source(source):
    compiled(source)
    assert settings.load(str(source)).spamc.timeout == 99


def test_compiling_keeps_what_the_source_says(source):
    before = vars(settings.load(str(source)).spamc)
    schema.compile_file(str(source))
    assert vars(settings.load(str(source)).spamc) == before


def _edited(source, target):
    source.write_text("[spamc]\ntimeout = 170\n")


def _touched(source, target):
    os.utime(source, ns=(0, 0))


def _writable_by_others(source, target):
    os.chmod(target, 0o646)


def _anothers(source, target):
    os.chown(target, 65534, 65534)


def _garbage(source, target):
    with open(target, "wb") as file:
        file.write(b"\xe3garbage")


def _empty(source, target):
    os.truncate(target, 0)


def _of_another_version(source, target):
    with open(target, "wb") as file:
        file.write(marshal.dumps((("0.0", *settings.stamp(os.stat(source))[1:]), {})))


def _changed_in_the_same_instant(source, target):
    times = os.stat(source)
    source.write_text("[spamc]\ntimeout = 71\n")
    os.utime(source, ns=(times.st_atime_ns, times.st_mtime_ns))


def _a_fifo(source, target):
    os.unlink(target)
    os.mkfifo(target)


@pytest.mark.parametrize(
    "spoil",
    [
        _edited,
        _touched,
        _writable_by_others,
        _anothers,
        _garbage,
        _empty,
        _of_another_version,
        _changed_in_the_same_instant,
        _a_fifo,
    ],
)
def test_a_stale_or_doubtful_compiled_file_is_only_slower(source, spoil):
    target = compiled(source)
    spoil(source, target)
    chosen = settings.load(str(source))
    assert chosen.spamc.timeout in (17, 170, 71)
    assert "compile it anew" in chosen.note


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644])
def test_compiled_settings_disclose_no_more_than_the_source(source, mode):
    source.chmod(mode)
    assert os.stat(schema.compile_file(str(source))).st_mode & 0o777 == mode


def test_a_byte_order_mark_is_no_error(source):
    source.write_bytes(b"\xef\xbb\xbf[spamc]\ntimeout = 18\n")
    assert settings.load(str(source)).spamc.timeout == 18


def test_wrong_settings_are_not_compiled(source):
    source.write_text("[spamc]\ntimeout = 0\n")
    with pytest.raises(SettingsError):
        schema.compile_file(str(source))
    assert os.listdir(source.parent) == ["pf-spamfilt.toml"]


def test_settings_are_in_postfix_own_directory(monkeypatch):
    monkeypatch.setitem(posix.environ, b"MAIL_CONFIG", b"/etc/postfix-in")
    assert settings.path() == "/etc/postfix-in/pf-spamfilt.toml"
    monkeypatch.delitem(posix.environ, b"MAIL_CONFIG")
    assert settings.path() == "/etc/postfix/pf-spamfilt.toml"
