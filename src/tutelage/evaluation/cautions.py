"""The known limits of each measure: part of its definition, stored and printed with every figure."""

from __future__ import annotations

_LIKELIHOOD = "The likelihood of a text says nothing about whether it is true or useful."
CAUTIONS: dict[str, tuple[str, ...]] = {
    "bits per byte": (
        _LIKELIHOOD,
        "Depends on the domain mix and on how texts are split into windows; compare only on the same documents.",
    ),
    "word order": ("Saturates early: n-grams get most of it right, so it only ranks weak models.",),
    "answer loss": (_LIKELIHOOD, "Averaged per token, so only models with the same tokenizer can be compared."),
    "likelihood accuracy": ("A model that ranks the better answer higher does not necessarily generate it.",),
    "chrF": (
        "Overlap with one reference: a correct paraphrase scores low, a wrong answer in the same words scores high.",
        "A constant answer can score well; compare with that baseline.",
    ),
    "BLEU": ("Overlap with one reference; noisy for few or short sentences. chrF is more stable.",),
    "ROUGE-L": ("Word overlap with one reference; long answers gain recall.",),
    "rule passed": ("A rule is a proxy: an answer can pass it without doing the task.",),
    "win rate": ("Judged by a rule, which only sees what it counts; the same rule made the preferences.",),
    "distinct-2": ("Noise has the highest diversity, and diversity falls with length: compare equal amounts of text.",),
    "repetition": ("Long texts repeat more than short ones.",),
    "loops": ("Answers are truncated at the token limit, so a loop longer than a third of it is not detected.",),
    "ends by itself": ("An answer that ends may be wrong, and a long one may be right.",),
    "accuracy": ("A frequent label makes the majority class look good; also read macro-F1 and that baseline.",),
    "macro-F1": ("Every label counts the same, so a few texts decide the score of a rare one.",),
    "micro-F1": ("Frequent labels dominate; also read the label macro-F1.",),
    "label macro-F1": ("Every label counts the same, so a few texts decide the score of a rare one.",),
    "exact match": ("All or nothing: missing one of five labels counts the same as missing all five.",),
    "solved": ("Only as good as the answer check; guesses can pass, so compare with the best constant answer.",),
    "reward accuracy": ("Agreement with the preference labels; answer length alone may predict them as well.",),
    "chosen margin": (_LIKELIHOOD, "Also grows when both answers become less likely, the rejected one more so."),
    "general answers end": ("An answer that ends may be wrong, and a long one may be right.",),
    "calibration error": (
        "Depends on the bins and is biased upwards for small samples; a useless classifier can be well calibrated.",
    ),
    "mean absolute error": ("Treats the steps between labels as equal.",),
    "quadratic weighted kappa": ("Depends on the label frequencies; compare only on the same texts.",),
}


def cautions_of(measure: str) -> list[str]:
    """Cautions of a measure; "loops, sampled" and "bits per byte, own text" use those of the part before the comma."""
    return list(CAUTIONS.get(measure) or CAUTIONS.get(measure.split(", ")[0], ()))
