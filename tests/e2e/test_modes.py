"""Each mode of docs/features.md on real processes, refusals included, and each way to die."""
import asyncio
import json
import signal

import pytest
from harness import (CHAT, COMPLETIONS, assert_equal_answers, call, eventually, get_json,
                     make_body, world)

DIALECTS = ["vllm", "llama.cpp"]
each_dialect = pytest.mark.parametrize("dialect", DIALECTS)
each_path = pytest.mark.parametrize("path", [COMPLETIONS, CHAT], ids=["completions", "chat"])


async def run_with_death(w, path, bodies, fault, tokens=5):
    want = await w.reference(path, bodies)
    streams = w.start(path, bodies)
    await w.all_have(streams, tokens)
    await fault()
    return await w.finish(streams), want


@each_dialect
@each_path
@pytest.mark.parametrize("how", ["vllm", "llama", "early_end", "half_event", "reset_streams"])
async def test_every_death_is_a_failure_of_the_attempt(tmp_path, dialect, path, how):
    async with world(tmp_path, dialect) as w:
        bodies = [make_body(path, i, max_tokens=80) for i in range(20)]

        async def fault():
            kind = {"kind": "die", "how": how} if how in ("vllm", "llama") else {"kind": how}
            await w.fault(0, **kind)

        got, want = await run_with_death(w, path, bodies, fault)
        assert_equal_answers(got, want)
        orphans = w.orphans(await w.log_lines(20))
        assert len(orphans) >= 5 and all(set(l["modes"]) == {"tokens"} for l in orphans)
        await w.counters_are_zero()


@each_path
async def test_abort_is_a_failure_of_the_attempt(tmp_path, path):
    async with world(tmp_path, "vllm") as w:
        bodies = [make_body(path, i, max_tokens=80) for i in range(20)]
        got, want = await run_with_death(w, path, bodies, lambda: w.fault(0, kind="abort"))
        assert_equal_answers(got, want)
        assert {r for l in w.orphans(await w.log_lines(20)) for r in l["reasons"]} == {"abort"}


@each_dialect
@each_path
async def test_restart_before_the_first_token(tmp_path, dialect, path):
    async with world(tmp_path, dialect, per_engine=[{"ttft_ms": 2500}, {}]) as w:
        bodies = [make_body(path, i, max_tokens=30) for i in range(20)]
        want = await w.reference(path, bodies)
        streams = w.start(path, bodies)

        async def some_wait():
            return (await get_json(w.engines[0].port, "/sim/stats"))["running"] >= 5
        await eventually("requests wait for their first token", some_wait)
        w.engines[0].kill()
        assert_equal_answers(await w.finish(streams), want)
        orphans = w.orphans(await w.log_lines(20))
        assert len(orphans) >= 5 and all(l["modes"] == ["restart"] for l in orphans)


@each_dialect
@pytest.mark.parametrize("extra", [{"logprobs": True, "top_logprobs": 1}, {"n": 2},
                                   {"response_format": {"type": "json_object"}},
                                   {"presence_penalty": 0.5}, {"some_new_field": 1}],
                         ids=lambda e: next(iter(e)))
async def test_refused_in_mid_stream_with_one_clear_error(tmp_path, dialect, extra):
    async with world(tmp_path, dialect) as w:
        body = make_body(CHAT, 0, max_tokens=2000, **extra)
        streams = w.start(CHAT, [body] * 4)
        await w.all_have(streams, 5)
        for engine in w.engines:
            engine.signal(signal.SIGKILL)
        for s in await w.finish(streams):
            assert s.status == 200 and "x-holdfast-fidelity: none" in s.headers
            assert s.error and s.error["code"] == "upstream_failed"
            assert s.error["type"] == "server_error"
            assert not s.done and not s.clean and s.finish is None, "looks like a whole answer"


@each_dialect
async def test_refused_features_restart_if_nothing_was_sent(tmp_path, dialect):
    async with world(tmp_path, dialect, per_engine=[{"ttft_ms": 2500}, {}]) as w:
        bodies = [make_body(CHAT, 0, max_tokens=20, logprobs=True, top_logprobs=1)] * 6
        want = await w.reference(CHAT, bodies)
        streams = w.start(CHAT, bodies)

        async def some_wait():
            return (await get_json(w.engines[0].port, "/sim/stats"))["running"] >= 1
        await eventually("requests wait for their first token", some_wait)
        w.engines[0].kill()
        assert_equal_answers(await w.finish(streams), want)
        assert {m for l in await w.log_lines(6) for m in l["modes"]} == {"restart"}


@each_dialect
async def test_migration_can_be_turned_off(tmp_path, dialect):
    async with world(tmp_path, dialect, serve=("--continuation-modes", "")) as w:
        streams = w.start(COMPLETIONS, [make_body(COMPLETIONS, 0, max_tokens=2000)] * 6)
        await w.all_have(streams, 5)
        w.engines[0].kill()
        w.engines[1].kill()
        for s in await w.finish(streams):
            assert s.error["code"] == "upstream_failed" and not s.done and not s.clean


