"""The failure scenarios of docs/scenarios.md, on real processes. Each proves first that its fault
took effect and that streams were hit, then that every client got the untouched answer."""
import asyncio
import json
import signal
import socket
import time

import pytest
from harness import (CHAT, COMPLETIONS, Stream, assert_equal_answers, call, differences, eventually,
                     get_json, make_body, world)

DIALECTS = ["vllm", "llama.cpp"]
PATHS = [COMPLETIONS, CHAT]
each_dialect = pytest.mark.parametrize("dialect", DIALECTS)
each_path = pytest.mark.parametrize("path", PATHS, ids=["completions", "chat"])

STREAMS = 100


def assert_by_tokens(orphans, minimum, reasons):
    assert len(orphans) >= minimum, f"only {len(orphans)} streams were hit"
    assert all(set(l["modes"]) == {"tokens"} for l in orphans), [l["modes"] for l in orphans]
    assert all(r in reasons for l in orphans for r in l["reasons"]), [l["reasons"] for l in orphans]


@each_dialect
@each_path
async def test_worker_kill(tmp_path, dialect, path):
    async with world(tmp_path, dialect) as w:
        bodies = [make_body(path, i) for i in range(STREAMS)]
        want = await w.reference(path, bodies)
        streams = w.start(path, bodies)
        await w.all_have(streams, 5)
        w.engines[0].kill()
        assert_equal_answers(await w.finish(streams), want)
        assert_by_tokens(w.orphans(await w.log_lines(STREAMS)), 40, {"reset", "dead", "connect"})
        await w.ready(1)
        await w.counters_are_zero()


@each_dialect
@each_path
async def test_worker_hang(tmp_path, dialect, path):
    async with world(tmp_path, dialect) as w:
        bodies = [make_body(path, i) for i in range(STREAMS)]
        want = await w.reference(path, bodies)
        streams = w.start(path, bodies)
        await w.all_have(streams, 5)
        w.engines[0].signal(signal.SIGSTOP)
        await eventually("the engine is stopped", w.engines[0].is_stopped)
        got = await w.finish(streams)
        w.engines[0].signal(signal.SIGCONT)
        assert_equal_answers(got, want)
        assert_by_tokens(w.orphans(await w.log_lines(STREAMS)), 40, {"dead", "reset"})
        await w.ready(2)  # it is back, and what it wrote late went nowhere
        again = w.start(path, bodies[:10])
        assert_equal_answers(await w.finish(again), want[:10])
        await w.counters_are_zero()


@each_dialect
async def test_engine_wedged(tmp_path, dialect):
    async with world(tmp_path, dialect) as w:
        bodies = [make_body(CHAT, i) for i in range(20)]
        want = await w.reference(CHAT, bodies)
        streams = w.start(CHAT, bodies)
        await w.all_have(streams, 5)
        await w.fault(0, kind="wedge")
        status, _, _ = await call(w.engines[0].port, "GET", "/health")
        assert status == 200
        got = await w.finish(streams)
        assert_equal_answers(got, want)
        orphans = w.orphans(await w.log_lines(20))
        assert_by_tokens(orphans, 5, {"stall"})
        assert min(p for l in orphans for p in l["pauses_ms"]) >= 4900  # not before 5 s of silence
        assert await w.metric("holdfast_hedges_total", outcome="won") == len(orphans)
        await w.counters_are_zero()


@each_dialect
async def test_prefill_pauses(tmp_path, dialect):
    async with world(tmp_path, dialect) as w:
        bodies = [make_body(COMPLETIONS, i) for i in range(20)]
        want = await w.reference(COMPLETIONS, bodies)
        streams = w.start(COMPLETIONS, bodies)
        await w.all_have(streams, 5)
        await w.fault(0, kind="pause", ms=3000)
        before = [s.tokens for s in streams]
        await eventually("5 streams felt the pause",
                         lambda: sum(s.gap() > 2.5 for s in streams) >= 5)
        await eventually("all of them go on", lambda: all(
            s.task.done() or s.tokens >= n + 10 for s, n in zip(streams, before)))
        await w.fault(0, kind="pause", ms=3000)
        got = await w.finish(streams)
        assert_equal_answers(got, want)
        assert sum(s.gap() > 2.5 for s in got) >= 5, "the pauses were not felt"
        assert await w.metric("holdfast_ejections_total") == 0
        assert not w.orphans(await w.log_lines(20))


