"""Rules of thumb for a corpus."""

from __future__ import annotations

import math

from tutelage.store.stage import Facts, Finding, Rule

ENOUGH = 300  # held-out documents
COPIED = 0.05  # of an own file's rows
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


def test_set(f: Facts) -> Finding | None:
    """The user's rows, some of which are held out, must not be read before."""
    from pathlib import Path

    from tutelage.corpus.contained import contained

    for key, file in f["life.files"].items():
        found, looked = contained(f["source"], Path(file).expanduser())
        if found and found >= COPIED * looked:
            return (
                "error",
                f"{found} of {looked} sampled rows of {key} ({file}) stand in the corpus ({f['source']}): what is held "
                "out of them has been trained on, and every figure on it is too good; keep them out of the corpus",
                "",
            )
    return None


RULES = (
    Rule(
        "test-in-corpus",
        "Less than 1 in 20 rows that are evaluated on stand in the text that is trained on",
        "Brown et al. 2020 (GPT-3), appendix C; Dodge et al. 2021",
        ("source", "life.files"),
        test_set,
    ),
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
