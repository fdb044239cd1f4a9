"""Rules of thumb for a corpus."""

from __future__ import annotations

import math

from tutelage.store.stage import Facts, Finding, Rule

ENOUGH = 300  # held-out documents
LARGEST_SHARE = 0.2  # nobody gives away more of the text than this


def heldout(f: Facts) -> Finding | None:
    """Too few held-out documents to compare models by."""
    count, share = f["result.heldout_documents"], f["heldout"]
    if count >= ENOUGH:
        return None
    wanted = math.ceil(min(LARGEST_SHARE, share * 1.05 * ENOUGH / max(1, count)) * 1000) / 1000
    said = (
        f"{count:,} held-out documents: a share measured on them is known to "
        f"±{98 / math.sqrt(max(1, count)):.0f} points"
    )
    if wanted <= share:
        return "note", f"{said}; only more text helps", ""
    return "warning", f"{said}; hold out {ENOUGH} or more", f"--set {f['key']}.heldout={wanted:g}"


RULES = (
    Rule(
        "heldout",
        "At least 300 held-out documents",
        "standard error of a share near one half: 2.9 points at n = 300",
        ("key", "heldout", "result.heldout_documents"),
        heldout,
    ),
)


def rules() -> tuple[Rule, ...]:
    return RULES
