"""On what machine and with which programs a run was made: ratios of different machines are not comparable either."""

import os
from pathlib import Path

from bench import amavis
from bench.scene import Scene
from lab.tools import run


def describe(scene: Scene) -> list[str]:
    """Return lines for the head of the table."""
    cores = len(os.sched_getaffinity(0))
    python = scene.in_interpreter("print(sys.version.split()[0])").strip()
    version = scene.in_interpreter("import pf_spamfilt; print(pf_spamfilt.__version__)").strip()
    postfix = run(["postconf", "-h", "mail_version"]).strip()
    spamassassin = run(["spamd", "--version"]).splitlines()[0].split()[-1]
    amavisd = f"; {amavis.version()}" if scene.with_amavis else ""
    return [
        f"machine:  {processor()}, {cores} core{'s' if cores > 1 else ''}",
        f"system:   {os.uname().sysname} {os.uname().release}; load at the start {os.getloadavg()[0]:.1f}",
        f"programs: pf-spamfilt {version}, Python {python}, Postfix {postfix}",
        f"scanner:  SpamAssassin {spamassassin} with {scene.rules}{amavisd}",
        f"rounds:   {scene.rounds}{', quick' if scene.quick else ''}",
    ]


def processor() -> str:
    """Return the processor's name as the kernel tells it, or the architecture."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith(("model name", "Model")):
            return " ".join(line.partition(":")[2].split())
    return os.uname().machine
