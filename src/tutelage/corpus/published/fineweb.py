"""FineWeb's own rules (Penedo et al. 2024, arXiv:2406.17557, section 3.6)."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tutelage.corpus.published.batch import TERMINALS, Lines, count_lines, flags_of, repeated, share, string_keys
from tutelage.corpus.published.gopher import Verdicts
from tutelage.corpus.words import total_of

ENDING, SHORT_LINES, SHORT, REPEATED_CHARS, NEWLINES_A_WORD = 0.12, 0.67, 30, 0.01, 0.3


def fineweb(lines: Lines) -> Verdicts:
    """Lines that end in no mark, short lines, characters in repeated lines, newlines for each word."""
    starts = lines.starts
    chars = pc.utf8_length(lines.text).to_numpy().astype(np.int64)
    filled = pc.utf8_length(pc.utf8_trim_whitespace(lines.text)).to_numpy() > 0
    count = count_lines(filled, starts)
    marks = pa.array(sorted(TERMINALS))
    ending = flags_of(pc.is_in(pc.utf8_slice_codeunits(lines.text, -1), marks))
    again = repeated(string_keys(lines.text), lines.owners) & filled
    words = total_of(lines.words, starts)
    return {
        "fineweb: empty": count == 0,
        "fineweb: lines end in no mark": share(count_lines(ending & filled, starts), count) < ENDING,
        "fineweb: short lines": share(count_lines((chars <= SHORT) & filled, starts), count) > SHORT_LINES,
        "fineweb: repeated lines": share(total_of(chars * again, starts), total_of(chars, starts)) > REPEATED_CHARS,
        "fineweb: lists": share(np.maximum(np.diff(starts) - 1, 0), words) > NEWLINES_A_WORD,
    }
