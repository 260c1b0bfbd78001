"""frontend_restart (SIGTERM under load), and clients that leave under on_disconnect."""
import asyncio
import json
import signal

import pytest
from harness import (CHAT, COMPLETIONS, DEADLINE, assert_equal_answers, call, eventually, get_json,
                     make_body, world)

each_dialect = pytest.mark.parametrize("dialect", ["vllm", "llama.cpp"])


async def is_closed(port):
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return False
    except ConnectionRefusedError:
        return True


async def has_ended(w):
    await eventually("the frontend has ended", lambda: w.frontend.child.poll() is not None)
    w.ended = True
    assert w.frontend.child.returncode == 0, w.frontend.log_path.read_text()


@each_dialect
async def test_frontend_restart(tmp_path, dialect):
    async with world(tmp_path, dialect) as w:
        bodies = [make_body(CHAT, i, max_tokens=300) for i in range(40)]
        want = await w.reference(CHAT, bodies)
        streams = w.start(CHAT, bodies)
        await w.all_have(streams, 5)
        assert not any(s.task.done() for s in streams), "the signal would come too late"
        w.frontend.signal(signal.SIGTERM)
        await eventually("the listener is closed", lambda: is_closed(w.frontend.port))
        still = [s for s in streams if not s.task.done()]
        if still:  # it answers as long as something runs
            try:
                status, _, _ = await call(w.frontend.ports["system"], "GET", "/ready")
                assert status == 503
            except ConnectionError:
                assert all(s.task.done() for s in streams)
        assert_equal_answers(await w.finish(streams), want)
        await has_ended(w)
        lines = w.lines()
        assert len(lines) == 40 and {l["outcome"] for l in lines} == {"ok"}


async def test_a_lame_duck_still_serves(tmp_path):
    """Until the second signal, which skips the wait."""
    async with world(tmp_path, "vllm", serve=("--lame-duck", "10m")) as w:
        body = make_body(COMPLETIONS, 0, max_tokens=5)
        want = await w.reference(COMPLETIONS, [body])
        status, _, _ = await call(w.frontend.ports["system"], "GET", "/ready")
        assert status == 200
        w.frontend.signal(signal.SIGTERM)

        async def not_ready():
            return (await call(w.frontend.ports["system"], "GET", "/ready"))[0] == 503
        await eventually("/ready is 503", not_ready)
        assert_equal_answers(await w.finish(w.start(COMPLETIONS, [body])), want)
        assert w.frontend.child.poll() is None
        w.frontend.signal(signal.SIGTERM)
        await has_ended(w)


async def test_a_second_signal_ends_streams_with_one_error(tmp_path):
    async with world(tmp_path, "vllm", max_model_len=32768) as w:
        streams = w.start(CHAT, [make_body(CHAT, 4 * i, max_tokens=20000) for i in range(10)])
        await w.all_have(streams, 5)
        w.frontend.signal(signal.SIGTERM)
        await eventually("the listener is closed", lambda: is_closed(w.frontend.port))
        assert not any(s.task.done() for s in streams)
        w.frontend.signal(signal.SIGTERM)
        for s in await w.finish(streams):
            assert s.error["code"] == "shutting_down" and not s.done and not s.clean
        await has_ended(w)

        async def idle():
            return all([(await get_json(e.port, "/sim/stats"))["running"] == 0
                        for e in w.engines])
        await eventually("the engines were told", idle)


async def test_those_in_the_queue_are_served(tmp_path):
    """Connected and not yet accepted when the signal comes: closing a listener resets those."""
    async with world(tmp_path, "vllm") as w:
        body = json.dumps(make_body(COMPLETIONS, 0, max_tokens=5, stream=False,
                                    stream_options=None)).encode()
        w.frontend.signal(signal.SIGSTOP)
        await eventually("the frontend is stopped", w.frontend.is_stopped)
        clients = [await asyncio.open_connection("127.0.0.1", w.frontend.port) for _ in range(40)]
        for _, writer in clients:
            writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
                         b"Content-Length: %d\r\n\r\n" % len(body) + body)
        w.frontend.signal(signal.SIGTERM)
        w.frontend.signal(signal.SIGCONT)
        for reader, writer in clients:
            raw = await asyncio.wait_for(reader.read(), DEADLINE)
            writer.close()
            assert raw.startswith(b"HTTP/1.1 200 "), raw
        await has_ended(w)


@pytest.mark.parametrize("policy", ["kill", "stop", "finish"])
async def test_on_disconnect(tmp_path, policy):
    tokens = 300
    async with world(tmp_path, "vllm", serve=("--on-disconnect", policy)) as w:
        streams = w.start(COMPLETIONS, [make_body(COMPLETIONS, 4 * i, max_tokens=tokens)
                                        for i in range(10)])
        await w.all_have(streams, 5)
        assert not any(s.task.done() for s in streams)
        for s in streams:
            s.task.cancel()
        await asyncio.gather(*(s.task for s in streams), return_exceptions=True)
        lines = await w.log_lines(10)
        assert {l["status"] for l in lines} == {499}
        if policy == "finish":
            assert {l["outcome"] for l in lines} == {"finished_alone"}
            assert all(l["tokens"] > tokens * 2 / 3 for l in lines)  # events: some have no text
            assert await w.metric("holdfast_wasted_tokens_total", reason="client_gone") > 0
            assert await w.metric("holdfast_cancellations_total") == 0
        else:
            assert {l["outcome"] for l in lines} == {"client_gone"}
            assert all(l["tokens"] < tokens for l in lines)
            assert await w.metric("holdfast_cancellations_total", reason="client_gone") == 10
        await w.counters_are_zero()
