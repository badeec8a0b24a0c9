"""A spamd on 127.0.0.1 that speaks just enough SPAMD/1.1 to fail in every way, for the real spamc.

`start` forks a server that answers each connection with one behaviour of BEHAVIOURS, until `stop`. A good answer is the
message with SpamAssassin's fields in front and the sender's X-Spam fields taken out. The port is open before `start`
returns; `refuse` gives a port on which nothing listens.
"""

import os
import signal
import socket
import time
from collections.abc import Callable
from typing import NoReturn

from lab.judgement import SCAN_MARK, split

MARKS = (
    SCAN_MARK + b"\nX-Spam-Level: \nX-Spam-Status: No, score=0.1 required=5.0 tests=STUB autolearn=no version=4.0.1\n"
)
SPAM_MARKS = (
    b"X-Spam-Flag: YES\n" + SCAN_MARK + b"\nX-Spam-Level: ******\n"
    b"X-Spam-Status: Yes, score=6.0 required=5.0 tests=STUB,\n\tSTUB_TWO autolearn=no version=4.0.1\n"
)
HANG = 30
Behaviour = Callable[[socket.socket, bytes], None]


def scanned(message: bytes, marks: bytes = MARKS) -> bytes:
    """Return a message as SpamAssassin would: its fields added, the sender's removed, all else as it was."""
    header, body = split(message)
    first = header[:1] if header and header[0].startswith(b"From ") else []
    kept = b"".join(_without_spam_fields(header[len(first) :]))
    if kept and not kept.endswith(b"\n"):
        kept += b"\n"
    return b"".join(first) + marks + kept + _separator(message, header) + body


def _without_spam_fields(header: list[bytes]) -> list[bytes]:
    kept, dropping = [], False
    for line in header:
        dropping = dropping if line[:1] in b" \t" else line.lower().startswith(b"x-spam-")
        if not dropping:
            kept.append(line)
    return kept


def _separator(message: bytes, header: list[bytes]) -> bytes:
    return b"\r\n" if message[len(b"".join(header)) :].startswith(b"\r\n") else b"\n"


def answer(
    body: bytes, *, code: bytes = b"0 EX_OK", length: int | None = None, spam: bytes = b"False ; 0.1 / 5.0"
) -> bytes:
    """Return a whole answer of spamd; `length` is the Content-length it claims."""
    size = len(body) if length is None else length
    return b"SPAMD/1.1 %s\r\nContent-length: %d\r\nSpam: %s\r\n\r\n" % (code, size, spam) + body


def _send(make: Callable[[bytes], bytes]) -> Behaviour:
    return lambda connection, message: connection.sendall(make(message))


def _always(whole: bytes) -> Behaviour:
    return lambda connection, _: connection.sendall(whole)


def _close(_: socket.socket, __: bytes) -> None:
    """Say nothing: the connection is closed when this returns."""


def _hang(_: socket.socket, __: bytes) -> None:
    time.sleep(HANG)


