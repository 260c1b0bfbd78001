"""Keys of engines and of clients, header fields, and what an engine is not to be sent."""
import json

import pytest
from engine_front import EngineFront
from harness import CHAT, Process, Stream, ask, eventually, get_json, make_body, start_engine

EMBEDDING = {"model": "m", "input": "sea"}


def serve(tmp_path, engines, **top):
    path = tmp_path / "holdfast.yaml"
    path.write_text(json.dumps({"engines": engines, **top}))
    return Process(tmp_path, "serve", ["serve", "--config", str(path), "--listen", "127.0.0.1:0",
                                       "--system-port", "0", "--admin", "127.0.0.1:0"])


async def ready(frontend, count=1):
    async def is_ready():
        health = await get_json(frontend.ports["system"], "/health")
        return health["workers"].get("ready", 0) == count
    await eventually("a ready worker", is_ready)


@pytest.mark.parametrize("dialect", ["vllm", "llama.cpp"])
async def test_an_engines_key_serves_probes_and_requests(tmp_path, monkeypatch, dialect):
    monkeypatch.setenv("HF_TEST_KEY", "secret-1")
    engine = start_engine(tmp_path, "engine", dialect, itl_ms=1, ttft_ms=1, api_key="secret-1")
    frontend = serve(tmp_path, [{"url": f"http://127.0.0.1:{engine.port}",
                                 "api_key_env": "HF_TEST_KEY"}])
    try:
        without = await ask(engine.port, "POST", "/v1/embeddings", EMBEDDING)
        assert without.status == 401, "the engine asks for no key"
        await ready(frontend)
        wrong = ("Authorization: Bearer other",)  # the client's does not count
        got = await ask(frontend.port, "POST", "/v1/embeddings", EMBEDDING, wrong)
        assert got.status == 200
        stream = await Stream(frontend.port, CHAT, make_body(CHAT, 0, 20)).start().task
        assert stream.done and stream.clean and stream.text, (stream.status, stream.error)
        assert b"secret-1" not in frontend.log_path.read_bytes()
    finally:
        frontend.end()
        engine.end()


async def test_a_key_that_is_not_set_is_told(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_TEST_KEY", raising=False)
    engine = start_engine(tmp_path, "engine", "vllm")
    frontend = serve(tmp_path, [{"url": f"http://127.0.0.1:{engine.port}",
                                 "api_key_env": "HF_TEST_KEY"}])
    try:
        await ready(frontend)
        assert "HF_TEST_KEY is not set" in frontend.log_path.read_text()
    finally:
        frontend.end()
        engine.end()


@pytest.mark.parametrize("auth", ["none", "passthrough"])
@pytest.mark.parametrize("path,body", [("/v1/embeddings", EMBEDDING),
                                       (CHAT, make_body(CHAT, 0, 3))], ids=["embeddings", "chat"])
async def test_what_an_engine_is_sent(tmp_path, auth, path, body):
    engine = start_engine(tmp_path, "engine", "vllm", itl_ms=1, ttft_ms=1)
    async with EngineFront(engine.port) as front:
        frontend = serve(tmp_path, [f"http://127.0.0.1:{front.port}"], auth=auth)
        try:
            await ready(frontend)
            front.heads.clear()
            trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
            headers = ["Authorization: Bearer mine", "Cookie: a=b", f"traceparent: {trace}",
                       "X-Holdfast-Priority: 9", "x-holdfast-tenant: t", "TE: trailers",
                       "Keep-Alive: 5", "Accept-Encoding: gzip", "Range: bytes=0-3",
                       "X-Request-Id: mine-1", "Proxy-Authorization: Basic x", "X-Other: kept"]
            got = await ask(frontend.port, "POST", path, body, headers)
            assert got.status == 200 and got.headers["x-request-id"] == "mine-1"
            # Whoever identifies the worker sends chats of its own: ours is the one with our id.
            mine = [h for h in front.heads if "mine-1-1" in h]
            assert len(mine) == 1 and f"POST {path} " in mine[0]
            fields = dict(l.lower().split(": ", 1) for l in mine[0].split("\r\n")[1:-2])
            assert fields.get("authorization") == ("bearer mine" if auth == "passthrough" else None)
            assert fields["traceparent"] == trace and fields["x-other"] == "kept"
            assert fields["accept-encoding"] == "identity"
            assert fields["host"] == f"127.0.0.1:{front.port}"
            assert not {"cookie", "x-holdfast-priority", "x-holdfast-tenant", "te", "keep-alive",
                        "range", "proxy-authorization"} & set(fields)
        finally:
            frontend.end()
    engine.end()
