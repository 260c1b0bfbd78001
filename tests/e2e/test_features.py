"""Every feature of docs/features.md on real processes: what the engine sends goes through
untouched, and a failure in mid-stream costs what the table says: tokens, or one clear error."""
import re

import pytest
from harness import CHAT, COMPLETIONS, call, make_body, world

TOOL = {"type": "function", "function": {"name": "look", "description": "looks it up",
                                         "parameters": {"type": "object", "properties": {}}}}
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
    async with world(tmp_path, dialect, engines=1, itl_ms=0.5) as w:
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
    async with world(tmp_path, dialect) as w:
        wanted = [(name, path, make_body(path, 0, max_tokens=400, **extra), by_ids)
                  for name, (path, extra, by_ids) in FEATURES.items()]
        streams = [s for _, path, body, _ in wanted for s in w.start(path, [body])]
        await w.all_have(streams, 3)
        assert not any(s.task.done() for s in streams), "one ended before the fault"
        for engine in range(2):
            await w.fault(engine, kind="reset_streams")
        got = await w.finish(streams)
        for (name, _, _, by_ids), s in zip(wanted, got):
            if dialect in by_ids:
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