def _reset(connection: socket.socket, _: bytes) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def _part_then_hang(connection: socket.socket, message: bytes) -> None:
    whole = answer(scanned(message))
    connection.sendall(whole[: len(whole) // 2])
    time.sleep(HANG)


def _drip(connection: socket.socket, message: bytes) -> None:
    for byte in answer(scanned(message)):
        connection.sendall(bytes([byte]))
        time.sleep(0.2)


def _flood(connection: socket.socket, message: bytes) -> None:
    connection.sendall(answer(scanned(message), length=100_000_000))
    for _ in range(1000):
        connection.sendall(b"flood\n" * 10_000)


def _late(connection: socket.socket, message: bytes) -> None:
    time.sleep(1)
    connection.sendall(answer(scanned(message)))


def _changed(message: bytes) -> bytes:
    return message[:-2] + b"~\n"


OTHER = b"Subject: another message\n\nThis body belongs to somebody else.\n"
BEHAVIOURS: dict[str, Behaviour] = {
    "good": _send(lambda m: answer(scanned(m))),
    "spam": _send(lambda m: answer(scanned(m, SPAM_MARKS), spam=b"True ; 6.0 / 5.0")),
    "late": _late,
    "hang": _hang,
    "close at once": _close,
    "reset at once": _reset,
    "hang at once": _hang,
    "close": _close,
    "reset": _reset,
    "part then hang": _part_then_hang,
    "drip": _drip,
    "flood": _flood,
    "half a status line": _always(b"SPAMD/1.1"),
    "half a header": _always(b"SPAMD/1.1 0 EX_OK\r\nContent-le"),
    "header without body": _send(lambda m: answer(scanned(m))[:60]),
    "garbage": _always(b"\0\xff\x80garbage\r\n" * 50),
    "another protocol": _always(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
    "no version": _send(lambda m: answer(scanned(m)).replace(b"SPAMD/1.1", b"SPAMD/9.9")),
    "length too small": _send(lambda m: answer(scanned(m), length=len(m) // 2)),
    "length too large": _send(lambda m: answer(scanned(m), length=2 * len(scanned(m)))),
    "length negative": _send(lambda m: answer(scanned(m), length=-1)),
    "length zero": _always(answer(b"")),
    "truncated body": _send(lambda m: answer(scanned(m)[:-40], length=len(scanned(m)))),
    "truncated body, length to match": _send(lambda m: answer(scanned(m)[:-40])),
    "one byte short, length to match": _send(lambda m: answer(scanned(m)[:-1])),
    "one byte changed": _send(lambda m: answer(_changed(scanned(m)))),
    "header only": _send(lambda m: answer(b"".join(split(scanned(m))[0]) + b"\n")),
    "header dropped": _send(lambda m: answer(b"\n" + split(m)[1])),
    "another message": _always(answer(scanned(OTHER))),
    "another message, same length": _send(lambda m: answer((MARKS + b"\n" + b"x\n" * len(m))[: len(scanned(m))])),
    "status EX_TEMPFAIL": _always(answer(b"", code=b"75 EX_TEMPFAIL")),
    "status EX_TIMEOUT": _always(answer(b"", code=b"79 Timeout: (30 second timeout while trying to PROCESS)")),
    "status EX_UNAVAILABLE": _always(answer(b"", code=b"69 EX_UNAVAILABLE")),
    "status EX_PROTOCOL": _always(b"SPAMD/1.0 76 Bad header line: (EOF)\r\n"),
    "status 0, no Spam line": _send(lambda m: answer(scanned(m)).replace(b"Spam: False ; 0.1 / 5.0\r\n", b"")),
    "verdict garbled": _send(lambda m: answer(scanned(m), spam=b"Perhaps ; nan / many")),
}  # fmt: skip


def start(behaviour: str) -> tuple[int, int]:
    """Start a server with this behaviour (or `refuse`); return its process number, 0 for none, and its port."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    port: int = server.getsockname()[1]
    if behaviour == "refuse":
        server.close()
        return 0, port
    server.listen(20)
    pid = os.fork()
    if pid == 0:
        _serve(server, behaviour)
    os.setpgid(pid, pid)
    server.close()
    return pid, port


def stop(pid: int) -> None:
    """End a server that `start` started, with its connections."""
    if pid:
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _serve(server: socket.socket, behaviour: str) -> NoReturn:
    """Serve each connection in a process of its own: a hanging one must not keep the next waiting."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection = server.accept()[0]
        if os.fork() == 0:
            _serve_one(connection, behaviour)
        connection.close()


def _serve_one(connection: socket.socket, behaviour: str) -> NoReturn:
    try:
        message = b"" if behaviour.endswith("at once") else _read_request(connection)
        BEHAVIOURS[behaviour](connection, message)
    except OSError:
        pass  # the client is gone, as many of these tests want it
    finally:
        connection.close()
        os._exit(0)


def _read_request(connection: socket.socket) -> bytes:
    """Read a request of spamc(1) and return the message in it."""
    with connection.makefile("rb") as stream:
        length = 0
        while line := stream.readline().strip():
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        return stream.read(length)
