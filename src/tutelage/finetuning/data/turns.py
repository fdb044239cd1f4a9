"""Turns of a conversation from the layouts people have: OpenAI messages, ShareGPT, alpaca, prompts, transcripts.

A turn is {"role", "content"} and, where a part of the answer is not learned, "weight"; an answer that calls tools has
"tool_calls", and what a tool gave back has the role "tool". See `finetuning/data/tools.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tutelage.finetuning.data.audit import Findings
from tutelage.finetuning.data.fields import Fields, is_empty, text_of
from tutelage.finetuning.data.templated import ROLES, Turn, marked_turns, transcript
from tutelage.finetuning.data.tools import calls_of, parsed, result_text

RESULTS = ("tool", "observation", "function", "function_response", "ipython", "tool_response")  # what a tool gave back
CALLS = ("function_call", "tool_call")  # ShareGPT: a call is a turn of its own
PROMPT = ("prompt", "question", "query", "user", "input", "human", "inputs", "input_text")
INSTRUCTION = ("instruction", "instructions")
INPUT = ("input", "context")
RESPONSE = ("response", "completion", "answer", "output", "assistant", "reply", "gpt", "bot", "targets", "output_text",
            "answers")  # fmt: skip
SYSTEM = ("system", "system_prompt")
MESSAGES = ("messages",)
CONVERSATIONS = ("conversations", "conversation", "dialogue", "dialog")
FIELDS = (*PROMPT, *INSTRUCTION, *INPUT, *RESPONSE, *SYSTEM, *MESSAGES, *CONVERSATIONS, "history", "tools")
_NO_INPUT = ("nan", "none", "null", "n/a", "na", "<noinput>", "noinput", "no input")  # as tools write nothing
NO_TOOLS = "it defines or calls tools, which pairs cannot do here"

_ROLE = ("role", "from", "speaker", "author")
_SAID = ("content", "value", "text")
_USED_IN_TURN = (*_ROLE, *_SAID, "weight", "train", "trained", "training", "tool_calls",
                 "function_call", "tool_call_id")  # fmt: skip


def prompt_turns(fields: Fields, found: Findings) -> tuple[str, list[Turn]]:
    """(layout, turns up to the last question) of a record that gives its question apart from its answer."""
    if fields.has(*INSTRUCTION) and not fields.named("prompt"):
        prompt = fields.take_text(*INSTRUCTION)
        extra = fields.take(*INPUT)
        if not is_empty(extra):
            if (said := text_of(extra, "input")).lower() in _NO_INPUT:
                found.noted[f"'input' is {said!r}, which may stand for none, and is read as text"] += 1
            prompt = f"{prompt}\n{said}"
        return "alpaca", [*history_turns(fields), {"role": "user", "content": prompt}]
    if fields.has(*PROMPT):
        value = fields.take(*PROMPT)
        if isinstance(value, str) and (turns := transcript(value)):
            return "transcript", [*history_turns(fields), *turns]
        if holds_messages(value):
            return "prompt as messages", turns_of(value, found)
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
            value = value[0]
        prompt, extra = text_of(value, "prompt"), fields.take("context")
        if not is_empty(extra):
            prompt = f"{prompt}\n{text_of(extra, 'context')}"
        return "prompt", [*history_turns(fields), {"role": "user", "content": prompt}]
    if any(fields.has(*names) for names in (MESSAGES, CONVERSATIONS)):
        return "messages", turns_of(fields.take(*MESSAGES, *CONVERSATIONS), found)
    return "prompt", [{"role": "user", "content": fields.take_text(*PROMPT)}]


def answer_turns(value: Any, name: str, found: Findings) -> list[Turn]:
    """The answer: a text, one message, or a list of them that ends with the assistant's."""
    if holds_messages(value):
        turns = turns_of(value, found)
        if not turns or turns[-1]["role"] != "assistant":
            raise ValueError(f"{name!r} does not end with an answer")
        return turns
    if isinstance(value, dict) and isinstance(value.get("text"), list):  # SQuAD: {"text": [...], "answer_start": [...]}
        value = value["text"]
    if isinstance(value, list) and value and all(isinstance(one, (str, int, float)) for one in value):
        if len(value) > 1:
            found.noted["of several answers in one field the first is taken"] += 1
        value = value[0]
    return [{"role": "assistant", "content": text_of(value, name)}]


def history_turns(fields: Fields) -> list[Turn]:
    """Earlier exchanges in an alpaca row's `history`: a list of [question, answer]."""
    value = parsed(fields.take("history"))
    if is_empty(value):
        return []
    if not isinstance(value, list) or not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in value):
        raise ValueError("'history' is not a list of [question, answer]")
    turns: list[Turn] = []
    for question, answer in value:
        turns += [{"role": "user", "content": text_of(question, "history")},
                  {"role": "assistant", "content": text_of(answer, "history")}]  # fmt: skip
    return turns


def with_system(fields: Fields, turns: list[Turn]) -> list[Turn]:
    """The turns after the record's own system prompt. Raises ValueError where two different ones are given."""
    value = fields.take(*SYSTEM)
    if is_empty(value):
        return turns
    system = text_of(value, "system")
    if turns and turns[0]["role"] == "system":
        if turns[0]["content"] != system:
            raise ValueError("two different system prompts")
        return turns
    return [{"role": "system", "content": system}, *turns]


def refuse_tools(fields: Fields, sides: Sequence[Sequence[Turn]] = ()) -> None:
    """Raise ValueError where a row of pairs defines tools, or one of its turns calls one."""
    called = any("tool_calls" in turn or turn["role"] == "tool" for side in sides for turn in side)
    if called or not is_empty(parsed(fields.take("tools", "functions"))):
        raise ValueError(NO_TOOLS)


