"""The scene of faults in policies: whose domain says what he wants of spam, and what is due to him then.

Every message is spam, score 6.0 of 5.0. Safe is that each recipient gets what he is due, the quarantine first, or that
Postfix tries again.
"""

from lab.judgement import Due
from lab.messages import CLEAN
from lab.stage import GOOD_SENDMAIL, Fault

SENDER, ADMIN = b"sender@example.com", b"admin@here.example"
QUARANTINE, SECOND = b"quarantine@here.example", b"second@here.example"
UNTAGGED, TAGGED = b"Subject: the quick", b"Subject: [SPAM] the quick"
UNSCANNED = Due(scanned=False, field=b"X-Spam-Unscanned: ")
REFUSED = Due(delivered=False, told=True)
DISCARDED = Due(delivered=False)
_KEPT = f'quarantine = "{QUARANTINE.decode()}"'

# The keys of each domain's block, and what is due there.
BLOCKS: dict[str, tuple[str, Due]] = {
    "plain": ('kill_level = "never"', Due(field=UNTAGGED)),
    "tagged": ('kill_level = "never"\nsubject_tag = "[SPAM]"', Due(field=TAGGED)),
    "clean": ('kill_level = "never"\ntag2_level = 9', Due(field=b"X-Spam-Status: No, score=6.0 required=9.0")),
    "bypass": ("bypass = true", Due(field=UNTAGGED, scanned=False)),
    "discard": ('destiny = "discard"', DISCARDED),
    "kept": (f'destiny = "discard"\n{_KEPT}', Due(delivered=False, quarantine=QUARANTINE)),
    "also": (f'destiny = "discard"\nquarantine = "{SECOND.decode()}"', Due(delivered=False, quarantine=SECOND)),
    "watched": (_KEPT, Due(quarantine=QUARANTINE, field=UNTAGGED)),
    "refused": ('destiny = "bounce"', REFUSED),
    "kept-refused": (f'destiny = "bounce"\n{_KEPT}', Due(delivered=False, told=True, quarantine=QUARANTINE)),
    "reported": (f'destiny = "discard"\nadmin = "{ADMIN.decode()}"', DISCARDED),
    "warned": ('destiny = "discard"\nwarn_sender = true', DISCARDED),
}
POLICY = "[policy]\nkill_level = 6\n" + "".join(
    f'[[recipients]]\nmatch = ["{domain}.example"]\n{keys}\n' for domain, (keys, _) in BLOCKS.items()
)


def recipient(domain: str) -> bytes:
    """Return the recipient in a domain."""
    return b"user@" + domain.encode() + b".example"


def due(domain: str) -> Due:
    """Return what is due to the recipient in a domain."""
    return BLOCKS[domain][1]


def with_policy(keys: str) -> str:
    """Return the settings of all domains, with these keys in [policy]."""
    return POLICY.replace("[policy]\n", f"[policy]\n{keys}\n")


def fault(name: str, *domains: str, **what: object) -> Fault:
    """Return a fault that is played for the recipients of these domains; `dues` are those that differ from BLOCKS."""
    dues = {recipient(domain): due(domain) for domain in domains} | what.pop("dues", {})  # type: ignore[operator]
    scene: dict[str, object] = {
        "family": "policies",
        "recipients": tuple(map(recipient, domains)),
        "dues": dues,
        "notices": (SENDER, ADMIN),
        "policy": POLICY,
        "spamc": "spam",
        "message": CLEAN,
        "only_ours": True,
    }
    return Fault(name=name, **(scene | what))  # type: ignore[arg-type]


def sendmail_for(pattern: str, body: str) -> str:
    """Return a sendmail that does `body` when a pattern of the shell fits its arguments, and else its work."""
    return f'case "$*" in {pattern}) {body} ;; esac\n{GOOD_SENDMAIL}'
