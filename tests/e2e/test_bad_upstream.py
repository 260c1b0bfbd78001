"""bad_upstream: an engine that answers probes and talks nonsense, form by form. Every client gets
the whole answer (from the other engine), streams beside it are untouched, memory stays flat."""
import asyncio
import itertools
import pathlib
import re

import pytest
from engine_front import EngineFront
from harness import (CHAT, COMPLETIONS, DEADLINE, Process, Stream, ask, assert_equal_answers,
                     differences, eventually, get_json, make_body, start_engine)

MARKER = b"BAD"
EMBEDDINGS = "/v1/embeddings"
MEMORY_GROWTH_MAX = 96 * 1024 * 1024  # far below what the 100 MB line alone would cost four times


def after_some(tail):
    """The fault comes after some events (or half of a body)."""
    async def misbehave(reply, writer, _):
        writer.write(reply.begin() + reply.part(reply.first) + tail(reply))
    return misbehave


def at_once(head):
    async def misbehave(reply, writer, _):
        writer.write(head(reply))
    return misbehave


async def headers_only(reply, writer, gone):
    writer.write(reply.begin())
    await gone


async def one_byte_a_second(reply, writer, gone):
    writer.write(reply.begin())
    for byte in reply.part(reply.body):
        writer.write(bytes([byte]))
        await asyncio.wait([gone], timeout=1)
        if gone.done():
            return


async def long_line(reply, writer, _):
    piece = b"x" * (1 << 20)
    writer.write(reply.begin() if reply.is_stream else
                 b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
                 b"content-length: 104857600\r\n\r\n")
    writer.write(reply.part(b'data: {"a":"' + piece))
    for _ in range(100):
        writer.write(reply.part(piece))
        await writer.drain()


async def reset(reply, writer, _):
    writer.write(reply.begin() + reply.part(reply.first))
    await writer.drain()
    writer.transport.abort()


ERROR = (b'data: {"error":{"message":"EngineCore encountered an issue.","type":'
         b'"InternalServerError","param":null,"code":500}}\n\n')
ABORT = re.compile(rb'"finish_reason":null')
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n%s\r\n%s"

FORMS = {
    "early_end": after_some(lambda r: r.end()),
    "error_then_done": after_some(lambda r: r.part(ERROR) + r.part(b"data: [DONE]\n\n") + r.end()),
    "abort": after_some(lambda r: r.part(ABORT.sub(b'"finish_reason":"abort"',
                                                   (r.events or [b""])[1 if r.events else 0]))
                        + r.end()),
    "bad_json": after_some(lambda r: r.part(b'data: {"id":"x","choices":[{]}\n\n') + r.end()),
    "half_event": after_some(lambda r: r.part(b'data: {"id":"x","cho') + r.end()),
    "reset": reset,
    "chunk_garbage": after_some(lambda r: b"zz\r\nnonsense\r\n"),
    "headers_only": headers_only,
    "one_byte_a_second": one_byte_a_second,
    "long_line": long_line,
    "wrong_type": at_once(lambda r: PLAIN % (b"text/html", 6, b"", b"<html>")),
    "gzip": at_once(lambda r: PLAIN % (r.type, 4, b"content-encoding: gzip\r\n",
                                       b"\x1f\x8b\x08\0")),
    "garbage": at_once(lambda r: b"\x16\x03\x01\x02\0\x01\0garbage\r\n\r\n" * 20),
    "huge_header": at_once(lambda r: b"HTTP/1.1 200 OK\r\nx: " + b"a" * 1_000_000 + b"\r\n\r\n"),
    "no_content": at_once(lambda r: b"HTTP/1.1 204 No Content\r\n\r\n"),
    "partial_content": at_once(lambda r: b"HTTP/1.1 206 Partial\r\ncontent-length: 2\r\n\r\n"
                               b"{}"),
    "redirect": at_once(lambda r: b"HTTP/1.1 307 Temporary Redirect\r\ncontent-length: 0\r\n"
                        b"location: http://127.0.0.1:1/\r\n\r\n"),
    "length_too_long": at_once(lambda r: PLAIN % (r.type, len(r.first) + 1000, b"", r.first)),
    "two_lengths": at_once(lambda r: PLAIN % (r.type, 2, b"content-length: 3\r\n", b"{}")),
    "closes_at_once": at_once(lambda r: b""),
    # Odd but whole: the answer is this engine's own.
    "trailing_bytes": at_once(lambda r: r.begin() + r.part(r.body) + r.end() + b"HTTP/1.1 200 no"),
    "http_1_0": at_once(lambda r: b"HTTP/1.0 200 OK\r\ncontent-type: " + r.type + b"\r\n\r\n" +
                        r.body),
}


