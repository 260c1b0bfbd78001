"""Endpoints besides chat and completions: the same bytes as from the engine, also through kills;
one clear error where an answer had begun; a path that is not on the list reaches no engine."""
import asyncio
import json

import pytest
from harness import ask, eventually, form, get_json, world

each_dialect = pytest.mark.parametrize("dialect", ["vllm", "llama.cpp"])
SOUND = bytes(range(256)) * 40

JSON_CALLS = {
    "/v1/embeddings": {"model": "m", "input": ["sea", "ship", "日本 🎉"]},
    "/v1/rerank": {"model": "m", "query": "sea", "documents": ["a", "b", "c"]},
    "/v2/rerank": {"model": "m", "query": "sea", "documents": ["a", "b"]},
    "/rerank": {"query": "sea", "documents": ["a"]},
    "/v1/score": {"model": "m", "text_1": "sea", "text_2": ["a", "b"]},
    "/score": {"model": "m", "text_1": "sea", "text_2": ["a", "b"]},
    "/classify": {"model": "m", "input": ["a", "b"]},
    "/pooling": {"model": "m", "input": "a"},
    "/v1/audio/speech": {"model": "m", "input": "hello", "voice": "v", "max_tokens": 5},
    "/v1/responses": {"model": "m", "input": "hello", "max_output_tokens": 8},
    "/v1/messages": {"model": "m", "max_tokens": 8, "messages": []},
}


def calls_of(dialect):
    """(path, body, header lines) of a call of each endpoint."""
    found = [(path, body, ()) for path, body in JSON_CALLS.items()]
    found += [(path, {**JSON_CALLS[path], "stream": True}, ())
              for path in ("/v1/responses", "/v1/messages")]
    text = {"prompt": "sea 日本"} if dialect == "vllm" else {"content": "sea 日本"}
    found.append(("/tokenize", {"model": "m", **text}, ()))
    found.append(("/detokenize", {"model": "m", "tokens": [300, 301, 302]}, ()))
    for path in ("/v1/audio/transcriptions", "/v1/audio/translations"):
        body, line = form({"file": SOUND, "model": "m", "language": "en"})
        found.append((path, body, (line,)))
    return found


def same(got, want):
    return (got.status, got.is_whole, got.headers.get("content-type"), got.body) == \
           (want.status, want.is_whole, want.headers.get("content-type"), want.body)


@each_dialect
async def test_the_same_bytes_as_the_engine(tmp_path, dialect):
    async with world(tmp_path, dialect, itl_ms=1, ttft_ms=1) as w:
        for path, body, headers in calls_of(dialect):
            want = await ask(w.oracle.port, "POST", path, body, headers)
            got = await ask(w.frontend.port, "POST", path, body, headers)
            assert want.status == 200 and want.is_whole and want.body, (path, want)
            assert same(got, want), (path, got, want)
            assert got.headers["x-request-id"]
        lines = await w.log_lines(len(calls_of(dialect)))
        assert {l["endpoint"] for l in lines} == {path for path, _, _ in calls_of(dialect)}
        assert all(l["outcome"] == "ok" and l["model"] == "m" for l in lines)
        await w.counters_are_zero()


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v1/rerank", "/v1/audio/transcriptions",
                                  "/v1/audio/speech"])
@each_dialect
async def test_a_killed_engine_costs_no_answer_that_had_not_begun(tmp_path, dialect, path):
    async with world(tmp_path, dialect, ttft_ms=2000) as w:
        _, body, headers = next(c for c in calls_of(dialect) if c[0] == path)
        want = await ask(w.oracle.port, "POST", path, body, headers)
        tasks = [asyncio.create_task(ask(w.frontend.port, "POST", path, body, headers))
                 for _ in range(40)]

        async def both_run():
            stats = [await get_json(e.port, "/sim/stats") for e in w.engines]
            return sum(s["running"] for s in stats) == 40 and min(s["running"] for s in stats) >= 5
        await eventually("both engines have some", both_run)
        w.engines[0].kill()
        got = [await t for t in tasks]
        assert all(same(g, want) for g in got), [g for g in got if not same(g, want)][:2]
        lines = await w.log_lines(40)
        orphans = w.orphans(lines)
        assert len(orphans) >= 5, "the kill hit nobody"
        assert {m for l in orphans for m in l["modes"]} == {"restart"}
        await w.counters_are_zero()


def begun(pieces):
    """(event, callback) that is set when an answer has brought so many bytes."""
    event = asyncio.Event()
    return event, lambda size: event.set() if size >= pieces else None


@pytest.mark.parametrize("fault", ["kill", "early_end", "half_event", "reset_streams"])
@pytest.mark.parametrize("path,last", [("/v1/responses", "response.failed"),
                                       ("/v1/messages", "error")])
