"""Clients that people use, through Holdfast: what each is told equals what its engine tells it,
also when that engine dies; errors, retries and aborts come out as each client has them.

A client runs as a process of its own (tools/install.sh put it outside of the repository) that gets
a call and gives back every event that it saw, all in JSON.
"""
import asyncio
import dataclasses
import json
import os
import pathlib

import pytest
from harness import CHAT, COMPLETIONS, DEADLINE, eventually, world

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("HOLDFAST_CACHE") or pathlib.Path.home() / ".cache/holdfast")
PYTHON = CACHE / "clients/python/bin/python"
NODE = CACHE / "clients/node"
# Twice what a client may need on a busy machine: Node and LangChain take seconds to start.
CLIENT_DEADLINE = 4 * DEADLINE


@dataclasses.dataclass
class Client:
    name: str
    command: list
    paths: tuple = ("chat",)
    tries: int = 3  # of a call that is refused with 503, with two retries


CLIENTS = [
    Client("openai-python", [PYTHON, HERE / "openai_python.py"], ("chat", "completions")),
    Client("openai-node", ["node", HERE / "openai_node.mjs"], ("chat", "completions")),
    Client("langchain", [PYTHON, HERE / "langchain_python.py"]),
    Client("vercel-ai", ["node", HERE / "vercel_ai.mjs"]),
]
each_client = pytest.mark.parametrize("client", CLIENTS, ids=lambda c: c.name)
each_dialect = pytest.mark.parametrize("dialect", ["vllm", "llama.cpp"])
# What names one run and not another. AI SDK: its own ids and times.
RUN = {"id", "created", "timestamp", "response_id", "messageId", "headers", "request_id",
       "_request_id", "toolCallId", "tool_call_id"}
TOOLS = {"tools": [{"type": "function", "function": {
    "name": "look_up", "description": "Looks a word up.",
    "parameters": {"type": "object", "properties": {"word": {"type": "string"}},
                   "required": ["word"]}}}],
    "tool_choice": {"type": "function", "function": {"name": "look_up"}}}


def make_call(path, stream, **extra):
    body = {"model": "m", "temperature": 0, "max_tokens": 60, "stream": stream}
    words = "Tell of the sea, 日本 🎉 and привет."
    body |= ({"messages": [{"role": "user", "content": words}]} if path == "chat"
             else {"prompt": words})
    if stream:
        body["stream_options"] = {"include_usage": True}
    return path, body | extra


async def run(client, port, path, body, retries=0, abort_after=0):
    job = {"url": f"http://127.0.0.1:{port}", "path": path, "body": body, "retries": retries,
           "abort_after": abort_after}
    environment = {k: v for k, v in os.environ.items()
                   if not k.startswith(("OPENAI_", "LANGCHAIN_", "LANGSMITH_"))}
    environment |= {"HOLDFAST_NODE_CLIENTS": str(NODE), "NO_PROXY": "127.0.0.1",
                    "no_proxy": "127.0.0.1"}
    child = await asyncio.create_subprocess_exec(
        *map(str, client.command), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE, env=environment)
    talk = child.communicate(json.dumps(job).encode())
    try:
        out, errors = await asyncio.wait_for(talk, CLIENT_DEADLINE)
    except asyncio.TimeoutError:
        child.kill()
        raise
    assert child.returncode == 0, f"{client.name}: {errors.decode()[-2000:]}"
    return json.loads(out)


def comparable(value, key=""):
    """Without what differs from run to run; LangChain's chunk ids and the SDKs' call ids too."""
    if isinstance(value, dict):
        if key == "timings":  # of llama.cpp: the figures are the run's, which there are is not
            return sorted(value)
        return {k: comparable(v, k) for k, v in value.items() if k not in RUN}
    return [comparable(v) for v in value] if isinstance(value, list) else value


def text_of(value):
    """All text that a client would show, in order, whatever it calls the field."""
    if isinstance(value, list):
        return "".join(map(text_of, value))
    if not isinstance(value, dict):
        return ""
    if value.get("type") in ("text-start", "text-end", "finish-step", "finish", "raw"):
        return ""
    own = "".join(value[k] for k in ("text", "content") if isinstance(value.get(k), str))
    return own + "".join(text_of(v) for k, v in value.items() if k in ("choices", "delta",
                                                                       "message", "content"))


def test_clients_are_installed():
    assert PYTHON.exists() and (NODE / "node_modules").exists(), "run tools/install.sh"


@each_dialect
@each_client
async def test_a_faultless_run_is_the_engines_field_by_field(tmp_path, client, dialect):
    async with world(tmp_path, dialect, engines=2, itl_ms=1) as w:
        calls = [make_call(path, stream) for path in client.paths for stream in (True, False)]
        calls += [make_call("chat", stream, **TOOLS) for stream in (True, False)]
        for path, body in calls:
            want, got = [await run(client, port, path, body)
                         for port in (w.oracle.port, w.frontend.port)]
            assert want["error"] is None and want["events"], want
            assert comparable(got) == comparable(want), (path, body)
            if body["stream"]:
                assert len(want["events"]) > 5
        assert not w.orphans(await w.log_lines(len(calls)))


