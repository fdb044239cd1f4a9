"""The user's own finetuning data: read in every usual layout, accounted for row by row, and split."""

from tutelage.finetuning.data.audit import Audit
from tutelage.finetuning.data.conversations import read_conversations
from tutelage.finetuning.data.judged import judged_of, read_judged
from tutelage.finetuning.data.labelled import read_labelled
from tutelage.finetuning.data.preferences import read_preferences
from tutelage.finetuning.data.problems import problem_key, read_problems
from tutelage.finetuning.data.rows import Row, read_rows, write_rows
from tutelage.finetuning.data.split import Labels, Split, choose_labels, split, stratified_split
from tutelage.finetuning.data.texts import read_texts

__all__ = [
    "Audit", "Labels", "Row", "Split", "choose_labels", "judged_of", "problem_key", "read_conversations", "read_judged",
    "read_labelled", "read_preferences", "read_problems", "read_rows", "read_texts", "split", "stratified_split",
    "write_rows",
]  # fmt: skip
