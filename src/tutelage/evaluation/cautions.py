"""What each measure of a life's evaluation does not say: part of its definition, kept with every figure and printed."""

from __future__ import annotations

_LIKELIHOOD = "How likely a text is says nothing of whether it is true or of use."
CAUTIONS: dict[str, tuple[str, ...]] = {
    "bits per byte": (
        _LIKELIHOOD,
        "Depends on the mix of domains and on how a text is cut into windows; compare on the same documents only.",
    ),
    "word order": ("Saturates early: n-grams get most of it right; it ranks weak models and no others.",),
    "answer loss": (_LIKELIHOOD, "Counts tokens, so that only models of one tokenizer can be compared by it."),
    "likelihood accuracy": ("That the better answer is likelier does not mean that it would be written.",),
    "chrF": (
        "Overlap with one reference: a good answer in other words scores low, a bad one in the same words high.",
        "A constant answer can score well; read it beside that.",
    ),
    "BLEU": ("Overlap with one reference; of few or short sentences it is noise. chrF is steadier.",),
    "ROUGE-L": ("Overlap with one reference, by words; long answers gain recall.",),
    "rule passed": ("A rule is a proxy: it can be passed without doing the task.",),
    "win rate": ("By a rule, which sees what it counts; the same rule made the preferences.",),
    "distinct-2": ("Noise is the most various text of all, and more text is less various: compare equal amounts.",),
    "repetition": ("Long texts repeat more than short ones.",),
    "loops": ("Cut by the limit of tokens, a loop longer than a third of it is not seen.",),
    "ends by itself": ("An answer that ends may be wrong, and a long one may be right.",),
    "accuracy": ("With one frequent label the majority class looks good; read macro-F1 and that beside it.",),
    "macro-F1": ("Every label counts the same: of a rare one a few texts decide.",),
    "micro-F1": ("Frequent labels decide it; read the label macro-F1 beside it.",),
    "label macro-F1": ("Every label counts the same: of a rare one a few texts decide.",),
    "exact match": ("All labels of a text or nothing: one of five missed counts as five missed.",),
    "solved": ("As good as the check of the answer; some are found by guessing, read the best constant beside it.",),
    "reward accuracy": ("Which of two answers is the better one, as the data say; length alone may tell it as well.",),
    "chosen margin": (_LIKELIHOOD, "Grows where the worse answer is unlearned, though the better one is too."),
    "general answers end": ("An answer that ends may be wrong, and a long one may be right.",),
    "calibration error": (
        "Depends on the bins and is biased upwards for few texts; a useless classifier can be well calibrated.",
    ),
    "mean absolute error": ("Treats the steps between labels as equal.",),
    "quadratic weighted kappa": ("Depends on how often each label occurs; compare on the same texts only.",),
}


def cautions_of(measure: str) -> list[str]:
    """Those of a measure; of "loops, sampled" or "bits per byte, own text" those of what stands before the comma."""
    return list(CAUTIONS.get(measure) or CAUTIONS.get(measure.split(", ")[0], ()))
