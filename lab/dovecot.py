"""Dovecot's delivery agent in a lab: /etc/dovecot is the lab's, mailboxes are Maildirs in the users' homes.

No Dovecot runs: dovecot-lda reads its configuration itself. Failures are LabErrors.
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from lab import namespace
from lab.mailhost import MailHost
from lab.tools import LabError, run

PLACE = "/etc/dovecot"
PROGRAM = "/usr/lib/dovecot/dovecot-lda"
_CONF = """\
base_dir = {folder}/run
protocols =
first_valid_uid = 1
!include_try conf.d/*.conf
"""
# The first lines by version; 2.4 insists on its two.
_VERSIONS = {
    "2.3": "mail_location = maildir:~/Maildir\n",
    "2.4": "dovecot_config_version = 2.4.0\ndovecot_storage_version = 2.4.0\n"
    "mail_driver = maildir\nmail_path = ~/Maildir\n",
}


def version() -> str:
    """Return which Dovecot is here, 2.3 or 2.4: what they read differs."""
    if not os.path.exists(PROGRAM):
        raise LabError(f"no {PROGRAM} here: run lab/packages.sh dovecot-core dovecot-sieve")
    found = ".".join(run(["dovecot", "--version"]).split(".")[:2])
    if found not in _VERSIONS:
        raise LabError(f"Dovecot {found} is none of {', '.join(_VERSIONS)}")
    return found


@contextlib.contextmanager
def configured(host: MailHost) -> Iterator[Path]:
    """Lay a folder with a dovecot.conf over /etc/dovecot inside the with block; *.conf in its conf.d are read, too."""
    text = _VERSIONS[version()] + _CONF
    folder = host.directory / "dovecot"
    (folder / "conf.d").mkdir(parents=True)
    (folder / "run").mkdir()
    (folder / "dovecot.conf").write_text(text.format(folder=folder), encoding="utf-8")
    namespace.bind(folder, PLACE)
    try:
        yield folder
    finally:
        namespace.uncover(PLACE)
        shutil.rmtree(folder)
