"""A message header as bytes: split it, find in it, sift it. Joined, the pieces equal the input, for any bytes.

A header field is what Postfix takes for one (is_header(3)): a name of printable ASCII, perhaps blanks, a colon; lines
that begin with a blank continue it. The first other line ends the header. Nothing here ever decodes or refolds.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader, BytesIO

PIECE = 65536
# So much of an address list is looked at, in bytes.
LONGEST_LIST = 2000
_NAME_BYTES = bytes(range(33, 127))
_QUOTE, _BACKSLASH = b'"\\'


def split(message: bytes) -> tuple[list[bytes], bytes]:
    """Split `message` into its header fields, folding and line ends kept, and all that follows them.

    What follows begins with the empty line, if there is one. Leading mbox(5) "From " lines count as fields.
    """
    starts: list[int] = []
    position, leading = 0, True
    while position < len(message):
        end = message.find(b"\n", position) + 1 or len(message)
        if not (starts and message[position] in b" \t"):
            line = message[position:end]
            if not (_begins_field(line) or (leading and is_mbox_line(line))):
                break
            leading = leading and _is_above_header(line)
            starts.append(position)
        position = end
    ends = [*starts[1:], position]
    return [message[start:end] for start, end in zip(starts, ends, strict=False)], message[position:]


def _begins_field(line: bytes) -> bool:
    name, colon, _ = line.partition(b":")
    name = name.rstrip(b" \t")
    return colon != b"" and name != b"" and not name.translate(None, _NAME_BYTES)


def is_mbox_line(line: bytes) -> bool:
    """Tell whether sendmail(1) drops this line from the start of a message."""
    return line.lstrip(b">").startswith(b"From ")


def mbox_lines(fields: list[bytes]) -> int:
    """Return how many mbox lines stand before the fields of a header."""
    count = 0
    while count < len(fields) and is_mbox_line(fields[count]):
        count += 1
    return count


def mbox_sender(line: bytes) -> bytes:
    """Return the address in an mbox line: to the first blank that is not within quotes (RFC 5321, 4.1.2)."""
    text = line.partition(b" ")[2].lstrip(b" \t")
    quoted = escaped = False
    for place, byte in enumerate(text):
        if byte in b" \t\r\n" and not quoted:
            return text[:place]
        quoted ^= byte == _QUOTE and not escaped
        escaped = byte == _BACKSLASH and not escaped
    return text


def _is_above_header(line: bytes) -> bool:
    """Tell whether an mbox line may follow `line`: sendmail would see it first, once forged fields are gone."""
    return is_mbox_line(line) or is_spam_field(line)


def is_spam_field(line: bytes) -> bool:
    """Tell whether a field is SpamAssassin's, or claims to be: in a message that comes, it is forged."""
    return line[:7].lower() == b"x-spam-"


def name_of(field: bytes) -> bytes:
    """Return the field's name in lower case."""
    return field.partition(b":")[0].rstrip(b" \t").lower()


def value_of(field: bytes) -> bytes:
    """Return what follows the colon as one line: unfolded, each run of white space one space."""
    return b" ".join(field.partition(b":")[2].split())


def addresses_of(field: bytes) -> list[bytes]:
    """Return the addresses in a field such as From, without names, comments and groups (RFC 5322, 3.4)."""
    found: list[bytes] = []
    word, depth, quoted, escaped = bytearray(), 0, False, False
    value = value_of(field) + b","
    for byte in value[:LONGEST_LIST]:
        if escaped or byte == _BACKSLASH:
            escaped = not escaped
        elif byte == _QUOTE and not depth:
            quoted = not quoted
        elif not quoted and byte in b"()":
            depth = max(0, depth + (1 if byte in b"(" else -1))
            continue
        elif not (quoted or depth) and byte in b"<:>,;":
            if byte in b">,;" and b"@" in word:
                found.append(bytes(word.strip()))
            word.clear()
            continue
        if not depth:
            word.append(byte)
    return found


def line_end(message: bytes) -> bytes:
    """Return the line end that `message` uses in its first line: CRLF or LF."""
    return b"\r\n" if message.partition(b"\n")[0].endswith(b"\r") else b"\n"


def line_end_of(fields: list[bytes]) -> bytes:
    """Return the line end of a header: that of its first line."""
    return line_end(fields[0] if fields else b"")


def sift(stream: "BufferedReader | BytesIO") -> "Iterator[tuple[bytes, bool]]":
    """Yield the header as pieces of at most PIECE bytes, and whether each belongs to an X-Spam-* field.

    `stream` stands at the start of a message. The piece that ends the header is the last; what follows it is left
    in the stream. Memory does not grow with the header.
    """
    first = leading = line_start = True
    forged = False
    while piece := stream.readline(PIECE):
        if line_start and (first or piece[0] not in b" \t"):
            if not (_begins_field(piece) or (leading and is_mbox_line(piece))):
                yield piece, False
                return
            leading = leading and _is_above_header(piece)
            forged = is_spam_field(piece)
        yield piece, forged
        first, line_start = False, piece.endswith(b"\n")
