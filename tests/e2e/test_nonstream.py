"""Answers that are not streamed: the engine's own body, assembled from a stream where that is the
same, and what a fault costs them."""
import asyncio
import json
import signal

import pytest
from harness import CHAT, COMPLETIONS, DEADLINE, call, eventually, get_json, make_body, world

each_dialect = pytest.mark.parametrize("dialect", ["vllm", "llama.cpp"])
each_path = pytest.mark.parametrize("path", [COMPLETIONS, CHAT], ids=["completions", "chat"])
OWN = {"id", "created", "timings"}  # of each answer, by nature


def whole_body(path, index, max_tokens=150, **extra):
    body = make_body(path, index, max_tokens, **extra)
    del body["stream"], body["stream_options"]
    body.pop("stop", None)  # llama.cpp's are not assembled: a test of their own
    return body


def neutral(raw):
    """Everything of a body but what two answers never share, in its order."""
    return [(k, v) for k, v in json.loads(raw, object_pairs_hook=list) if k not in OWN]


async def both(w, path, body):
    return (await call(w.oracle.port, "POST", path, body),
            await call(w.frontend.port, "POST", path, body))


@each_dialect
@each_path
@pytest.mark.parametrize("extra", [{}, {"max_tokens": 5}, {"max_tokens": 41},
                                   {"max_tokens": 60, "stop": [" the", "a stop string"]},
                                   {"ignore_eos": False, "max_tokens": 3000},
                                   {"logprobs": True, "top_logprobs": 2}, {"n": 3}],
                         ids=["plain", "short", "cut", "stop", "eos", "logprobs", "n"])
async def test_the_body_is_the_engines_own(tmp_path, dialect, path, extra):
    if path == COMPLETIONS and "logprobs" in extra:
        extra = {"logprobs": 2}
    async with world(tmp_path, dialect, engines=1, itl_ms=0.5, eos_every=60) as w:
        for index in range(6):
            body = whole_body(path, index, **extra)
            want, got = await both(w, path, body)
            assert got[0] == want[0] == 200
            # The cache of each engine has seen other prompts.
            assert neutral(got[2]) == neutral(want[2]), (index, got[2][:700], want[2][:700])
            assert got[1]["content-type"] == want[1]["content-type"]
            assert got[1]["x-holdfast-fidelity"] == "exact"
        await w.counters_are_zero()


async def start_many(w, path, bodies):
    return [asyncio.create_task(call(w.frontend.port, "POST", path, b)) for b in bodies]


async def generating(w, index, tokens):
    """That engine has written so many tokens for requests of ours since `before`."""
    return (await get_json(w.engines[index].port, "/sim/stats"))["tokens"] >= tokens


@each_dialect
@each_path
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["kill", "hang"])
async def test_a_fault_costs_a_prefill_and_no_token(tmp_path, dialect, path, number):
    async with world(tmp_path, dialect) as w:
        bodies = [whole_body(path, i, max_tokens=200, ignore_eos=True) for i in range(20)]
        want = [await call(w.oracle.port, "POST", path, b) for b in bodies]
        before = (await get_json(w.engines[0].port, "/sim/stats"))["tokens"]
        tasks = await start_many(w, path, bodies)
        await eventually("answers are half written", lambda: generating(w, 0, before + 200))
        w.engines[0].signal(number)
        got = [await asyncio.wait_for(t, 2 * DEADLINE) for t in tasks]
        for (status, headers, body), (_, _, wanted) in zip(got, want):
            assert status == 200, body
            assert headers["x-holdfast-fidelity"] == "exact"
            a, b = json.loads(body), json.loads(wanted)
            assert a["choices"] == b["choices"]
            for key in ("prompt_tokens", "completion_tokens", "total_tokens"):
                assert a["usage"][key] == b["usage"][key]
        orphans = w.orphans(await w.log_lines(20))
        assert len(orphans) >= 5, "the fault hit nobody"
        assert {m for l in orphans for m in l["modes"]} == {"tokens"}
        if number == signal.SIGSTOP:
            w.engines[0].signal(signal.SIGCONT)
        await w.counters_are_zero()


@each_dialect
@pytest.mark.parametrize("extra", [{"n": 2}, {"some_new_field": 1}, {"presence_penalty": 0.5},
                                   {"response_format": {"type": "json_object"}}],
                         ids=lambda e: next(iter(e)))
