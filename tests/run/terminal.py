"""The command as a person at a terminal has it."""

import os
import pty


def at_terminal(command, *arguments, **environment):
    """Run the command as a person does who has redirected nothing; return its status and what is on the screen."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(command, [str(command), *map(str, arguments)], os.environ | environment)
    screen = b""
    try:
        while chunk := os.read(terminal, 4096):
            screen += chunk
    except OSError:  # the end of a terminal on Linux
        pass
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), screen.decode()
