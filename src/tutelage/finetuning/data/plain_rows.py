"""The readers without their account, for callers that take rows alone."""

from __future__ import annotations

from pathlib import Path

from tutelage.finetuning.data.conversations import read_conversations
from tutelage.finetuning.data.labelled import read_labelled
from tutelage.finetuning.data.preferences import read_preferences
from tutelage.finetuning.data.rows import Row
from tutelage.store.events import EventLog


def labelled_rows(path: Path, log: EventLog) -> list[Row]:
    return read_labelled(path, log)[0]


def conversation_rows(path: Path, log: EventLog) -> list[Row]:
    return read_conversations(path, log)[0]


def preference_rows(path: Path, log: EventLog) -> list[Row]:
    return read_preferences(path, log)[0]
