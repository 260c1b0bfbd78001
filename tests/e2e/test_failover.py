"""Failing over before the first token, one test a line of docs/routing.md."""
import asyncio
import collections
import json
import time

import pytest
from harness import (CHAT, COMPLETIONS, Stream, assert_equal_answers, call, eventually, get_json,
                     make_body, world)

each_dialect = pytest.mark.parametrize("dialect", ["vllm", "llama.cpp"])


def name(engine):
    return f"127.0.0.1:{engine.port}"


async def ask(w, **extra):
    body = {"model": "m", "prompt": "hello", "max_tokens": 3, "temperature": 0, **extra}
    status, headers, text = await call(w.frontend.port, "POST", COMPLETIONS, body)
    return status, headers, json.loads(text)


@pytest.mark.parametrize("code", [500, 502, 503, 429, 408])
@each_dialect
async def test_another_worker_answers(tmp_path, dialect, code):
    async with world(tmp_path, dialect, serve=("--routing", "round-robin")) as w:
        await w.fault(0, kind="status", code=code, count=2)
        bodies = [make_body(COMPLETIONS, 4 * i, max_tokens=5) for i in range(8)]
        want = await w.reference(COMPLETIONS, bodies)
        assert_equal_answers(await w.finish(w.start(COMPLETIONS, bodies)), want)
        hit = [l for l in await w.log_lines(8) if len(l["workers"]) > 1]
        assert len(hit) == 2, hit
        assert all(l["workers"] == [name(w.engines[0]), name(w.engines[1])] for l in hit)
        outcome = "overloaded" if code in (429, 503) else "http_5xx"
        assert await w.metric("holdfast_attempts_total", worker=name(w.engines[0]),
                              outcome=outcome) == 2


async def test_retry_after_is_obeyed_only_where_nobody_else_is(tmp_path):
    async with world(tmp_path, "vllm", engines=1) as w:
        await w.fault(0, kind="status", code=429, retry_after=2, count=1)
        began = time.monotonic()
        status, _, _ = await ask(w)
        assert status == 200 and time.monotonic() - began >= 1.9
        line = (await w.log_lines(1))[0]
        assert line["workers"] == [name(w.engines[0])] * 2, line


async def test_a_4xx_about_the_clients_own_body_passes_through(tmp_path):
    async with world(tmp_path, "vllm", max_model_len=128) as w:
        status, _, body = await ask(w, prompt="word " * 400, stream=True)
        direct, _, raw = await call(w.engines[0].port, "POST", COMPLETIONS,
                                    {"model": "m", "prompt": "word " * 400, "max_tokens": 3,
                                     "temperature": 0, "stream": True})
        assert status == direct == 400 and body == json.loads(raw)
        workers = (await w.log_lines(1))[0]["workers"]
        assert len(set(workers)) == 1, "a client's mistake was tried elsewhere"
        assert await w.metric("holdfast_ejections_total") == 0


@pytest.mark.parametrize("code", [401, 403, 404])
async def test_what_one_worker_forbids_another_may_answer(tmp_path, code):
    async with world(tmp_path, "vllm", serve=("--routing", "round-robin")) as w:
        await w.fault(0, kind="status", code=code, count=2)
        for _ in range(4):
            status, _, _ = await ask(w)
            assert status == 200
        hit = [l for l in await w.log_lines(4) if len(l["workers"]) > 1]
        assert len(hit) == 2
        assert await w.metric("holdfast_ejections_total") == 0


@each_dialect
async def test_a_long_prompt_goes_where_it_fits(tmp_path, dialect):
    async with world(tmp_path, dialect, max_model_len=4096,
                     per_engine=[{"max_model_len": 128}]) as w:
        for stream in (True, False) * 4:
            long = " the long story of the sea" * 120
            status, _, body = await call(w.frontend.port, "POST", COMPLETIONS,
                                         {"model": "m", "prompt": long, "max_tokens": 3,
                                          "temperature": 0, "stream": stream})
            assert status == 200, body
        assert {x for l in await w.log_lines(8) for x in l["workers"]} == {name(w.engines[1])}