async def test_a_stream_that_breaks_ends_in_its_protocols_error(tmp_path, path, last, fault):
    async with world(tmp_path, "vllm", engines=1, itl_ms=20, ttft_ms=1) as w:
        body = {**JSON_CALLS[path], "stream": True, "max_tokens": 5000, "max_output_tokens": 5000}
        event, seen = begun(2000)
        task = asyncio.create_task(ask(w.frontend.port, "POST", path, body, seen=seen))
        await eventually("the answer has begun", event.is_set)
        if fault == "kill":
            w.engines[0].kill()
        else:
            await w.fault(0, kind=fault)
        got = await task
        assert got.status == 200 and not got.is_whole, "looks like a whole answer"
        events = got.events()
        assert len(events) > 5
        assert [name for name, _ in events].count(last) == 1 and events[-1][0] == last
        data = [json.loads(d) for _, d in events]
        if path == "/v1/messages":
            assert data[-1]["error"]["type"] == "api_error" and data[-1]["type"] == "error"
        else:
            assert data[-1]["response"]["id"] == data[0]["response"]["id"] == "resp_1"
            assert data[-1]["response"]["status"] == "failed"
            assert [d["sequence_number"] for d in data] == list(range(len(data)))
        line = (await w.log_lines(1))[0]
        assert line["outcome"] == "upstream_failed"


