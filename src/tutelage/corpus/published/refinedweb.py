"""Line rules of RefinedWeb (Penedo et al. 2023, arXiv:2306.01116, appendix G.2): navigation, counters, shouting."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tutelage.corpus.published.batch import Lines, flags_of, share
from tutelage.corpus.published.gopher import Verdicts
from tutelage.corpus.words import total_of

UPPERCASE, FEWEST_WORDS, SHORT, CLEANED = 0.5, 2, 10, 0.05
_COUNTED = "like|share|comment|retweet|repost|quote|bookmark|upvote|downvote|download|view|follower"
_COUNTER = rf"(?i)^\W*\d+([.,]\d+)?[km]?\s+({_COUNTED})s?\W*$"
_NAVIGATION = r"(?i)^sign[- ]in|read more\W*$|items? in cart"


def refinedweb(lines: Lines) -> tuple[Verdicts, Lines]:
    """(pages of whose words more than 5 % stand in lines that go, the lines that stay)."""
    trimmed = pc.utf8_trim_whitespace(lines.text)
    letters = pc.utf8_length(pc.replace_substring_regex(trimmed, r"[^\p{L}]", "")).to_numpy()
    capitals = pc.utf8_length(pc.replace_substring_regex(trimmed, r"[^\p{Lu}]", "")).to_numpy()
    filled = pc.utf8_length(trimmed).to_numpy() > 0
    goes = share(capitals, letters) > UPPERCASE
    goes |= letters == 0  # numbers and signs alone
    goes |= flags_of(pc.match_substring_regex(trimmed, _COUNTER))
    goes |= lines.words < FEWEST_WORDS
    goes |= (lines.words <= SHORT) & flags_of(pc.match_substring_regex(trimmed, _NAVIGATION))
    goes &= filled
    stays = ~goes
    words = total_of(lines.words, lines.starts)
    lost = total_of(lines.words * goes, lines.starts)
    starts = np.concatenate([[0], np.cumsum(stays)])[lines.starts]
    kept = np.flatnonzero(stays)
    left = Lines(lines.text.take(pa.array(kept)), starts, lines.words[kept], lines.sentences[kept])
    return {"refinedweb: lines cleaned away": share(lost, words) > CLEANED}, left