@each_dialect
@pytest.mark.parametrize("path", [COMPLETIONS, CHAT], ids=["completions", "chat"])
async def test_a_fallback_model_answers_in_its_own_name(tmp_path, dialect, path):
    config = tmp_path / "holdfast.yaml"
    config.write_text("models: {m: {fallback: [nobody, small]}, alias: {fallback: [small]}}\n")
    async with world(tmp_path, dialect, engines=2, per_engine=[{}, {"model": "small"}],
                     serve=("--config", str(config))) as w:
        bodies = [make_body(path, 4 * i, max_tokens=20) for i in range(4)]
        want = await w.reference(path, bodies)
        got = await w.finish(w.start(path, bodies))
        assert_equal_answers(got, want)
        assert {model for s in got for _, _, model in s.identities} == {"m"}
        w.engines[0].kill()
        for bodies_now in (bodies, [{**b, "model": "alias"} for b in bodies]):
            got = await w.finish(w.start(path, bodies_now))
            assert_equal_answers(got, want)
            assert {model for s in got for _, _, model in s.identities} == {"small"}
        w.restart_engine(0)
        await w.ready(2)
        got = await w.finish(w.start(path, bodies))
        assert {model for s in got for _, _, model in s.identities} == {"m"}


async def test_an_overloaded_model_falls_back(tmp_path):
    config = tmp_path / "holdfast.yaml"
    config.write_text("models: {m: {fallback: [small]}}\n")
    async with world(tmp_path, "vllm", engines=2, per_engine=[{}, {"model": "small"}],
                     serve=("--config", str(config))) as w:
        await w.fault(0, kind="status", code=429, retry_after=5, count=1)
        status, _, body = await ask(w)
        assert status == 200 and body["model"] == "small"
        status, _, body = await ask(w)
        assert status == 200 and body["model"] == "m"


async def test_a_model_has_limits_of_its_own(tmp_path):
    config = tmp_path / "holdfast.yaml"
    config.write_text("models: {m: {first_token_limit: 1s, admission: {hold: 0s}}}\n")
    async with world(tmp_path, "vllm", engines=2, serve=("--config", str(config))) as w:
        await w.fault(0, kind="wedge")
        bodies = [make_body(COMPLETIONS, 4 * i, max_tokens=5) for i in range(4)]
        want = await w.reference(COMPLETIONS, bodies)
        assert_equal_answers(await w.finish(w.start(COMPLETIONS, bodies)), want)
        hit = [l for l in await w.log_lines(4) if len(l["workers"]) > 1]
        assert hit and all(set(l["reasons"]) == {"stall"} for l in hit), hit
        for engine in w.engines:
            engine.kill()
        await w.ready(0)
        status, headers, body = await ask(w)
        assert status == 503 and body["error"]["code"] == "no_worker" and headers["retry-after"]


