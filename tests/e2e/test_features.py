"""Every feature of docs/features.md on real processes: what the engine sends goes through
untouched, and a failure in mid-stream costs what the table says: tokens, or one clear error."""
import asyncio
import json
import re

import pytest
from harness import (CHAT, COMPLETIONS, DEADLINE, assert_equal_answers, call, differences,
                     eventually, get_json, make_body, world)

TOOL = {"type": "function", "function": {"name": "look", "description": "looks it up",
                                         "parameters": {"type": "object", "properties": {}}}}
PARTS = [{"type": "text", "text": "What is this?"}]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
# feature: endpoint, fields, dialects that go on by ids
BOTH, VLLM, LLAMA, NONE = {"vllm", "llama.cpp"}, {"vllm"}, {"llama.cpp"}, set()
FEATURES = {
    "plain chat": (CHAT, {}, BOTH),
    "plain completion": (COMPLETIONS, {}, BOTH),
    "stop": (CHAT, {"stop": ["never written by this model"]}, BOTH),
    "sampling": (CHAT, {"temperature": 0.7, "top_p": 0.9, "seed": 7}, BOTH),
    "logit_bias": (CHAT, {"logit_bias": {}}, BOTH),
    "user and metadata": (CHAT, {"user": "someone", "metadata": {"a": "b"}}, BOTH),
    "text format": (CHAT, {"response_format": {"type": "text"}}, BOTH),
    "no tools": (CHAT, {"tools": [], "tool_choice": "none"}, BOTH),
    "repetition_penalty": (CHAT, {"repetition_penalty": 1.1}, VLLM),
    "priority": (CHAT, {"priority": 3}, VLLM),
    "cache_prompt": (CHAT, {"cache_prompt": True}, LLAMA),
    "lora": (CHAT, {"lora": []}, LLAMA),
    "a scaled lora": (CHAT, {"lora": [{"id": 0, "scale": 0.5}]}, LLAMA),
    "text parts": (CHAT, {"messages": [{"role": "user", "content": PARTS}]}, BOTH),
    "an image": (CHAT, {"messages": [{"role": "user", "content": [*PARTS, IMAGE]}]}, NONE),
    "logprobs": (CHAT, {"logprobs": True, "top_logprobs": 2}, NONE),
    "logprobs of completions": (COMPLETIONS, {"logprobs": 2}, NONE),
    "n": (CHAT, {"n": 2}, NONE),
    "n of completions": (COMPLETIONS, {"n": 3}, NONE),
    "list of prompts": (COMPLETIONS, {"prompt": ["One story", "Another one"]}, NONE),
    "echo": (COMPLETIONS, {"echo": True}, NONE),
    "tools": (CHAT, {"tools": [TOOL]}, NONE),
    "tool_choice": (CHAT, {"tools": [TOOL], "tool_choice": "auto"}, NONE),
    "json format": (CHAT, {"response_format": {"type": "json_object"}}, NONE),
    "presence_penalty": (CHAT, {"presence_penalty": 0.5}, NONE),
    "frequency_penalty": (CHAT, {"frequency_penalty": 0.5}, NONE),
    "reasoning_effort": (CHAT, {"reasoning_effort": "low"}, NONE),
    "unknown field": (CHAT, {"some_new_field": {"a": [1]}}, NONE),
}
SEVERAL = ("n", "n of completions", "list of prompts")
each_dialect = pytest.mark.parametrize("dialect", ["vllm", "llama.cpp"])


def events_of(raw):
    """The stream without its chunks, and without what no two answers share."""
    text = re.sub(rb"(?:^|\r\n)[0-9a-f]+\r\n", b"", raw)
    text = re.sub(rb'"(id|created)":("[^"]*"|\d+)', rb"", text)
    return re.sub(rb'"[a-z_]+_(ms|second)":[0-9.e+-]+', b"", text)


@each_dialect
async def test_goes_through_untouched(tmp_path, dialect):
    async with world(tmp_path, dialect, engines=1, itl_ms=0.5, images=True) as w:
        for name, (path, extra, _) in FEATURES.items():
            for streams in (True, False):
                body = make_body(path, 0, max_tokens=12, **extra)
                if not streams:
                    del body["stream"], body["stream_options"]
                want = await call(w.oracle.port, "POST", path, body)
                got = await call(w.frontend.port, "POST", path, body)
                assert got[0] == want[0] == 200, (name, want, got)
                # Several choices are written in any order, and so are their counts.
                parts = [sorted(re.sub(rb'"[a-z_]+_(tokens|n)":[0-9]+', b"", events_of(r[2]))
                                .split(b"\n\n")) if name in SEVERAL and streams
                         else events_of(r[2]) for r in (want, got)]
                assert parts[0] == parts[1], (name, streams)
        await w.counters_are_zero()


