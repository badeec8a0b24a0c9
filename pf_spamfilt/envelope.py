"""The envelope: sender and recipients as they came in argv, as sendmail must get them, as spamc's user.

Addresses are bytes, never decoded. What cannot be given to sendmail as exactly one address is refused (75): sendmail
would make a list of it, or silently the null sender.
"""

from pf_spamfilt.exits import Deferred

NULL_SENDER = b""
_SPECIALS = b'()<>@,;:\\"[] '
_CONTROLS = bytes(range(32)) + b"\x7f"


class Envelope:
    """Sender (empty: the null sender) and recipients, as the caller meant them."""

    __slots__ = ("recipients", "sender")

    def __init__(self, sender: bytes, recipients: list[bytes]) -> None:
        self.sender = without_brackets(sender)
        if self.sender == b"MAILER-DAEMON":
            self.sender = NULL_SENDER
        self.recipients = [without_brackets(recipient) for recipient in recipients]
        if b"" in self.recipients:
            raise Deferred("a recipient address is empty", "4.3.5")


def without_brackets(address: bytes) -> bytes:
    """Take one pair of angle brackets off `address`."""
    return address[1:-1] if address[:1] == b"<" and address[-1:] == b">" else address


def for_sendmail(address: bytes) -> bytes:
    """Return `address` in the form that sendmail(1) parses as this one address (RFC 5321, 4.1.2).

    A local part that is neither a dot-string nor a quoted string is quoted; 8-bit bytes stay as they are (RFC 6531).
    Raises Deferred for what no quoting can save: white space other than a blank, and a domain that is none.
    """
    if address == NULL_SENDER:
        return address
    local, at, domain = split_address(address)
    if (at and not _is_domain(domain)) or address.translate(None, b"\t\r\n") != address:
        raise Deferred(f"sendmail would not take this as one address: {address.decode('utf-8', 'replace')}")
    if not is_local_part(local):
        escaped = local.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
        local = b'"' + escaped + b'"'
    return local + at + domain


def spamc_user(template: str, recipient: bytes, delimiters: str) -> bytes:
    """Expand `spamc.user` for `recipient`; empty: no user.

    A name with control characters is none: a line break in it would end up in the header of the SPAMC protocol.
    """
    return as_user(expand(template, recipient, delimiters))


def as_user(name: bytes) -> bytes:
    """Return the name if it can be a user's, empty otherwise."""
    return name if name.translate(None, _CONTROLS) == name else b""


def expand(template: str, recipient: bytes, delimiters: str) -> bytes:
    """Expand the macros of pipe(8) in `template` for `recipient`; `delimiters` is Postfix's recipient_delimiter.

    A local part is not quoted then, but in `${recipient}`.
    """
    local, _, domain = split_address(recipient)
    local = unquoted(local)
    user, extension = split_extension(local, delimiters.encode())
    values = {b"recipient": recipient, b"mailbox": local, b"user": user, b"extension": extension, b"domain": domain}
    first, *rest = template.encode().split(b"${")
    name = first
    for part in rest:
        macro, _, text = part.partition(b"}")
        name += values[macro] + text
    return name


def split_address(address: bytes) -> tuple[bytes, bytes, bytes]:
    """Split at the last `@`, but not at one within a quoted string that is the whole address."""
    local, at, domain = (address, b"", b"") if _is_quoted_string(address) else address.rpartition(b"@")
    return (local, at, domain) if at else (address, b"", b"")


def split_extension(local: bytes, delimiters: bytes) -> tuple[bytes, bytes]:
    """Split a local part into user and extension, at the first of Postfix's recipient_delimiter characters."""
    for position in range(1, len(local)):
        if local[position] in delimiters:
            return local[:position], local[position + 1 :]
    return local, b""


def unquoted(local: bytes) -> bytes:
    """Return a local part as it is meant: a quoted string without quotes and backslashes (RFC 5321, 4.1.2)."""
    if not _is_quoted_string(local):
        return local
    pieces = local[1:-1].split(b"\\\\")
    return b"\\".join(piece.replace(b"\\", b"") for piece in pieces)


def _is_domain(domain: bytes) -> bool:
    literal = domain[:1] == b"[" and domain[-1:] == b"]"
    text = domain[1:-1].replace(b":", b"") if literal else domain
    return text != b"" and _is_atoms(text)


def is_local_part(local: bytes) -> bool:
    """Tell whether `local` can stand before an `@` as it is: a dot-string or a quoted string (RFC 5321, 4.1.2)."""
    return _is_dot_string(local) or _is_quoted_string(local)


def _is_dot_string(local: bytes) -> bool:
    return b"" not in local.split(b".") and _is_atoms(local)


def _is_atoms(text: bytes) -> bool:
    return text.translate(None, _SPECIALS + _CONTROLS) == text


def _is_quoted_string(local: bytes) -> bool:
    """Tell whether `local` is one quoted string: every quote and backslash within is behind a backslash."""
    if len(local) < 2 or local[:1] != b'"' or local[-1:] != b'"':
        return False
    inner = local[1:-1].replace(b"\\\\", b"").replace(b'\\"', b"")
    return b'"' not in inner and not inner.endswith(b"\\")