class ClosesWhenReused:
    """An engine of no known kind; it closes every kept connection just when it is used again."""

    def __init__(self):
        self.raced = 0
        self.answered = 0

    async def serve(self):
        self.server = await asyncio.start_server(self.client, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def client(self, reader, writer):
        generated = False
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                size = [int(l.split(":")[1]) for l in head.split("\r\n")
                        if l.lower().startswith("content-length")]
                await reader.readexactly(size[0] if size else 0)
                path = head.split()[1]
                if path == COMPLETIONS and generated:
                    self.raced += 1
                    return
                body = b"{}"
                if path == "/v1/models":
                    body = b'{"object":"list","data":[{"id":"m","object":"model"}]}'
                if path == COMPLETIONS:
                    generated = True
                    self.answered += 1
                    body = b'{"id":"x","choices":[{"index":0,"text":"hi","finish_reason":"stop"}]}'
                status = "200 OK" if path in (COMPLETIONS, "/v1/models") else "404 Not Found"
                writer.write(f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\n"
                             f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


async def test_idle_close_race(tmp_path):
    engine = await ClosesWhenReused().serve()
    async with world(tmp_path, "vllm", engines=0, wait_ready=False,
                     serve=("--engine", f"http://127.0.0.1:{engine.port}")) as w:
        await w.ready(1)
        for _ in range(12):
            status, _, body = await ask(w)
            assert status == 200 and body["choices"][0]["text"] == "hi"
        assert engine.raced >= 1, "no connection was closed under a request"
        assert engine.answered == 12
        lines = await w.log_lines(12)
        assert all(len(l["workers"]) == 1 and not l["reasons"] for l in lines)
        assert await w.metric("holdfast_attempts_total", outcome="reset") == 0
        assert await w.metric("holdfast_ejections_total") == 0
    engine.server.close()


async def test_the_breaker_takes_a_worker_out_that_only_errs(tmp_path):
    async with world(tmp_path, "vllm", serve=("--routing", "round-robin")) as w:
        await w.fault(0, kind="status", code=500, count=1000)

        async def ejected():
            status, _, _ = await ask(w)
            assert status == 200
            return await w.metric("holdfast_ejections_total", worker=name(w.engines[0]),
                                  reason="errors") >= 1
        await eventually("it is ejected", ejected)
        await w.fault(0, kind="clear")
        await w.ready(2)


async def test_the_queue_is_bounded_and_told(tmp_path):
    async with world(tmp_path, "vllm", engines=1,
                     serve=("--admission-queue-max", "5", "--admission-hold", "600")) as w:
        w.engines[0].kill()
        await w.ready(0)
        bodies = [make_body(COMPLETIONS, 4 * i, max_tokens=5) for i in range(6)]
        want = await w.reference(COMPLETIONS, bodies)
        waiting = w.start(COMPLETIONS, bodies[:5])

        def queued(number):
            async def reached():
                return await w.metric("holdfast_requests_queued", model="m") == number
            return eventually(f"{number} requests wait", reached)
        await queued(5)
        status, headers, body = await ask(w)
        assert status == 503 and body["error"]["code"] == "queue_full"
        assert 1 <= int(headers["retry-after"]) <= 30 and "retry-after-ms" in headers
        assert await w.metric("holdfast_shed_total", model="m", reason="queue_full") == 1
        waiting[0].task.cancel()  # its client goes: its place is free
        await asyncio.gather(waiting[0].task, return_exceptions=True)
        await queued(4)
        waiting += w.start(COMPLETIONS, bodies[5:])
        await queued(5)
        w.restart_engine(0)
        assert_equal_answers(await w.finish(waiting[1:]), want[1:])
        await queued(0)


async def test_without_a_queue_it_is_shed_at_once(tmp_path):
    async with world(tmp_path, "vllm", engines=1,
                     serve=("--admission-queue-max", "0", "--admission-hold", "600")) as w:
        status, _, _ = await ask(w)
        assert status == 200
        w.engines[0].kill()
        await w.ready(0)
        status, _, body = await ask(w)  # it does not wait for the hold
        assert status == 503 and body["error"]["code"] == "queue_full"


async def test_a_queue_inside_of_the_engine_is_no_slow_first_token(tmp_path):
    """One slot an engine: the third request waits inside for longer than hedge.first_token."""
    async with world(tmp_path, "vllm", engines=2, slots=1,
                     serve=("--hedge-first-token", "3s")) as w:
        bodies = [make_body(COMPLETIONS, 4 * i, max_tokens=n) for i, n in enumerate((400, 400, 5))]
        want = await w.reference(COMPLETIONS, bodies)
        streams = w.start(COMPLETIONS, bodies[:2])
        await w.all_have(streams, 5)
        streams += w.start(COMPLETIONS, bodies[2:])

        async def waits():
            stats = [await get_json(e.port, "/sim/stats") for e in w.engines]
            return sum(s["waiting"] for s in stats) == 1
        await eventually("one waits in its engine", waits)
        began = time.monotonic()
        await eventually("its first token", lambda: streams[2].tokens)
        assert time.monotonic() - began > 3, "it did not wait for long enough"
        assert_equal_answers(await w.finish(streams), want)
        assert await w.metric("holdfast_hedges_total") == 0
