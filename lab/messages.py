"""The messages that faults are played with."""

HEADER = b"""\
Received: from client.example.net (client.example.net [192.0.2.7])
\tby mx.example.com (Postfix) with ESMTP id 4Zabcd1234z1
\tfor <user@example.com>; Sun, 22 Nov 2026 10:00:00 +0000 (UTC)
Date: Sun, 22 Nov 2026 11:00:00 +0100
From: Sam Sender <sender@example.com>
To: user@example.com
Subject: the quick brown fox
Message-ID: <20261122100000.1234@client.example.net>
MIME-Version: 1.0
Content-Type: text/plain; charset=us-ascii
"""
BODY = b"""\
The quick brown fox jumps over the lazy dog.

Every line of this body has to arrive as it was sent, the one with
trailing blanks   too, and the line after the next, which is
From the beginning a trap: it must not become one with a mark before it.

.
--\x20
Sam
"""
CLEAN = HEADER + b"\n" + BODY
FORGED = b"""\
X-Spam-Status: No, score=-99.9 required=5.0 tests=FORGED
X-Spam-Flag: NO
X-Spam-Level:
\tfolded, and FORGED
"""
SCANNED_ELSEWHERE = b"""\
X-Spam-Checker-Version: SpamAssassin 3.4.6 on mx.example.net
X-Spam-Level: *
X-Spam-Status: No, score=1.2 required=5.0 tests=ELSEWHERE autolearn=no
"""


def of_size(size: int, header: bytes = HEADER) -> bytes:
    """Return a message of exactly this many bytes."""
    body = b"All work and no play makes the filter a dull program.\n"
    room = size - len(header) - 1
    return header + b"\n" + (body * (room // len(body) + 1))[: room - 1] + b"\n"
