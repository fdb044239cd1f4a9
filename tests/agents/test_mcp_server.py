"""The server through the SDK's own client, in one process and over standard input and output."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mcp", reason="the MCP server needs the extra `agents`")

from mcp import Client, StdioServerParameters

from tutelage.agents.server import build

FAKE = (
    sys.executable,
    "-c",
    """
import json, sys, time
arguments = sys.argv[1:]
if any("slow" in one for one in arguments):
    print("step 1 of 9", file=sys.stderr, flush=True)
    time.sleep(30)
if any("loud" in one for one in arguments):
    print(json.dumps({"text": "x" * 5000}))
elif any("broken" in one for one in arguments):
    print("error: it is broken\\nhint: mend it", file=sys.stderr)
    sys.exit(1)
else:
    files = [open(one).read() for one in arguments if one.endswith(".jsonl")]
    print(json.dumps({"arguments": arguments, "stdin": sys.stdin.read(), "files": files}))
""",
)


def asked(root: Path, *calls: tuple[str, dict[str, Any]], write: bool = False, limit: int = 2000) -> list[Any]:
    """The answers to some calls, by a server whose command only says what it was given."""

    async def talk() -> list[Any]:
        async with Client(build(root, write, limit, FAKE)) as client:
            return [await _call(client, name, given) for name, given in calls]

    return asyncio.run(talk())


async def _call(client: Client, name: str, given: dict[str, Any]) -> Any:
    found = await client.call_tool(name, given)
    text = found.content[0].text  # type: ignore[union-attr]
    return text if found.is_error else json.loads(text)


def listed(root: Path, write: bool) -> dict[str, Any]:
    async def talk() -> dict[str, Any]:
        async with Client(build(root, write, 2000, FAKE)) as client:
            return {tool.name: tool for tool in (await client.list_tools()).tools}

    return asyncio.run(talk())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / "model").mkdir(parents=True)
    (tmp_path / "root" / "model" / "config.json").write_text("{}")
    (tmp_path / "root" / "recipe.yaml").write_text("name: mine\n")
    return tmp_path / "root"


READING = {"plan", "advise", "compare", "evaluate", "classify", "chat", "generate", "inspect"}


def test_without_leave_to_write_nothing_that_writes_is_offered(root: Path) -> None:
    tools = listed(root, write=False)
    assert set(tools) == READING
    assert all(tool.annotations.read_only_hint and tool.description for tool in tools.values())
    assert set(listed(root, write=True)) == READING | {"run", "ablate"}
    assert "wait" in tools["plan"].input_schema["properties"]


def test_a_tool_is_its_command(root: Path) -> None:
    plan, chat, generate, classify = asked(
        root,
        ("plan", {"recipe": "recipe.yaml", "set": ["seed=2"]}),
        ("chat", {"message": "--help", "model": "model"}),
        ("generate", {"prompt": "Once\nupon", "model": "model", "n": 2}),
        ("classify", {"texts": ["/etc/passwd", "two\nlines"], "model": "model"}),
    )
    assert plan["exit_code"] == 0
    assert plan["result"]["arguments"] == [
        "plan", f"--out={root}/runs", "--set=seed=2", "--json", "--", f"{root}/recipe.yaml"
    ]  # fmt: skip
    assert "--message=--help" in chat["result"]["arguments"]  # a value, never an option
    assert generate["result"]["stdin"] == "Once\nupon" and "--n=2" in generate["result"]["arguments"]
    rows = [json.loads(line)["text"] for line in classify["result"]["files"][0].splitlines()]
    assert rows == ["/etc/passwd", "two\nlines"]  # texts, never names of files


@pytest.mark.parametrize(
    ("tool", "given"),
    [
        ("plan", {"recipe": "../recipe.yaml"}),
        ("plan", {"set": ["corpus.source=/etc"]}),
        ("plan", {"runs": "/tmp"}),
        ("chat", {"message": "x", "model": "/etc"}),
        ("chat", {"message": "x", "model": "smollm2"}),
        ("compare", {"results": ["model", "../other"]}),
        ("evaluate", {"model": "model", "data": "/etc/passwd"}),
        ("inspect", {"path": ".."}),
        ("run", {"set": ["corpus.source=/etc"]}),
        ("ablate", {"vary": ["corpus.source=model,/etc"]}),
        ("ablate", {"vary": ["pretrain.training.learning_rat=1,2"]}),
    ],
)
def test_what_lies_outside_is_refused_before_anything_starts(root: Path, tool: str, given: dict[str, Any]) -> None:
    (found,) = asked(root, (tool, given), write=tool in ("run", "ablate"))
    assert found["meaning"] == "refused" and found["exit_code"] == 2 and "hint:" in found["error"] + "hint:"


def test_long_output_is_cut_and_said(root: Path) -> None:
    (found,) = asked(root, ("plan", {"set": ["name=loud"]}), limit=1000)
    assert found["truncated"] is True and found["characters"] > 5000 and len(found["text"]) == 1000


def test_an_error_has_its_reason(root: Path) -> None:
    (found,) = asked(root, ("plan", {"set": ["name=broken"]}))
    assert found == {
        "exit_code": 1, "meaning": "failed at run time", "error": "error: it is broken\nhint: mend it"
    }  # fmt: skip
    (refused,) = asked(root, ("plan", {"wait": -1}))
    assert "greater than or equal to 0" in refused


def test_a_long_command_is_joined_by_the_same_call_and_ends_with_the_server(root: Path) -> None:
    slow = ("run", {"set": ["name=slow"], "wait": 0.5})
    first, second = asked(root, slow, slow, write=True)  # would take a minute if the end did not end it
    assert first["status"] == second["status"] == "running"
    assert second["seconds"] >= first["seconds"] + 0.4 and "step 1 of 9" in second["last_lines"]


def test_inspect_reads_the_record_and_the_ledger(root: Path) -> None:
    folder = root / "runs" / "ablations" / "q"
    folder.mkdir(parents=True)
    (folder / "ablation.json").write_text('{"code": 3}')
    (folder / "ledger.jsonl").write_text('{"try": "a"}\n')
    found, none = asked(root, ("inspect", {"path": "runs/ablations/q"}), ("inspect", {"path": "runs"}))
    assert (found["result"], found["ledger"]) == ({"code": 3}, [{"try": "a"}])
    assert "not a run, artifact" in none["error"]


def over_stdio(root: Path, use: Callable[[Client], Awaitable[Any]]) -> Any:
    async def talk() -> Any:
        server = StdioServerParameters(
            command=sys.executable, args=["-m", "tutelage", "mcp", "--root", str(root)],
            env={name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
        )  # fmt: skip
        async with Client(server) as client:
            return await use(client)

    return asyncio.run(talk())


def test_the_real_server_over_standard_input_and_output(root: Path) -> None:
    async def use(client: Client) -> Any:
        assert "read-only" in str(client.instructions)
        return await _call(client, "inspect", {"path": "model"})

    assert over_stdio(root, use) == {"file": "config.json", "result": {}}


@pytest.mark.slow
def test_a_real_command_behind_the_real_server_leaves_nothing(root: Path) -> None:
    async def use(client: Client) -> Any:
        return await _call(client, "advise", {"set": ["corpus.source=recipe.yaml", "pretrain.training.grad_clip=9"]})

    found = over_stdio(root, use)
    assert found["exit_code"] == 0 and "grad-clip" in {item["rule"] for item in found["result"]}, found
    assert not (root / "runs").exists()
