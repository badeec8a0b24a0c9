"""Run a command and print the peak of its resident memory in kB: `python3 -I -S peak.py COMMAND [ARG...]`.

A process starts with the peak of whoever started it, which is this bare interpreter: so no figure is below its own.
"""

import os
import sys

pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, 2, 1)])
_, status, used = os.wait4(pid, 0)
print(used.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
