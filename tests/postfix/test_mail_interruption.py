"""Interrupted at every stage, refused by sendmail, or led in circles: all mail is delivered once, whole."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from proving import JANE, MESSAGES, Host, body_is_whole, marks, moved

from lab import smtp
from lab.mailbox import Copy
from lab.tools import run, wait_until

LAUNCHER, INTERPRETER = "pf-spamfilt", "python3"
KILLS = [(name, number) for name in (LAUNCHER, INTERPRETER) for number in (signal.SIGTERM, signal.SIGKILL)]
LARGE = MESSAGES["multipart"] + b"The pipe to the filter does not hold all of this at once.\n" * 5000
ABOVE_LIMIT = LARGE * 3


def status(pid: int, position: int) -> str:
    """Return a word of /proc/PID/stat, counted from the state after the name: 0 is the state, 1 the parent."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[position]


def has_ended(pid: int) -> bool:
    """Tell whether a process runs no more, even if nobody has asked for its exit status yet."""
    try:
        return status(pid, 0) == "Z"
    except OSError:
        return True


def stop_postfix(host: Host) -> None:
    """Stop Postfix in the middle of whatever it does."""
    host.postfix.stop()


def kill_pipe(host: Host) -> None:
    """Kill the pipe(8) process that feeds the filter."""
    os.kill(int(status(host.filter_processes(LAUNCHER)[0], 1)), signal.SIGKILL)


def interpreter_that_stops(path: Path) -> None:
    """Write an interpreter that stops itself, before it reads anything, until it gets SIGCONT."""
    real = os.path.realpath(path.with_name(f"{path.name}.away"))
    path.write_text(f'#!/bin/sh\nkill -STOP $$\nexec {real} "$@"\n', encoding="utf-8")
    path.chmod(0o755)


def wait_stopped(host: Host, name: str) -> int:
    """Wait until a program of the filter's account has stopped itself, and return its process."""
    pid = host.wait_filter(name)
    assert wait_until(lambda: status(pid, 0) == "T", 5)
    return pid


@pytest.mark.parametrize("interrupt", [stop_postfix, kill_pipe])
@pytest.mark.parametrize(
    "message", [MESSAGES["clean"], LARGE, ABOVE_LIMIT], ids=["fits into the pipe", "scanned", "above the limit"]
)
def test_feeder_dies_before_the_message_is_read(
    mailhost: Host, installed: Path, interrupt: Callable[[Host], None], message: bytes
) -> None:
    """The filter sees an ordinary end of file, of a cut message: it reinjects nothing, and Postfix starts anew."""
    with moved(installed / "bin" / "python3", interpreter_that_stops):
        mailhost.put(message)
        pid = wait_stopped(mailhost, INTERPRETER)
    interrupt(mailhost)
    os.kill(pid, signal.SIGCONT)
    (copy,) = started_again(mailhost)
    assert body_is_whole(copy, message)


def test_feeder_dies_before_the_launcher_runs(mailhost: Host) -> None:
    """The launcher cannot see any more whose child it was; that nobody reads its output tells it."""
    held = mailhost.program("held", f'kill -STOP $$\nexec {mailhost.command} "$@"\n')
    with mailhost.postfix.changed(master=mailhost.postfix.transport(str(held))):
        mailhost.put(LARGE)
        pid = wait_stopped(mailhost, "held")
        mailhost.postfix.stop()
        os.kill(pid, signal.SIGCONT)
        mailhost.wait_no_filter()
        assert len(mailhost.postfix.queued()) == 1, f"something was reinjected: {mailhost.postfix.queued()}"
    (copy,) = mailhost.retry()
    assert body_is_whole(copy, LARGE)


def test_feeder_dies_during_the_scan(mailhost: Host) -> None:
    """Postfix still has the message: nothing is reinjected."""
    with mailhost.spamd.paused():
        mailhost.put("clean")
        mailhost.wait_filter("spamc")
        mailhost.postfix.stop()
    (copy,) = started_again(mailhost)
    assert body_is_whole(copy, MESSAGES["clean"])


def test_postfix_is_reloaded_during_the_scan(mailhost: Host) -> None:
    """Work under way goes on: delivered once. The new qmgr(8) takes it out of the queue when it looks again."""
    with mailhost.spamd.paused():
        mailhost.put("clean")
        mailhost.wait_filter("spamc")
        mailhost.postfix.reload()
    mailhost.wait_no_filter()
    (copy,) = mailhost.retry()
    assert marks(copy), copy.head


def started_again(host: Host) -> list[Copy]:
    """Start Postfix, if it does not run, when the filter has ended; return what it delivers."""
    if not host.postfix.running():
        host.wait_no_filter()
        assert len(host.postfix.queued()) == 1, f"something was reinjected: {host.postfix.queued()}"
        host.postfix.start()
    return host.retry()


