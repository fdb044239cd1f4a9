"""Token statistics of a row: tokens read and tokens with loss, by role."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from tutelage.tokenizer.chat import Rendered, Span


@dataclass(frozen=True)
class Reading:
    """Statistics of one row. `roles`: role -> (tokens read, tokens with loss); the template's own text has the role
    `template`, except for stop tokens, which belong to their answer.

    needs: the smallest `context_length` that keeps the row. answers: turns of the assistant, of which `learned` have a
    loss and `stopped` a loss on their stop token. double_start: the begin-of-text token is doubled.
    """

    needs: int
    roles: dict[str, tuple[int, int]]
    answers: int
    learned: int
    stopped: int
    double_start: bool = False

    @property
    def supervised(self) -> int:
        return sum(learned for _, learned in self.roles.values())


def starts_twice(rendered: Rendered) -> bool:
    return rendered.bos_id is not None and rendered.ids[:2] == [rendered.bos_id] * 2


def reading_of(rendered: Rendered, weight_at: Sequence[float], since: int = 0) -> Reading:
    """Statistics of a conversation, up to its last token with loss.

    since: number of initial tokens shared with another conversation, which are not counted again.
    """
    last = max(at for at, weight in enumerate(weight_at) if weight > 0)
    owner = ["template"] * len(rendered.ids)
    for span in rendered.spans:
        for at in tokens_of(span):
            owner[at] = span.role
    read = Counter(owner[since : last + 1])
    learned = Counter(who for who, weight in zip(owner, weight_at, strict=True) if weight > 0)
    answers = [span for span in rendered.spans if span.role == "assistant"]
    learns = [span for span in answers if any(weight_at[at] > 0 for at in tokens_of(span))]
    return Reading(
        needs=last + 1,
        roles={who: (read[who], learned[who]) for who in dict.fromkeys(owner[: last + 1])},
        answers=len(answers),
        learned=len(learns),
        stopped=sum(span.stop is not None and weight_at[span.stop] > 0 for span in learns),
        double_start=starts_twice(rendered),
    )


def tokens_of(span: Span) -> range:
    """The token indices of a message: its content and, for an answer, everything up to its stop token."""
    return range(span.start, span.end if span.stop is None else span.stop + 1)


def together(readings: Sequence[Reading]) -> Reading:
    """Combined statistics of a row with several conversations."""
    names = dict.fromkeys(name for one in readings for name in one.roles)
    roles = {name: [one.roles.get(name, (0, 0)) for one in readings] for name in names}
    return Reading(
        needs=max(one.needs for one in readings),
        roles={
            name: (sum(read for read, _ in all_), sum(learned for _, learned in all_)) for name, all_ in roles.items()
        },
        answers=sum(one.answers for one in readings),
        learned=sum(one.learned for one in readings),
        stopped=sum(one.stopped for one in readings),
        double_start=any(one.double_start for one in readings),
    )