@each_dialect
async def test_slow_reader(tmp_path, dialect):
    async with world(tmp_path, dialect, itl_ms=1, max_model_len=9000,
                     serve=("--limits-slow-client-timeout", "600")) as w:
        bodies = [make_body(COMPLETIONS, 0, max_tokens=8000) for _ in range(6)]
        want = await w.reference(COMPLETIONS, bodies[:1]) * 6
        slow = Stream(w.frontend.port, COMPLETIONS, bodies[0])
        slow.socket_options = ((socket.SOL_SOCKET, socket.SO_RCVBUF, 65536),)
        reader = await slow.open()
        transport = slow.writer.transport
        head = await reader.readuntil(b"\r\n\r\n")
        slow.status = int(head.split()[1])
        transport.pause_reading()
        others = w.start(COMPLETIONS, bodies[1:])
        got = await w.finish(others)
        assert_equal_answers(got, want[1:])
        assert await w.metric("holdfast_requests_running") == 1, "the slow one was not held back"
        transport.resume_reading()
        await asyncio.wait_for(slow.read_events(reader), 60)
        assert_equal_answers([slow], want[:1])
        assert await w.metric("holdfast_ejections_total") == 0
        assert not w.orphans(await w.log_lines(6))


@each_dialect
async def test_frontend_pause(tmp_path, dialect):
    async with world(tmp_path, dialect) as w:
        bodies = [make_body(CHAT, i) for i in range(40)]
        want = await w.reference(CHAT, bodies)
        streams = w.start(CHAT, bodies)
        await w.all_have(streams, 5)
        w.frontend.signal(signal.SIGSTOP)
        await eventually("the frontend is stopped", w.frontend.is_stopped)
        resume_at = time.monotonic() + 3
        await eventually("3 s of pause", lambda: time.monotonic() >= resume_at)
        w.frontend.signal(signal.SIGCONT)
        got = await w.finish(streams)
        assert_equal_answers(got, want)
        assert all(s.gap() > 2 for s in got)
        assert await w.metric("holdfast_ejections_total") == 0
        assert not w.orphans(await w.log_lines(40))


@each_dialect
async def test_resume_storm(tmp_path, dialect):
    async with world(tmp_path, dialect, max_model_len=8192, prefill_tokens_per_s=40000) as w:
        long = " the long story of the sea and the ship" * 300
        bodies = []
        for i in range(100):
            body = make_body(COMPLETIONS, i, max_tokens=60)
            body["prompt"] = f"{i} {long}"
            bodies.append(body)
        want = await w.reference(COMPLETIONS, bodies)
        assert want[0].usage["prompt_tokens"] * 50 > 65536, "the storm would fit the bound at once"
        streams = w.start(COMPLETIONS, bodies)
        await w.all_have(streams, 5)
        orphans = sum(not s.task.done() for s in streams)
        w.engines[0].kill()
        got = await w.finish(streams)
        assert_equal_answers(got, want)
        lines = w.orphans(await w.log_lines(100))
        assert orphans and len(lines) >= 1
        assert all(set(l["modes"]) == {"tokens"} for l in lines)
        survivor = f"127.0.0.1:{w.engines[1].port}"
        assert await w.metric("holdfast_ejections_total", worker=survivor) == 0
        await w.counters_are_zero()


@each_dialect
async def test_poison_request(tmp_path, dialect):
    async with world(tmp_path, dialect, engines=4) as w:
        bodies = [make_body(COMPLETIONS, i) for i in range(40)]
        want = await w.reference(COMPLETIONS, bodies)
        streams = w.start(COMPLETIONS, bodies)
        await w.all_have(streams, 5)
        poison = make_body(COMPLETIONS, 0)
        poison["prompt"] = "<<poison>> " + poison["prompt"]
        bad = w.start(COMPLETIONS, [poison])[0]
        await bad.task
        assert bad.error and bad.error["code"] == "poison_suspected", (bad.status, bad.error)
        assert not bad.done and (bad.status == 500 or not bad.clean)
        assert_equal_answers(await w.finish(streams), want)
        await eventually("three engines are dead",
                         lambda: sum(e.child.poll() is not None for e in w.engines) == 3)
        assert len(w.orphans(await w.log_lines(41))) >= 5
        await w.ready(1)
        await w.counters_are_zero()


