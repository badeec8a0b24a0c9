"""The least that a filter in Python can do: start spamc, start sendmail. The start of pf-spamfilt is measured by it."""

import os

for program in ("/usr/bin/spamc", "/usr/sbin/sendmail"):
    os.waitpid(os.posix_spawn(program, [program], os.environ), 0)