def turns_of(value: Any, found: Findings) -> list[Turn]:
    """Turns of a list of messages, {"role","content"} or {"from","value"}. Raises ValueError."""
    value = parsed(value)
    messages = [value] if isinstance(value, dict) else value
    if isinstance(messages, list) and len(messages) > 1 and all(isinstance(one, str) for one in messages):
        found.noted["messages without roles are read as user and assistant in turn"] += 1
        messages = [{"role": ("user", "assistant")[place % 2], "content": one} for place, one in enumerate(messages)]
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise ValueError("messages are not a list of objects")
    turns: list[Turn] = []
    for message in [part for one in messages for part in _exchange(_lower(one))]:
        turn = _turn(message, found)
        if turn is None:  # a message without content (an empty system prompt, as ShareGPT files have it) says nothing
            continue
        last = turns[-1] if turns else {}
        if (
            message.get("from") in CALLS
            and last.get("role") == "assistant"
            and last.get("weight") == turn.get("weight")
        ):
            # ShareGPT writes a call, or several at once, as turns of their own: they are one answer.
            last["tool_calls"] = [*last.get("tool_calls", ()), *turn["tool_calls"]]
        else:
            turns.append(turn)
    return turns


def _lower(message: dict[str, Any]) -> dict[str, Any]:
    """A message whose keys are in lower case, as the fields of a record may be in any."""
    return {key.strip().lower(): value for key, value in reversed(message.items())}


def _exchange(message: dict[str, Any]) -> list[dict[str, Any]]:
    """A message; those of a question with its answer in one object ({"human", "assistant"}, and the like)."""
    if any(name in message for name in _ROLE):
        return [message]
    pair = Fields(message)
    if not (pair.has(*PROMPT) and pair.has(*RESPONSE)):
        return [message]
    asked, answered = pair.take(*PROMPT), pair.take(*RESPONSE)
    system = [{"role": "system", "content": pair.take(*SYSTEM)}] if pair.has(*SYSTEM) else []
    return [*system, {"role": "user", "content": asked}, {"role": "assistant", "content": answered}]


def whole_text(fields: Fields) -> tuple[str, list[Turn]] | None:
    """(layout, turns) of a record whose `text` is a whole conversation in a template's marks, where it has nothing else
    to learn from; None where it is none."""
    if fields.has(*PROMPT, *INSTRUCTION, *RESPONSE) or not isinstance(text := fields.peek("text"), str):
        return None
    if (found := marked_turns(text)) is not None:
        fields.take("text")
    return found


def _turn(message: dict[str, Any], found: Findings) -> Turn | None:
    said = next((message[key] for key in _ROLE if key in message), None)
    name = str(said).strip().lower()
    value = next((message[key] for key in _SAID if key in message), None)
    calls = calls_of(message, value if name in CALLS else None)
    role = "assistant" if name in CALLS else "tool" if name in RESULTS else ROLES.get(name)
    if role is None:
        raise ValueError(f"unknown role {said!r} (known: system, user, assistant, tool, and the like)")
    if calls and role != "assistant":
        raise ValueError(f"a {role} message calls a tool")
    # What a tool gives back may be an object, which is then read as the JSON it is.
    content = "" if name in CALLS else result_text(value) if role == "tool" else _content(value)
    if not content.strip() and role == "system":
        found.noted["empty system prompts left out"] += 1
        return None
    if not content.strip() and not is_empty(message.get("refusal")):
        raise ValueError("a refusal instead of an answer")
    turn: Turn = {
        "role": role,
        "content": content.strip() if calls and not content.strip() else text_of(content, "content"),
    }
    if calls:
        turn["tool_calls"] = calls
    turn |= {key: str(message[key]) for key in ("tool_call_id", "name") if role == "tool" and message.get(key)}
    weight = _weight(message)
    if role == "assistant" and weight != 1:
        turn["weight"] = weight
    elif weight not in (0, 1) or (weight == 0 and role != "assistant"):
        found.noted["messages that no one learns from carry a weight"] += 1
    used = {*_USED_IN_TURN, *turn}
    found.unused.update(f"messages.{key}" for key, item in message.items() if key not in used and not is_empty(item))
    return turn


def _content(value: Any) -> str:
    """The text of a message, which may come in parts. Raises ValueError for a part that is not text."""
    if value is None:
        return ""
    if isinstance(value, list):
        texts = []
        for part in value:
            kind = part.get("type", "text") if isinstance(part, dict) else "text"
            text = part.get("text") if isinstance(part, dict) else part
            if kind not in ("text", "input_text", "output_text") or not isinstance(text, str):
                raise ValueError(f"a part of a message is {kind!r}, not text")
            texts.append(text)
        return "".join(texts)
    return value if isinstance(value, str) else text_of(value, "content")


def _weight(message: dict[str, Any]) -> float:
    """How much an answer is learned: `weight` (OpenAI), or `train` and the like false (axolotl); 1 by default."""
    for key in ("trained", "train", "training"):
        if message.get(key) is False:
            return 0.0
    value = message.get("weight")
    if value is None:
        return 1.0
    if not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ValueError("'weight' of a message is not between 0 and 1")
    return float(value)


def holds_messages(value: Any) -> bool:
    """Whether a value, or the JSON in a text, is one message or a list of them; other JSON is a text like any."""
    value = parsed(value)
    messages = [value] if isinstance(value, dict) else value
    if not isinstance(messages, list) or not messages:
        return False
    return all(isinstance(message, dict) and any(key in _ROLE for key in _lower(message)) for message in messages)