@pytest.mark.parametrize("version", ["HTTP/1.1", "HTTP/1.0"])
async def test_sound_that_breaks_is_cut(tmp_path, version):
    async with world(tmp_path, "vllm", engines=1, itl_ms=20, ttft_ms=1) as w:
        body = json.dumps({**JSON_CALLS["/v1/audio/speech"], "max_tokens": 5000}).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", w.frontend.port)
        writer.write(f"POST /v1/audio/speech {version}\r\nHost: t\r\n"
                     f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        raw = await reader.readexactly(9000)
        w.engines[0].kill()
        was_reset = False
        try:
            raw += await reader.read()
        except ConnectionError:
            was_reset = True
        writer.close()
        assert b" 200 " in raw[:20]
        if version == "HTTP/1.1":
            assert b"chunked" in raw[:400] and not raw.endswith(b"0\r\n\r\n")
        else:
            assert was_reset, "a clean end is the end of a whole answer to HTTP/1.0"


async def test_slow_reader_of_sound_costs_little_memory_and_gets_all(tmp_path):
    async with world(tmp_path, "vllm", itl_ms=0.1, ttft_ms=1) as w:
        body = {**JSON_CALLS["/v1/audio/speech"], "max_tokens": 8000}  # 16 MiB
        want = await ask(w.oracle.port, "POST", "/v1/audio/speech", body)
        assert len(want.body) == 8000 * 2048
        data = json.dumps(body).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", w.frontend.port, limit=4096)
        writer.write(b"POST /v1/audio/speech HTTP/1.1\r\nHost: t\r\nConnection: close\r\n"
                     b"Content-Length: %d\r\n\r\n" % len(data) + data)

        # The engine writes far ahead of what fits into us: then it is not read any more.
        async def engine_waits():
            stats = [await get_json(e.port, "/sim/stats") for e in w.engines]
            return sum(s["running"] for s in stats) == 1
        got = await reader.readexactly(4096)
        await eventually("the engine still has it", engine_waits)
        got += await reader.read()
        assert got.endswith(b"0\r\n\r\n")
        assert got.count(b"\r\n800\r\n") > 0 and len(got) > len(want.body)
        writer.close()


async def test_paths_that_exist_are_told_and_no_other_reaches_an_engine(tmp_path):
    async with world(tmp_path, "llama.cpp", itl_ms=1, ttft_ms=1) as w:
        before = [await get_json(e.port, "/sim/stats") for e in w.engines]
        for path in ["/slots", "/props", "/metrics", "/health", "/sim/stats", "/sim/fault",
                     "/lora-adapters", "/inference/v1/abort_requests", "/pause", "/completion",
                     "/v1//embeddings", "//v1/embeddings", "/v1/embeddings/", "/v1%2fembeddings",
                     "/v1/%65mbeddings", "/v1/embeddings;a", "/V1/embeddings"]:
            for method in ("GET", "POST", "DELETE", "PUT"):
                got = await ask(w.frontend.port, method, path, {})
                assert got.status == 404, (method, path, got)
                error = got.json()["error"]
                assert error["code"] == "unknown_path" and "/v1/embeddings" in error["message"]
                assert got.headers["x-should-retry"] == "false"
        for path in ["/v1/../sim/stats", "/v1/%2e%2e/sim/stats", "/v1/.%2E/slots", "/./slots",
                     "/v1/embeddings/..", "/v1\\embeddings", "http:///slots", "slots", "/a%zz",
                     "/v1/embeddings#x"]:
            got = await ask(w.frontend.port, "GET", path)
            assert got.status == 400, (path, got)
        # An absolute target is its path, whatever host it names.
        assert (await ask(w.frontend.port, "GET", "http://evil/slots")).status == 404
        assert (await ask(w.frontend.port, "GET", "http://evil/v1/models")).status == 200
        after = [await get_json(e.port, "/sim/stats") for e in w.engines]
        assert [a["requests"] for a in after] == [b["requests"] for b in before]


async def test_methods(tmp_path):
    async with world(tmp_path, "vllm", itl_ms=1, ttft_ms=1) as w:
        port = w.frontend.port
        for path in ("/v1/embeddings", "/v1/chat/completions"):
            for method in ("GET", "PUT", "DELETE", "PATCH", "HEAD"):
                got = await ask(port, method, path)
                assert got.status == 405 and got.headers["allow"] == "POST, OPTIONS", (path, method)
                assert (got.body == b"") == (method == "HEAD")
            got = await ask(port, "OPTIONS", path)
            assert got.status == 204 and got.headers["allow"] == "POST, OPTIONS" and not got.body
        assert (await ask(port, "OPTIONS", "*")).status == 204
        assert (await ask(port, "OPTIONS", "/slots")).status == 404
        models = await ask(port, "GET", "/v1/models")
        head = await ask(port, "HEAD", "/v1/models")
        assert head.status == 200 and head.body == b""
        assert head.headers["content-length"] == str(len(models.body))
        assert (await ask(port, "POST", "/v1/models", {})).status == 405
        assert (await ask(port, "GET", "/v1/models/m")).json()["id"] == "m"
        got = await ask(port, "GET", "/v1/models/org%2Fother")
        assert got.status == 404 and "org/other" in got.json()["error"]["message"]


async def test_requests_that_cannot_be_routed(tmp_path):
    async with world(tmp_path, "vllm", itl_ms=1, ttft_ms=1,
                     per_engine=({"model": "m"}, {"model": "n"})) as w:
        port = w.frontend.port

        async def error(path, body, headers=()):
            got = await ask(port, "POST", path, body, headers)
            return got.status, got.json()["error"]["code"]
        assert await error("/v1/embeddings", b"{") == (400, "bad_input")
        assert await error("/v1/embeddings", b"[]") == (400, "bad_input")
        assert await error("/v1/embeddings", {"model": 1}) == (400, "bad_input")
        assert await error("/v1/embeddings", {"input": "a"}) == (400, "bad_input")
        assert await error("/v1/embeddings", {"model": "x"}) == (404, "model_not_found")
        assert await error("/v1/audio/transcriptions", {"model": "m"}) == (400, "bad_input")
        body, line = form({"model": "m", "file": SOUND})
        assert await error("/v1/audio/transcriptions", body[:-20], (line,)) == (400, "bad_input")
        got = await ask(port, "POST", "/v1/messages", {"model": "x"})
        assert got.json()["type"] == "error"
        assert got.json()["error"]["type"] == "not_found_error"
        got = await ask(port, "POST", "/v1/embeddings", {"model": "n", "input": "a"})
        assert got.status == 200


async def test_paths_can_be_narrowed(tmp_path):
    serve = ("--proxy-paths", "/v1/embeddings,/tokenize")
    async with world(tmp_path, "vllm", itl_ms=1, ttft_ms=1, serve=serve) as w:
        body = JSON_CALLS["/v1/embeddings"]
        assert (await ask(w.frontend.port, "POST", "/v1/embeddings", body)).status == 200
        assert (await ask(w.frontend.port, "POST", "/v1/rerank", body)).status == 404


async def test_all_engines_down_and_one_back(tmp_path):
    async with world(tmp_path, "vllm", itl_ms=1, ttft_ms=1, serve=("--admission-hold", "1s")) as w:
        for engine in w.engines:
            engine.kill()
        got = await ask(w.frontend.port, "POST", "/v1/embeddings", JSON_CALLS["/v1/embeddings"])
        assert got.status == 503 and got.json()["error"]["code"] == "no_worker"
        assert 1 <= int(got.headers["retry-after"]) <= 30
        w.restart_engine(0, itl_ms=1, ttft_ms=1)

        async def answered():
            body = JSON_CALLS["/v1/embeddings"]
            return (await ask(w.frontend.port, "POST", "/v1/embeddings", body)).status == 200
        await eventually("an answer of the engine that is back", answered)
        await w.counters_are_zero()