@each_client
async def test_a_killed_engine_is_not_seen(tmp_path, client):
    flags = {"serve": ["--resume-hold", "10m", "--token-limit", "10m"]}
    async with world(tmp_path, "vllm", engines=2, itl_ms=5, **flags) as w:
        path, body = make_call("chat", True, max_tokens=100)
        want = await run(client, w.oracle.port, path, body)
        w.engines[1].kill()
        await w.ready(1)
        await w.fault(0, kind="die", how="sigkill", after_tokens=30)
        running = asyncio.create_task(run(client, w.frontend.port, path, body))
        await eventually("the only engine died under the stream",
                         lambda: w.engines[0].child.poll() is not None or running.done(),
                         CLIENT_DEADLINE)
        assert not running.done(), await running
        w.restart_engine(1, itl_ms=5)
        got = await running
        assert got["error"] is None, got["error"]
        assert text_of(got["events"]) == text_of(want["events"]) != ""
        assert comparable(got["events"][-1]) == comparable(want["events"][-1])
        assert [l["modes"] for l in await w.log_lines(1)] == [["tokens"]]
        await w.counters_are_zero()


@each_client
async def test_an_answer_that_cannot_go_on_is_an_error_and_not_retried(tmp_path, client):
    async with world(tmp_path, "vllm", engines=1, itl_ms=5, serve=["--resume-hold", "1s"]) as w:
        path, body = make_call("chat", True, max_tokens=100)
        await w.fault(0, kind="die", how="sigkill", after_tokens=30)
        got = await run(client, w.frontend.port, path, body, retries=2)
        assert got["error"], got["events"][-3:]
        assert len(got["events"]) > 3  # it was well under way
        lines = await w.log_lines(1)
        assert len(lines) == 1 and lines[0]["status"] == 200, lines


@each_client
async def test_no_worker_is_503_and_retried_as_the_client_does(tmp_path, client):
    async with world(tmp_path, "vllm", engines=1, serve=["--admission-hold", "100ms"]) as w:
        w.engines[0].kill()
        await w.ready(0)
        got = await run(client, w.frontend.port, *make_call("chat", False), retries=2)
        assert got["error"]["status"] == 503, got
        assert [l["status"] for l in await w.log_lines(3)] == [503] * client.tries


@each_client
async def test_an_unknown_model_is_404_and_not_retried(tmp_path, client):
    async with world(tmp_path, "vllm", engines=1) as w:
        path, body = make_call("chat", False, model="other")
        got = await run(client, w.frontend.port, path, body, retries=2)
        assert got["error"]["status"] == 404, got
        assert [l["status"] for l in await w.log_lines(1)] == [404]


@each_client
async def test_an_abort_ends_the_generation(tmp_path, client):
    # Long enough that only the abort can end it within the deadline.
    async with world(tmp_path, "vllm", engines=1, itl_ms=50, max_model_len=100_000) as w:
        path, body = make_call("chat", True, max_tokens=50_000, ignore_eos=True)
        got = await run(client, w.frontend.port, path, body, abort_after=6)
        assert 6 <= len(got["events"]) < 1000
        lines = await w.log_lines(1)
        assert (lines[0]["status"], lines[0]["outcome"]) == (499, "client_gone"), lines
        await w.counters_are_zero()


@each_dialect
@pytest.mark.parametrize("path", [CHAT, COMPLETIONS], ids=["chat", "completions"])
async def test_curl_sees_the_engines_bytes(tmp_path, dialect, path):
    """Every line of a stream, but for the id and the time of the run; so do whole answers."""
    async with world(tmp_path, dialect, engines=2, itl_ms=1) as w:
        for stream in (True, False):
            _, body = make_call("chat" if path == CHAT else "completions", stream)
            want, got = [await curl(port, path, body) for port in (w.oracle.port,
                                                                   w.frontend.port)]
            assert got == want
            assert len(want) > (10 if stream else 0)


async def curl(port, path, body):
    child = await asyncio.create_subprocess_exec(
        "curl", "-sSN", "--noproxy", "*", "-H", "Content-Type: application/json", "-d",
        json.dumps(body), f"http://127.0.0.1:{port}{path}", stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(child.communicate(), CLIENT_DEADLINE)
    assert child.returncode == 0
    lines = []
    for line in out.decode().splitlines():
        data = line.removeprefix("data: ")
        is_json = data.startswith("{")
        lines.append(list(comparable(json.loads(data)).items()) if is_json else line)
    return lines