def resident(process):
    text = pathlib.Path(f"/proc/{process.child.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) * 1024


def bad_body(path, number):
    if path == EMBEDDINGS:
        return {"model": "m", "input": [f"BAD {number}"]}
    body = make_body(path, 4 * number, max_tokens=24)
    if path == CHAT:
        body["messages"][0]["content"] += " BAD"
    else:
        body["prompt"] += " BAD"
    return body


async def one_answer(port, oracle, path, stream, number):
    """Asks once; fails unless the answer is the one of an untouched engine."""
    body = bad_body(path, number)
    if path != EMBEDDINGS and stream:
        got, want = [await asyncio.wait_for(Stream(p, path, body).start().task, 2 * DEADLINE)
                     for p in (port, oracle)]
        assert not differences(got, want), (number, differences(got, want))
        return
    if path != EMBEDDINGS:
        del body["stream_options"]
        body["stream"] = False
    got, want = [await ask(p, "POST", path, body) for p in (port, oracle)]
    assert got.status == 200 and got.is_whole, (number, got)
    if path == EMBEDDINGS:
        assert got.body == want.body
        return
    for key in ("choices", "usage"):
        drop = {"token_ids", "prompt_token_ids"}
        mine, theirs = got.json()[key], want.json()[key]
        assert mine == theirs or (mine[0].keys() - drop, mine[0].get("text")) == \
            (theirs[0].keys() - drop, theirs[0].get("text")), (key, mine, theirs)


async def bystanders(port, oracle, running, stop):
    """Well-behaved streams, always some of them, until `stop`; all must be untouched."""
    count = 0
    while not stop.is_set() or count == 0:
        bodies = [make_body(COMPLETIONS, 4 * i, max_tokens=40) for i in range(3)]
        streams = [Stream(port, COMPLETIONS, b).start() for b in bodies]
        running[:] = streams
        got = [await asyncio.wait_for(s.task, 2 * DEADLINE) for s in streams]
        want = [await Stream(oracle, COMPLETIONS, b).start().task for b in bodies]
        assert_equal_answers(got, want)
        count += 3
    return count


@pytest.mark.parametrize("name", FORMS)
async def test_bad_upstream(tmp_path, name):
    processes = [start_engine(tmp_path, "oracle", "vllm", itl_ms=0.2, ttft_ms=0)]
    processes += [start_engine(tmp_path, f"engine{i}", "vllm", itl_ms=5, ttft_ms=5) for i in (0, 1)]
    oracle, first, second = processes
    async with EngineFront(first.port, MARKER, FORMS[name]) as front:
        serve = Process(tmp_path, "serve", [
            "serve", "--engine", f"http://127.0.0.1:{front.port}", "--engine",
            f"http://127.0.0.1:{second.port}", "--listen", "127.0.0.1:0", "--system-port", "0",
            "--admin", "127.0.0.1:0", "--first-token-limit", "2s", "--token-limit", "2s",
            "--hedge-first-token", "1h", "--hedge-after", "1h"])
        processes.append(serve)
        stop, running = asyncio.Event(), []
        try:
            async def is_ready():
                health = await get_json(serve.ports["system"], "/health")
                return health["workers"].get("ready", 0) == 2
            await eventually("two ready workers", is_ready)
            before = resident(serve)
            others = asyncio.create_task(bystanders(serve.port, oracle.port, running, stop))
            await eventually("streams run beside it", lambda: bool(running) or others.done())
            numbers = itertools.count()
            paths = [(CHAT, True), (COMPLETIONS, True), (CHAT, False), (COMPLETIONS, False)]
            # An endless answer that is passed on is not told from a long one: it goes through.
            for path, stream in paths + [(EMBEDDINGS, False)] * (name != "long_line"):
                seen = front.hits.get(path, 0)
                # Until the fault was met: a worker that errs rests for a while.
                while front.hits.get(path, 0) == seen:
                    await one_answer(serve.port, oracle.port, path, stream, next(numbers))
                    assert next(numbers) < 2000, f"{name} was never met on {path}"
            stop.set()
            assert await others >= 3
            growth = resident(serve) - before
            assert growth < MEMORY_GROWTH_MAX, f"{growth / 1e6:.0f} MB more"
        finally:
            stop.set()
            for process in reversed(processes):
                process.end()
        assert serve.child.returncode == 0, serve.log_path.read_text()


@pytest.mark.parametrize("path", [CHAT, EMBEDDINGS])
@pytest.mark.parametrize("name", ["garbage", "gzip", "redirect"])
async def test_nonsense_of_the_only_engine_is_one_clear_error(tmp_path, name, path):
    engine = start_engine(tmp_path, "engine", "vllm", itl_ms=1, ttft_ms=1)
    async with EngineFront(engine.port, MARKER, FORMS[name]) as front:
        serve = Process(tmp_path, "serve", [
            "serve", "--engine", f"http://127.0.0.1:{front.port}", "--listen", "127.0.0.1:0",
            "--system-port", "0", "--admin", "127.0.0.1:0", "--admission-hold", "10m"])
        try:
            async def is_ready():
                health = await get_json(serve.ports["system"], "/health")
                return health["workers"].get("ready", 0) == 1
            await eventually("a ready worker", is_ready)
            got = await ask(serve.port, "POST", path, bad_body(path, 0))
            assert got.status == 502 and got.is_whole, got
            error = got.json()["error"]
            assert error["code"] == "upstream_failed" and error["type"] == "server_error"
            assert sum(front.hits.values()) >= 2, "it was not tried again"
        finally:
            serve.end()
            engine.end()