@each_dialect
async def test_all_dead_one_returns(tmp_path, dialect):
    async with world(tmp_path, dialect) as w:
        bodies = [make_body(CHAT, i) for i in range(20)]
        want = await w.reference(CHAT, bodies)
        streams = w.start(CHAT, bodies[:15])
        await w.all_have(streams, 5)
        for engine in w.engines:
            engine.kill()
        await w.ready(0)
        late = w.start(CHAT, bodies[15:])
        back_at = time.monotonic() + 3
        await eventually("3 s without any engine", lambda: time.monotonic() >= back_at)
        assert not any(s.task.done() for s in streams + late)
        w.restart_engine(1)
        assert_equal_answers(await w.finish(streams + late), want)
        lines = w.orphans(await w.log_lines(20))
        assert_by_tokens(lines, 15, {"reset", "dead", "connect"})
        await w.counters_are_zero()


@each_dialect
async def test_all_dead_for_good(tmp_path, dialect):
    async with world(tmp_path, dialect, serve=("--resume-hold", "7", "--admission-hold", "2")) as w:
        bodies = [make_body(CHAT, i) for i in range(10)]
        streams = w.start(CHAT, bodies)
        await w.all_have(streams, 5)
        for engine in w.engines:
            engine.kill()
        await w.ready(0)
        began = time.monotonic()
        status, headers, body = await call(w.frontend.port, "POST", CHAT, bodies[0])
        assert status == 503 and time.monotonic() - began >= 1.9
        assert 1 <= int(headers["retry-after"]) <= 30 and "retry-after-ms" in headers
        assert json.loads(body)["error"]["code"] == "no_worker"
        for s in await w.finish(streams):
            assert s.status == 200 and s.error["code"] == "no_worker", (s.status, s.error)
            assert not s.done and not s.clean and s.finish is None, "looks like a whole answer"
            assert "waiting" in s.comments
        await eventually("counters zero", lambda: requests_are_zero(w))


async def requests_are_zero(w):
    return await w.metric("holdfast_requests_running") == 0


@pytest.mark.parametrize("phase", ["queue", "prefill", "decode"])
@each_dialect
async def test_client_gone(tmp_path, dialect, phase):
    async with world(tmp_path, dialect, wait_ready=phase != "queue", ttft_ms=20,
                     serve=("--admission-hold", "60")) as w:
        if phase == "queue":
            await w.ready(2)
            for engine in w.engines:
                engine.kill()
            await w.ready(0)
        if phase == "prefill":
            for i in range(2):
                await w.fault(i, kind="wedge")
        bodies = [make_body(COMPLETIONS, 4 * i, max_tokens=2000) for i in range(100)]
        streams = w.start(COMPLETIONS, bodies)

        async def engines_run():
            stats = [await get_json(e.port, "/sim/stats") for e in w.engines]
            return sum(s["running"] + s["waiting"] for s in stats)

        if phase == "decode":
            await w.all_have(streams, 5)
        else:
            async def all_in():
                return await w.metric("holdfast_requests_running") == 100
            await eventually("100 requests are in", all_in)
        if phase != "queue":
            async def all_there():
                return await engines_run() == 100
            await eventually("the engines have all of them", all_there)
        for s in streams:
            s.task.cancel()
        await asyncio.gather(*(s.task for s in streams), return_exceptions=True)
        if phase != "queue":
            async def none_there():
                return await engines_run() == 0
            await eventually("the engines were told", none_there)
            stats = [await get_json(e.port, "/sim/stats") for e in w.engines]
            assert sum(s["aborted"] for s in stats) >= 100, "some ran to their own end"
        await eventually("requests zero", lambda: requests_are_zero(w))
        lines = await w.log_lines(100)
        assert all(l["status"] == 499 and l["outcome"] == "client_gone" for l in lines)