@each_dialect
async def test_costs_at_a_failure_what_the_table_says(tmp_path, dialect):
    async with world(tmp_path, dialect, images=True) as w:
        wanted = [(name, path, make_body(path, 0, max_tokens=400, **extra), by_ids)
                  for name, (path, extra, by_ids) in FEATURES.items()]
        streams = [s for _, path, body, _ in wanted for s in w.start(path, [body])]
        await w.all_have(streams, 3)
        assert not any(s.task.done() for s in streams), "one ended before the fault"
        for engine in range(2):
            await w.fault(engine, kind="reset_streams")
        got = await w.finish(streams)
        for (name, path, body, by_ids), s in zip(wanted, got):
            if dialect in by_ids:
                if not body["temperature"]:
                    assert_equal_answers([s], await w.reference(path, [body]))
                assert s.done and s.clean and s.finish and s.error is None, (name, vars(s))
                assert "x-holdfast-fidelity: none" not in s.headers, name
            else:
                assert s.error and s.error["code"] == "upstream_failed", (name, vars(s))
                assert not s.done and not s.clean and s.finish is None, name
                assert "x-holdfast-fidelity: none" in s.headers, name
        lines = await w.log_lines(len(got))
        by_ids = sum(dialect in dialects for _, _, _, dialects in wanted)
        assert sum("tokens" in l["modes"] for l in lines) == by_ids, [l["modes"] for l in lines]
        await w.counters_are_zero()


@each_dialect
async def test_an_image_that_is_not_streamed_starts_anew(tmp_path, dialect):
    async with world(tmp_path, dialect, images=True) as w:
        bodies = [make_body(CHAT, i, messages=[{"role": "user", "content": [*PARTS, IMAGE]}])
                  for i in range(8)]
        for body in bodies:
            del body["stream"], body["stream_options"]
        want = [await call(w.oracle.port, "POST", CHAT, b) for b in bodies]
        tasks = [asyncio.create_task(call(w.frontend.port, "POST", CHAT, b)) for b in bodies]

        async def both_write():
            stats = [await get_json(e.port, "/sim/stats") for e in w.engines]
            return all(s["running"] == 4 and s["tokens"] > 4 for s in stats)
        await eventually("both engines write", both_write)
        w.engines[0].kill()
        for task, (status, _, wanted) in zip(tasks, want):
            got = await asyncio.wait_for(task, DEADLINE)
            assert got[0] == status == 200
            assert json.loads(got[2])["choices"] == json.loads(wanted)["choices"]
        lines = await w.log_lines(8)
        assert [l["modes"] for l in w.orphans(lines)] == [["restart"]] * 4
        await w.counters_are_zero()


THOUGHTS = 8  # tokens


def thought_of(stream):
    """What a stream told of the model's reasoning, in either engine's words."""
    found = ""
    for data in stream.events:
        chunk = {} if data == b"[DONE]" else json.loads(data)
        for choice in chunk.get("choices", []):
            delta = choice.get("delta", {})
            found += delta.get("reasoning") or delta.get("reasoning_content") or ""
    return found


@each_dialect
async def test_reasoning_goes_through_untouched(tmp_path, dialect):
    async with world(tmp_path, dialect, engines=1, itl_ms=0.5, reasoning_tokens=THOUGHTS) as w:
        for path in (CHAT, COMPLETIONS):
            for streams in (True, False):
                body = make_body(path, 0, max_tokens=60)
                if not streams:
                    del body["stream"], body["stream_options"]
                want = await call(w.oracle.port, "POST", path, body)
                got = await call(w.frontend.port, "POST", path, body)
                assert got[0] == want[0] == 200, (want, got)
                assert (b'"reasoning' in want[2] and b'"reasoning":null' not in want[2]) == (
                    path == CHAT), want
                assert events_of(got[2]) == events_of(want[2]), (path, streams)
        await w.counters_are_zero()


