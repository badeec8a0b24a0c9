"""What a header tells of a message's way: Postfix's queue id and host, a loop, and whether its sender is a person.

The Received fields are those of RFC 5321, 4.4.
"""

from pf_spamfilt import headers
from pf_spamfilt.envelope import NULL_SENDER, Envelope

# So often may one host have taken a message from this filter's account: more is a loop.
PASSES = 3
# What pf-spamfilt-admin(8) puts on top of a message that it releases from quarantine.
RELEASED = b"X-Quarantine-Released"
# What the filter puts on top of a message that it keeps.
KEPT = b"X-Quarantine-ID"
_DELIVERY = (b"return-path", b"x-original-to", b"delivered-to")
_TELLING = (
    b"received",
    *_DELIVERY,
    b"from",
    b"list-",
    b"precedence",
    b"auto-submitted",
    RELEASED.lower(),
    KEPT.lower(),
)


def telling(fields: list[bytes]) -> list[bytes]:
    """Return the fields that tell of a message's way and its sender: a whole header can take more than the message."""
    return [field for field in fields if headers.name_of(field).startswith(_TELLING)]


def queue_id(fields: list[bytes]) -> str:
    """Return the id under which Postfix logs this message: from the topmost Received field, or "NOQUEUE"."""
    for field in fields:
        if headers.name_of(field) == b"received":
            _, _, clauses = (b" " + headers.value_of(field)).partition(b" by ")
            word = clauses.partition(b" id ")[2].partition(b" ")[0].rstrip(b";")
            return word.decode() if word.isalnum() else "NOQUEUE"
    return "NOQUEUE"


def host(fields: list[bytes]) -> str:
    """Return the name by which this host's Postfix calls itself: from the topmost Received field, or empty."""
    for field in fields:
        if headers.name_of(field) == b"received":
            clauses = (b" " + headers.value_of(field)).partition(b" by ")[2].split()
            name = clauses[0].decode("ascii", "replace") if clauses else ""
            return name if name.replace("-", "").replace(".", "").isalnum() else ""
    return ""


def sender(fields: list[bytes]) -> bytes | None:
    """Return the envelope sender that a delivery agent has put on top: in Return-Path, otherwise in an mbox line.

    Empty is the null sender; None: neither is there.
    """
    found = _sender_on_top(fields)
    return None if found is None else Envelope(found, []).sender


def _sender_on_top(fields: list[bytes]) -> bytes | None:
    for field in fields:
        name = headers.name_of(field)
        if name == b"return-path":
            return field.partition(b":")[2].strip()
        if name == b"received":
            break
    top = fields[0] if fields else b""
    is_mbox = headers.is_mbox_line(top) and b" " in headers.name_of(top)
    return headers.mbox_sender(top) or None if is_mbox else None


def without_delivery(fields: list[bytes]) -> list[bytes]:
    """Return a header without what a delivery agent has put on top of it, for whom it is to be delivered again.

    Where it finds its Delivered-To, local(8) bounces the message: it has been here before.
    """
    place = headers.mbox_lines(fields)
    while place < len(fields) and headers.name_of(fields[place]) in _DELIVERY:
        place += 1
    return fields[place:]


def may_answer(sender: bytes, fields: list[bytes]) -> bool:
    """Tell whether a message of ours to `sender` can reach a person who wrote this one."""
    return sender != NULL_SENDER and is_personal(fields)


def is_personal(fields: list[bytes]) -> bool:
    """Tell whether a person wrote this message to persons: to others nobody answers (RFC 3834, 2).

    Not so for mailing lists and bulk mail, and what a program wrote.
    """
    for field in fields:
        name, value = headers.name_of(field), headers.value_of(field).lower()
        if name.startswith(b"list-") or (name == b"precedence" and value in (b"bulk", b"list", b"junk")):
            return False
    return not is_automatic(fields)


def is_automatic(fields: list[bytes]) -> bool:
    """Tell whether a program wrote this message (RFC 3834, 5)."""
    values = [headers.value_of(field).lower() for field in fields if headers.name_of(field) == b"auto-submitted"]
    return any(value.replace(b";", b" ").replace(b"(", b" ").split()[:1] != [b"no"] for value in values)


def passes(fields: list[bytes], uid: int) -> list[bytes]:
    """Return the Received fields that tell that a host took this message from the account `uid`."""
    marker = b", from userid %d)" % uid
    received = [field for field in fields if headers.name_of(field) == b"received"]
    return [field for field in received if headers.value_of(field).startswith(b"by ") and marker in field]


def rounds(fields: list[bytes], uid: int) -> list[bytes]:
    """Return the fields by which a mail loop is known: to local(8), and to the account `uid`."""
    ours = set(passes(fields, uid))
    return [field for field in fields if field in ours or headers.name_of(field) == b"delivered-to"]


def is_loop(fields: list[bytes], uid: int) -> bool:
    """Tell whether one host has PASSES times reinjected this message for the account `uid`.

    content_filter also applies to what pickup(8) takes in, if main.cf says it: then reinjected mail comes back here.
    """
    hosts = [headers.value_of(field).split(b" ")[1] for field in passes(fields, uid)]
    return any(hosts.count(host) >= PASSES for host in set(hosts))


def is_released(fields: list[bytes], uid: int) -> bool:
    """Tell from trace.telling() whether this message was released from a quarantine on this host.

    Nobody else can write it so: the field that says so is on top of all that any other host has written, and Postfix
    has taken it from root, or from the account `uid`, and from that again if it comes back here: see is_loop.
    """
    above = _received_above(fields, RELEASED.lower())
    return bool(above) and all(passes([each], 0) or passes([each], uid) for each in above)


def is_kept(fields: list[bytes]) -> bool:
    """Tell from trace.telling() whether a filter on this host has sent this message to a quarantine that is an address.

    No other host can write it so: what comes from one has a Received field "from" it on top. An account of this host
    can, as in local delivery each of them may run the filter.
    """
    above = [headers.value_of(field) for field in _received_above(fields, KEPT.lower())]
    return bool(above) and all(value.startswith(b"by ") for value in above) and b", from userid " in above[-1]


def _received_above(fields: list[bytes], name: bytes) -> list[bytes]:
    """Return the Received fields above the first field of this name, in lower case; none if there is no such field."""
    above: list[bytes] = []
    for field in fields:
        found = headers.name_of(field)
        if found == name:
            return above
        if found == b"received":
            above.append(field)
    return []
