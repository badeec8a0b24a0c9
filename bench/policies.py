"""Settings with policies as a large site might have them, made by a fixed pattern: many recipients, long lists."""

from bench.scene import HERE, RECIPIENT

BLOCKS, LISTED = 500, 10_000
# A block for one address, with two keys.
BLOCK = """
[[recipients]]
match = ["{}"]
tag2_level = {}
kill_level = {}
"""


def plain() -> str:
    """Return settings without policies; what the others return comes after them."""
    return (HERE / "pf-spamfilt.toml").read_text(encoding="utf-8")


def blocks() -> str:
    """Return BLOCKS of [[recipients]]; the benchmarks' recipient is in the last one."""
    addresses = [*(f"user{number:04}@example.com" for number in range(1, BLOCKS)), RECIPIENT]
    return "".join(BLOCK.format(each, 4 + number % 5, 10 + number % 7) for number, each in enumerate(addresses))


def lists() -> str:
    """Return [policy] with LISTED senders on either list, none of them the benchmarks' sender."""
    return f"\n[policy]\nwelcome_senders = [{_senders('person')}]\nblock_senders = [{_senders('offers')}]\n"


def _senders(name: str) -> str:
    return ", ".join(f'"{name}{number:05}@mail{number % 997:03}.example"' for number in range(LISTED))