@each_dialect
async def test_a_failure_after_reasoning_is_one_error(tmp_path, dialect):
    """The parser that told reasoning from content cannot be entered in its middle: before its first
    word a stream starts anew, after it ends in one error; completions have no such parser."""
    async with world(tmp_path, dialect, reasoning_tokens=THOUGHTS) as w:
        chats = w.start(CHAT, [make_body(CHAT, i, max_tokens=300) for i in (0, 3, 4, 7)])
        texts = w.start(COMPLETIONS, [make_body(COMPLETIONS, i, max_tokens=300) for i in (0, 3)])
        await w.all_have(texts, 3)
        await eventually("all reason", lambda: all(thought_of(s) or s.task.done() for s in chats))
        assert not any(s.task.done() for s in [*chats, *texts]), "one ended before the fault"
        for engine in range(2):
            await w.fault(engine, kind="reset_streams")
        for s in await w.finish(chats):
            assert s.error and s.error["code"] == "upstream_failed", vars(s)
            assert not s.done and not s.clean and s.finish is None
            assert thought_of(s), "it did not reason"
        assert_equal_answers(await w.finish(texts),
                             await w.reference(COMPLETIONS, [s.body for s in texts]))
        lines = await w.log_lines(6)
        assert sum("tokens" in l["modes"] for l in lines) == 2, [l["modes"] for l in lines]
        await w.counters_are_zero()


@each_dialect
async def test_reasoning_that_did_not_begin_starts_anew(tmp_path, dialect):
    async with world(tmp_path, dialect, reasoning_tokens=THOUGHTS) as w:
        await w.fault(0, kind="wedge")
        bodies = [make_body(CHAT, i, max_tokens=60) for i in (0, 3, 4, 7, 8, 11)]
        streams = w.start(CHAT, bodies)

        async def silent_ones():
            return (await get_json(w.engines[0].port, "/sim/stats"))["running"]
        await eventually("the silent engine has some", silent_ones)
        w.engines[0].kill()
        got = await w.finish(streams)
        want = await w.reference(CHAT, bodies)
        assert_equal_answers(got, want)
        assert [thought_of(s) for s in got] == [thought_of(s) for s in want]
        lines = await w.log_lines(len(bodies))
        modes = [m for l in lines for m in l["modes"]]
        assert modes and set(modes) == {"restart"}
        await w.counters_are_zero()


async def test_a_named_lora_goes_on_with_itself(tmp_path):
    """vLLM lists adapters as models with a parent; llama.cpp has none with a name (FEATURES)."""
    async with world(tmp_path, "vllm", lora="pirate") as w:
        _, _, page = await call(w.frontend.port, "GET", "/v1/models")
        assert [m["id"] for m in json.loads(page)["data"]] == ["m", "pirate"]
        untouched = make_body(CHAT, 0, max_tokens=12, model="pirate")
        want = await call(w.oracle.port, "POST", CHAT, untouched)
        got = await call(w.frontend.port, "POST", CHAT, untouched)
        assert got[0] == want[0] == 200 and events_of(got[2]) == events_of(want[2])

        bodies = [make_body(CHAT, i, model=m) for i in (3, 4, 7, 8) for m in ("pirate", "m")]
        bodies += [make_body(CHAT, 11, model="pirate")]  # limited by its parent's length alone
        del bodies[-1]["max_tokens"]
        streams = w.start(CHAT, bodies)
        await w.all_have(streams, 5)
        assert not any(s.task.done() for s in streams), "one ended before the fault"
        for engine in range(2):
            await w.fault(engine, kind="reset_streams")
        got = await w.finish(streams)
        want = await w.reference(CHAT, bodies)
        assert_equal_answers(got, want)
        assert want[0].text != want[1].text, "the adapter changes nothing"
        assert all("x-holdfast-fidelity: exact" in s.headers for s in got)
        lines = await w.log_lines(len(bodies) + 1)
        assert sum("tokens" in l["modes"] for l in lines) == len(bodies)
        await w.counters_are_zero()


async def test_a_lora_that_one_worker_lacks_is_not_exact_and_stays_where_it_is(tmp_path):
    async with world(tmp_path, "vllm", per_engine=({"lora": "pirate"}, {})) as w:
        body = make_body(CHAT, 3, model="pirate")
        streams = w.start(CHAT, [body] * 4)
        await w.all_have(streams, 5)
        await w.fault(0, kind="reset_streams")
        got = await w.finish(streams)
        assert all("x-holdfast-fidelity: none" in s.headers for s in got), got[0].headers
        assert all(differences(s, got[0]) == [] for s in got)
        assert {model for s in got for _, _, model in s.identities} == {"pirate"}
        lines = await w.log_lines(4)
        assert all(l["modes"] == ["tokens"] for l in lines), lines
        assert len({n for l in lines for n in l["workers"]}) == 1, lines
        await w.counters_are_zero()