@pytest.mark.parametrize(("name", "number"), KILLS)
def test_killed_during_the_scan(mailhost: Host, name: str, number: signal.Signals) -> None:
    """Deferred, and delivered once by the next queue run."""
    with mailhost.spamd.paused():
        queue_id = mailhost.put("clean")
        mailhost.wait_filter("spamc")
        (pid,) = mailhost.filter_processes(name)
        os.kill(pid, number)
        assert wait_until(lambda: has_ended(pid), 10)
    mailhost.deferred(queue_id, "dsn=4.3.0")
    (copy,) = mailhost.retry()
    assert body_is_whole(copy, MESSAGES["clean"])


@pytest.mark.parametrize("name", [LAUNCHER, INTERPRETER])
def test_terminated_while_sendmail_runs(mailhost: Host, name: str) -> None:
    """From then on no SIGTERM ends the filter before it knows what became of the message: once, not twice."""
    go = mailhost.directory / f"go-{name}"
    with mailhost.sendmail(waiting_sendmail(go)):
        queue_id = mailhost.put("clean")
        mailhost.wait_filter("sendmail")
        os.kill(mailhost.filter_processes(name)[0], signal.SIGTERM)
        go.touch()
        mailhost.once(1)
    assert mailhost.postfix.log_lines(queue_id, "relay=spamcheck", "status=sent")
    assert mailhost.postfix.log_lines(queue_id, "status=deferred") == []


def test_killed_outright_while_sendmail_runs(mailhost: Host) -> None:
    """Nobody can know then whether the message was taken: it comes twice rather than never."""
    go = mailhost.directory / "go-killed"
    with mailhost.sendmail(waiting_sendmail(go)):
        mailhost.put("clean")
        mailhost.wait_filter("sendmail")
        os.kill(mailhost.filter_processes(INTERPRETER)[0], signal.SIGKILL)
        go.touch()
        mailhost.wait_no_filter()
    copies = mailhost.retry(2)
    assert [body_is_whole(copy, MESSAGES["clean"]) for copy in copies] == [True, True]


def waiting_sendmail(go: Path) -> str:
    """Return a script that waits for a file and is sendmail then."""
    return f'while [ ! -e {go} ]; do sleep 0.05; done\nexec /usr/sbin/sendmail "$@"\n'


def test_filter_may_not_submit(mailhost: Host) -> None:
    """Sendmail refuses the account: deferred, and delivered when it is authorised."""
    mailhost.postfix.configure(main="authorized_submit_users = !spamfilt, static:all\n")
    queue_id = mailhost.put("clean")
    mailhost.deferred(queue_id, "dsn=4.3.0", "sendmail exited with status")
    mailhost.postfix.configure()
    (copy,) = mailhost.retry()
    assert body_is_whole(copy, MESSAGES["clean"])


def test_message_is_too_large_for_sendmail(mailhost: Host) -> None:
    """message_size_limit was lowered after Postfix took it: deferred until the limit is raised."""
    with mailhost.spamd.paused():
        queue_id = mailhost.put(LARGE)
        mailhost.wait_filter("spamc")
        mailhost.postfix.configure(main="message_size_limit = 100000\n")
    mailhost.deferred(queue_id, "dsn=4.3.0", "sendmail exited with status")
    mailhost.postfix.configure()
    (copy,) = mailhost.retry()
    assert body_is_whole(copy, LARGE)


def test_message_that_sendmail_can_never_accept_goes_back(mailhost: Host) -> None:
    """Status 65 of sendmail is the one that bounces."""
    with mailhost.sendmail("cat >/dev/null; exit 65\n"):
        (notice,) = mailhost.deliver("clean", [JANE], smtp.SENDER)
    assert (notice.recipient, notice.sender) == (smtp.SENDER, "")
    assert b"5.6.0" in notice.body


def looped(host: Host, recipient: str, message: str = "clean") -> None:
    """Send a message with the filter on pickup, too, until it is deferred; then take the filter off there."""
    with host.postfix.changed(main="content_filter = spamcheck:\n"):
        host.put(message, [recipient])
        line = host.postfix.wait_log(f"to=<{recipient}>", "status=deferred", "dsn=4.4.6")
        assert "mail loop" in line
        host.wait_no_filter()
        assert len(host.postfix.queued()) == 1, host.postfix.log_tail()
    assert host.mailbox.count() == 0, host.postfix.log_tail()


def test_loop_stops_by_itself_and_loses_nothing(mailhost: Host) -> None:
    """Deferred after three rounds; once content_filter is mended, `postsuper -r` and a reload have it delivered, once.

    A mere queue run does not: the filter is written down in the queue file, and the filter counts three rounds again.
    """
    looped(mailhost, "loop@example.com")
    run(["postsuper", "-r", "ALL", "deferred"])
    mailhost.postfix.reload()
    (copy,) = mailhost.once(1)
    assert body_is_whole(copy, MESSAGES["clean"])
    assert marks(copy), copy.head


def test_loop_is_seen_where_spamassassin_wraps_the_message_each_time(mailhost: Host) -> None:
    """A report with the original attached has none of its Received fields; ours are put on it."""
    mailhost.spamd.preferences("wrapped@example.com", "required_score -100\nreport_safe 1\n")
    looped(mailhost, "wrapped@example.com", "gtube")