async def test_what_cannot_be_assembled_starts_anew(tmp_path, dialect, extra):
    async with world(tmp_path, dialect) as w:
        bodies = [whole_body(CHAT, i, max_tokens=100, ignore_eos=True, **extra)
                  for i in range(12)]
        want = [await call(w.oracle.port, "POST", CHAT, b) for b in bodies]
        before = (await get_json(w.engines[0].port, "/sim/stats"))["tokens"]
        tasks = await start_many(w, CHAT, bodies)
        await eventually("answers are half written", lambda: generating(w, 0, before + 30))
        w.engines[0].kill()
        got = [await asyncio.wait_for(t, 2 * DEADLINE) for t in tasks]
        for (status, _, body), (_, _, wanted) in zip(got, want):
            assert status == 200 and neutral_choices(body) == neutral_choices(wanted)
        orphans = w.orphans(await w.log_lines(12))
        assert len(orphans) >= 2 and {m for l in orphans for m in l["modes"]} == {"restart"}
        await w.counters_are_zero()


def neutral_choices(raw):
    choices = json.loads(raw)["choices"]
    return [(c["index"], c.get("text") or c["message"]["content"], c["finish_reason"])
            for c in choices]


@each_dialect
async def test_nobody_left_is_one_clean_status(tmp_path, dialect):
    async with world(tmp_path, dialect, serve=["--resume-hold", "0.2"]) as w:
        before = (await get_json(w.engines[0].port, "/sim/stats"))["tokens"]
        tasks = await start_many(w, CHAT, [whole_body(CHAT, i, max_tokens=3000, ignore_eos=True)
                                           for i in range(8)])
        await eventually("answers are half written", lambda: generating(w, 0, before + 40))
        for engine in w.engines:
            engine.kill()
        for task in tasks:
            status, headers, body = await asyncio.wait_for(task, 2 * DEADLINE)
            assert status == 503 and int(headers["retry-after"]) >= 1
            assert json.loads(body)["error"]["code"] == "no_worker"


@each_dialect
async def test_a_client_that_leaves_is_noticed_by_the_engine(tmp_path, dialect):
    """llama.cpp never looks after the client of an answer that it writes whole."""
    async with world(tmp_path, dialect, engines=1) as w:
        keeps_it_busy = w.start(COMPLETIONS, [make_body(COMPLETIONS, 0, max_tokens=3000)])
        await w.all_have(keeps_it_busy, 1)
        body = json.dumps(whole_body(CHAT, 1, max_tokens=3000, ignore_eos=True)).encode()
        _, writer = await asyncio.open_connection("127.0.0.1", w.frontend.port)
        writer.write(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
                     f"Content-Length: {len(body)}\r\n\r\n".encode() + body)

        async def running(count):
            return (await get_json(w.engines[0].port, "/sim/stats"))["running"] == count
        await eventually("both run", lambda: running(2))
        writer.close()
        await eventually("the engine is told", lambda: running(1))
        assert not keeps_it_busy[0].task.done(), "nothing kept the engine busy"
        keeps_it_busy[0].writer.close()
        await w.counters_are_zero()


@each_path
async def test_abort_under_status_200_is_no_answer(tmp_path, path):
    """vLLM at SIGTERM ends whole answers with finish_reason abort (llama.cpp has no such thing)."""
    async with world(tmp_path, "vllm") as w:
        bodies = [whole_body(path, i, max_tokens=60, ignore_eos=True, some_new_field=1)
                  for i in range(12)]
        want = [await call(w.oracle.port, "POST", path, b) for b in bodies]
        before = (await get_json(w.engines[0].port, "/sim/stats"))["tokens"]
        tasks = await start_many(w, path, bodies)
        await eventually("answers are half written", lambda: generating(w, 0, before + 30))
        await w.fault(0, kind="abort")
        for task, (_, _, wanted) in zip(tasks, want):
            status, _, body = await asyncio.wait_for(task, 2 * DEADLINE)
            assert status == 200 and neutral_choices(body) == neutral_choices(wanted)
        assert {r for l in w.orphans(await w.log_lines(12)) for r in l["reasons"]} == {"abort"}
