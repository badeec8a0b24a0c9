"""An installation that breaks while mail comes: it waits, and the next queue run after the repair delivers it."""

from pathlib import Path

import pytest
from proving import MESSAGES, Host, body_is_whole, marks, moved

PARTS = {
    "package": "lib/python3*/site-packages/pf_spamfilt",
    "module": "lib/python3*/site-packages/pf_spamfilt/filter.py",
    "interpreter": "bin/python3",
    "everything": ".",
}


def syntax_error(path: Path) -> None:
    """Put in the place of a module what is no Python."""
    if path.suffix == ".py":
        path.write_text("def (:\n", encoding="ascii")


@pytest.mark.parametrize("pattern", PARTS.values(), ids=PARTS)
def test_mail_waits_for_the_repair(mailhost: Host, installed: Path, pattern: str) -> None:
    part = next(installed.glob(pattern)) if pattern != "." else installed
    with moved(part, syntax_error):
        mailhost.deferred(mailhost.put("clean"), "dsn=4.3.0")
    (copy,) = mailhost.retry()
    assert body_is_whole(copy, MESSAGES["clean"])
    assert marks(copy), copy.head


def test_mail_waits_for_the_command_itself(mailhost: Host, installed: Path) -> None:
    """Postfix defers when it cannot start it at all."""
    with moved(Path(mailhost.command)):
        queue_id = mailhost.put("clean")
        mailhost.postfix.wait_log(queue_id, "status=deferred")
        assert mailhost.mailbox.count() == 0
    mailhost.retry()
