"""pf-spamfilt.toml beside main.cf: a wrong one makes mail wait, a compiled one is believed while it is fresh."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from proving import Host, marks

from lab.tools import run

COMPILE = """
import marshal, sys
sys.path.insert(0, sys.argv[1])
from pf_spamfilt import schema
name = schema.compile_file(sys.argv[2])
with open(name, "rb+") as file:
    stamp, values = marshal.loads(file.read())
    values["spamc"]["max_size"] = 10
    file.seek(0)
    file.write(marshal.dumps((stamp, values)))
"""
WRONG = {
    "unknown key": ("[spamc]\nmax_sise = 5\n", ["[spamc] max_sise", 'did you mean "max_size"']),
    "wrong value": ('[spamc]\nmax_size = "big"\n', ["[spamc] max_size", "must be a number from 1"]),
    "unknown section": ("[spam]\n", ["[spam]", 'did you mean "spamc"']),
    "no TOML": ("[spamc\n", ["line 1"]),
}


@pytest.fixture
def source(mailhost: Host) -> Iterator[Path]:
    """The settings file; what was compiled from it is gone before and after the test."""
    file = mailhost.postfix.configuration / "pf-spamfilt.toml"
    yield file
    file.with_name(f"{file.name}.compiled").unlink(missing_ok=True)


def compile_settings(installed: Path, source: Path) -> None:
    """Have the installed program compile its settings, and then let the compiled file say that nothing is scanned."""
    (packages,) = installed.glob("lib/python3*/site-packages")
    run([installed / "bin" / "python3", "-c", COMPILE, packages, source])


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_mail_waits_for_settings_to_be_mended(mailhost: Host, text: str, said: list[str]) -> None:
    """Deferred with 4.3.5, which names file and key; the next queue run after mending delivers."""
    mailhost.settings(text)
    queue_id = mailhost.put("clean")
    mailhost.deferred(queue_id, "dsn=4.3.5", "/etc/postfix/pf-spamfilt.toml: ", *said)
    mailhost.settings()
    (copy,) = mailhost.retry()
    assert marks(copy), copy.head


def test_settings_that_the_filter_may_not_read_defer(mailhost: Host, source: Path) -> None:
    source.chmod(0o600)
    mailhost.deferred(mailhost.put("clean"), "dsn=4.3.5", "/etc/postfix/pf-spamfilt.toml: Permission denied")
    source.chmod(0o644)
    mailhost.retry()


def test_fresh_compiled_settings_are_used(mailhost: Host, installed: Path, source: Path) -> None:
    """With what the compiled file says nothing is scanned."""
    compile_settings(installed, source)
    (copy,) = mailhost.deliver("gtube")
    assert marks(copy) == []


def test_stale_compiled_settings_are_not_used(mailhost: Host, installed: Path, source: Path) -> None:
    """The source is, and syslog says so."""
    compile_settings(installed, source)
    source.write_text(source.read_text() + "\n# changed\n")
    (copy,) = mailhost.deliver("gtube")
    assert copy.header("X-Spam-Flag") == "YES", copy.head
    assert mailhost.syslog.wait_for("pf-spamfilt.toml.compiled is stale or not trusted")


def test_compiled_settings_that_others_may_write_are_not_used(mailhost: Host, installed: Path, source: Path) -> None:
    compile_settings(installed, source)
    source.with_name(f"{source.name}.compiled").chmod(0o666)
    (copy,) = mailhost.deliver("gtube")
    assert copy.header("X-Spam-Flag") == "YES", copy.head


def test_no_settings_file_means_the_defaults(mailhost: Host, source: Path) -> None:
    """With them spamc looks for spamd at its own port, where the lab has none."""
    source.unlink()
    mailhost.deferred(mailhost.put("clean"), "dsn=4.4.1", "spamc cannot connect to spamd")
