"""Whole conversations in one text: in the marks of a chat template, or as a transcript with the speakers' names.

Only a text that is nothing but turns of known roles is read so; the marks themselves are left out, as the template of
the model that is trained writes its own.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

Turn = dict[str, Any]

ROLES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "chatgpt": "assistant", "bot": "assistant", "model": "assistant",
    "ai": "assistant", "chatbot": "assistant", "gpt-4": "assistant", "gpt4": "assistant", "bing": "assistant",
    "bard": "assistant", "claude": "assistant",
}  # fmt: skip

_SPEAKER = re.compile(r"(?:^|\n\n)(Human|Assistant|System): ?")
_CHATML = re.compile(r"<\|im_start\|>[ \t]*(\w+)(?:\n|\Z)(.*?)(?:<\|im_end\|>|\Z)", re.DOTALL)
_LLAMA_3 = re.compile(r"<\|start_header_id\|>[ \t]*(\w+)[ \t]*<\|end_header_id\|>(.*?)(?:<\|eot_id\|>|\Z)", re.DOTALL)
_GEMMA = re.compile(r"<start_of_turn>[ \t]*(\w+)(?:\n|\Z)(.*?)(?:<end_of_turn>|\Z)", re.DOTALL)
_ZEPHYR = re.compile(
    r"<\|(system|user|assistant)\|>[ \t]*\n(.*?)(?=<\|(?:system|user|assistant)\|>[ \t]*\n|\Z)", re.DOTALL
)
_GUANACO = re.compile(r"### ?(System|Human|User|Assistant): ?")
_LLAMA = re.compile(r"\[INST\](.*?)\[/INST\](.*?)(?=<s>|\[INST\]|\Z)", re.DOTALL)
_LLAMA_SYSTEM = re.compile(r"\s*<<SYS>>(.*?)<</SYS>>", re.DOTALL)
_ALPACA = re.compile(r"^### ?(Instruction|Input|Response|Output|Answer):?[ \t]*", re.MULTILINE)
_ALPACA_SAYS = "Below is an instruction that describes a task"  # what Alpaca's prompt begins with; no one's own words
_NAMED = re.compile(r"^(System|SYSTEM|User|USER|Human|HUMAN|Assistant|ASSISTANT):[ \t]*", re.MULTILINE)
_BEGIN = ("<s>", "<bos>", "<|begin_of_text|>", "<|startoftext|>")
_END = ("</s>", "<eos>", "<|endoftext|>", "<|end_of_text|>", "<|eot_id|>", "<|end|>", "### End")


def marked_turns(text: str) -> tuple[str, list[Turn]] | None:
    """(layout, turns) of a text that is a whole conversation; None where it is none, or a role is not known."""
    text = _without(text.strip())
    if turns := transcript(text):
        return "transcript", turns
    kind, said = _in_marks(text) or ("", [])
    if not said or any(role.lower() not in ROLES for role, _ in said):
        return None
    bare = [(ROLES[role.lower()], _ended(content)) for role, content in said]
    return f"{kind} text", [{"role": role, "content": content} for role, content in bare if content]


def _in_marks(text: str) -> tuple[str, Sequence[tuple[str, str]]] | None:
    for kind, opening, pattern in (("ChatML", "<|im_start|>", _CHATML), ("Llama 3", "<|start_header_id|>", _LLAMA_3),
                                   ("Gemma", "<start_of_turn>", _GEMMA)):  # fmt: skip
        if text.startswith(opening):
            return kind, _only(pattern, opening, text)
    if _ZEPHYR.match(text):
        return "<|user|> / <|assistant|>", _ZEPHYR.findall(text)
    if _GUANACO.match(text):
        parts = _GUANACO.split(text)[1:]
        return "### Human / ### Assistant", list(zip(parts[::2], parts[1::2], strict=True))
    if text.startswith("[INST]"):
        return "[INST]", _llama(text)
    if (said := _alpaca(text)) is not None:
        return "### Instruction / ### Response", said
    if (said := _named(text)) is not None:
        return "User: / Assistant:", said
    return None


def _only(pattern: re.Pattern[str], opening: str, text: str) -> list[tuple[str, str]]:
    """The two groups of each match; none at all where text stands outside of them, or a turn is left open."""
    found = [(first, second) for first, second in pattern.findall(text)]
    outside = pattern.sub("", text)
    for mark in (*_BEGIN, *_END):
        outside = outside.replace(mark, "")
    return [] if outside.strip() or any(opening in part for pair in found for part in pair) else found


def _llama(text: str) -> list[tuple[str, str]]:
    turns: list[tuple[str, str]] = []
    for asked, answered in _only(_LLAMA, "[INST]", text):
        if system := _LLAMA_SYSTEM.match(asked):
            turns.append(("system", system[1]))
            asked = asked[system.end() :]
        turns += [("user", asked), ("assistant", answered)]
    return turns


def _alpaca(text: str) -> list[tuple[str, str]] | None:
    """Turns of "### Instruction: ... ### Input: ... ### Response: ..."; None where there is not just that, in that
    order. What stands above them is a system prompt, except for Alpaca's own words."""
    above, *parts = _ALPACA.split(text)
    names, contents = parts[::2], parts[1::2]
    if names[:1] != ["Instruction"]:
        return None
    turns = [] if not above.strip() or above.startswith(_ALPACA_SAYS) else [("system", above)]
    for place, (name, content) in enumerate(zip(names, contents, strict=True)):
        if name == "Input":
            if names[place - 1] != "Instruction":
                return None
            if content.strip():
                turns[-1] = ("user", f"{turns[-1][1].rstrip()}\n{content.strip()}")
        else:
            turns.append(("user" if name == "Instruction" else "assistant", content))
    roles = [role for role, _ in turns if role != "system"]
    return turns if roles == ["user", "assistant"] * (len(roles) // 2) else None


def _named(text: str) -> list[tuple[str, str]] | None:
    """Turns of lines that begin with "User:" and "Assistant:"; None unless these two take turns from the start on."""
    above, *parts = _NAMED.split(text)
    turns = list(zip(parts[::2], parts[1::2], strict=True))
    roles = [ROLES[name.lower()] for name, _ in turns if name.lower() != "system"]
    whole = len(roles) > 1 and roles == (["user", "assistant"] * len(roles))[: len(roles)]
    return turns if whole and not above.strip() else None


def _without(text: str) -> str:
    """Without the mark that begins a text."""
    for mark in _BEGIN:
        text = text.removeprefix(mark).lstrip()
    return text


def _ended(text: str) -> str:
    """Without outer white space and the marks that end a turn or a text."""
    text = text.strip()
    while mark := next((mark for mark in _END if text.endswith(mark)), None):
        text = text.removesuffix(mark).rstrip()
    return text


def transcript(text: str) -> list[Turn] | None:
    """Turns of "Human: ...\\n\\nAssistant: ..." (HH-RLHF); None where the text is not written so.

    The empty turn of an assistant who is about to answer is left out.
    """
    text = text.strip()
    if not (text.startswith(("Human:", "System:")) and "\n\nAssistant:" in text):
        return None
    parts = _SPEAKER.split(text)[1:]
    turns: list[Turn] = []
    for speaker, content in zip(parts[::2], parts[1::2], strict=True):
        if not content.strip():
            continue
        role = ROLES[speaker.lower()]
        if turns and turns[-1]["role"] == role:
            turns[-1]["content"] += "\n\n" + content.strip()
        else:
            turns.append({"role": role, "content": content.strip()})
    return turns