@each_dialect
async def test_ids_never_go_to_another_vocabulary(tmp_path, dialect):
    async with world(tmp_path, dialect, per_engine=[{}, {"variant": 7}],
                     serve=("--resume-hold", "3")) as w:
        streams = w.start(COMPLETIONS, [make_body(COMPLETIONS, 0, max_tokens=2000)] * 8)
        await w.all_have(streams, 5)
        w.engines[0].kill()
        await eventually("the streams of the killed engine ended",
                         lambda: sum(s.task.done() for s in streams) >= 1)
        w.engines[1].kill()
        for s in await w.finish(streams):
            assert s.error and not s.done and not s.clean, "ids went to another vocabulary"


@each_dialect
@each_path
async def test_no_optional_field_at_all(tmp_path, dialect, path):
    """Limits and defaults differ between endpoints; a resume states them all."""
    async with world(tmp_path, dialect, max_model_len=160, greedy_always=True) as w:
        body = {"model": "m", "stream": True}
        words = "Once upon a time in a land of the sea"
        body.update({"messages": [{"role": "user", "content": words}]} if path == CHAT
                    else {"prompt": words})
        bodies = [body] * 20
        got, want = await run_with_death(w, path, bodies,
                                         lambda: w.fault(0, kind="die", how="llama"))
        assert_equal_answers(got, want)
        orphans = w.orphans(await w.log_lines(20))
        assert len(orphans) >= 3 and all(set(l["modes"]) == {"tokens"} for l in orphans)


@each_dialect
@each_path
async def test_non_streaming_goes_through_and_restarts(tmp_path, dialect, path):
    async with world(tmp_path, dialect, per_engine=[{"itl_ms": 60}, {}]) as w:
        body = make_body(path, 0, max_tokens=40)
        del body["stream"], body["stream_options"]
        status, _, direct = await call(w.oracle.port, "POST", path, body)
        assert status == 200
        tasks = [asyncio.create_task(call(w.frontend.port, "POST", path, body)) for _ in range(8)]

        async def some_run():
            return (await get_json(w.engines[0].port, "/sim/stats"))["running"] >= 2
        await eventually("requests run on the slow engine", some_run)
        w.engines[0].kill()
        choice = json.loads(direct)["choices"][0]
        for task in tasks:
            status, _, got = await task
            mine = json.loads(got)["choices"][0]
            assert status == 200
            for key in ("text", "message", "finish_reason"):
                assert mine.get(key) == choice.get(key)
        assert {m for l in await w.log_lines(8) for m in l["modes"]} == {"restart"}


async def test_plain_errors(tmp_path):
    async with world(tmp_path, "vllm") as w:
        port = w.frontend.port
        status, headers, body = await call(port, "POST", CHAT, b"{\"model\": ")
        assert status == 400 and json.loads(body)["error"]["type"] == "invalid_request_error"
        assert headers["x-should-retry"] == "false"
        status, _, body = await call(port, "POST", CHAT, make_body(CHAT, 0, model="nobody"))
        assert status == 404 and json.loads(body)["error"]["code"] == "model_not_found"
        status, _, body = await call(port, "GET", "/v1/nothing")
        assert status == 404 and "GET /v1/models" in json.loads(body)["error"]["message"]
        status, _, body = await call(port, "GET", "/v1/models")
        assert status == 200 and json.loads(body)["data"][0]["id"] == "m"
        status, headers, body = await call(port, "POST", COMPLETIONS,
                                           make_body(COMPLETIONS, 0, max_tokens="many"),
                                           ["x-request-id: my-id.1"])
        assert status == 400 and headers["x-request-id"] == "my-id.1", body
        status, headers, _ = await call(port, "GET", "/v1/models", None, ["x-request-id: bad id!"])
        assert headers["x-request-id"].startswith("hf-")
        system = w.frontend.ports["system"]
        for page in ("/live", "/ready", "/health", "/metrics"):
            assert (await call(system, "GET", page))[0] == 200
        assert (await call(system, "GET", "/x"))[0] == 404


async def test_sigterm_lets_streams_finish(tmp_path):
    async with world(tmp_path, "vllm") as w:
        bodies = [make_body(COMPLETIONS, i, max_tokens=100) for i in range(10)]
        want = await w.reference(COMPLETIONS, bodies)
        streams = w.start(COMPLETIONS, bodies)
        await w.all_have(streams, 5)
        w.frontend.signal(signal.SIGTERM)

        async def refuses():
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", w.frontend.port)
                writer.close()
                return False
            except ConnectionRefusedError:
                return True
        await eventually("no new connections", refuses)
        status, _, _ = await call(w.frontend.ports["system"], "GET", "/ready")
        assert status == 503
        assert_equal_answers(await w.finish(streams), want)
        await eventually("the frontend has ended", lambda: w.frontend.child.poll() is not None)
        assert w.frontend.child.returncode == 0
        w.ended = True
