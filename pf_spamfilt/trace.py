"""What the Received fields tell (RFC 5321, 4.4): Postfix's queue id, and whether a message was here before."""

from pf_spamfilt import headers

# So often may one host have taken a message from this filter's account: more is a loop.
PASSES = 3


def queue_id(fields: list[bytes]) -> str:
    """Return the id under which Postfix logs this message: from the topmost Received field, or "NOQUEUE"."""
    for field in fields:
        if headers.name_of(field) == b"received":
            _, _, clauses = (b" " + headers.value_of(field)).partition(b" by ")
            word = clauses.partition(b" id ")[2].partition(b" ")[0].rstrip(b";")
            return word.decode() if word.isalnum() else "NOQUEUE"
    return "NOQUEUE"


def is_loop(fields: list[bytes], uid: int) -> bool:
    """Tell whether one host has PASSES times reinjected this message for the account `uid`.

    content_filter also applies to what pickup(8) takes in, if main.cf says it: then reinjected mail comes back here.
    """
    marker = b", from userid %d)" % uid
    values = [headers.value_of(field) for field in fields if headers.name_of(field) == b"received"]
    hosts = [value.split(b" ")[1] for value in values if value.startswith(b"by ") and marker in value]
    return any(hosts.count(host) >= PASSES for host in set(hosts))
