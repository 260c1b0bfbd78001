"""The admin listener: cancel by id (scenarios cancel_stop, cancel_kill) and who may call it."""
import asyncio
import json
import os
import socket
import subprocess

import pytest
from harness import BIN, CHAT, COMPLETIONS, call, eventually, get_json, make_body, world

each_dialect = pytest.mark.parametrize("dialect", ["vllm", "llama.cpp"])
STREAMS = 40


async def running(w):
    page = await get_json(w.frontend.ports["admin"], "/v1/requests")
    assert page["complete"]
    return page["requests"]


async def cancel(w, request_id, mode):
    return await call(w.frontend.ports["admin"], "POST",
                      f"/v1/requests/{request_id}/cancel?mode={mode}")


async def engines_run(w):
    stats = [await get_json(e.port, "/sim/stats") for e in w.engines]
    return sum(s["running"] + s["waiting"] for s in stats)


async def bring_to(w, phase, path):
    """100 requests in that phase; what they are compared with."""
    if phase == "queue":
        for engine in w.engines:
            engine.kill()
        await w.ready(0)
    if phase == "prefill":
        for i in range(2):
            await w.fault(i, kind="wedge")
    # Long enough to outlive the test: none may end by itself.
    bodies = [make_body(path, 4 * i, max_tokens=20000) for i in range(STREAMS)]
    streams = w.start(path, bodies)
    if phase == "decode":
        await w.all_have(streams, 5)

    async def all_in():
        return [r["phase"] for r in await running(w)] == [phase] * STREAMS
    await eventually(f"all requests in {phase}", all_in)
    if phase != "queue":
        async def all_there():
            return await engines_run(w) == STREAMS
        await eventually("the engines have all of them", all_there)
    return bodies, streams


@pytest.mark.parametrize("phase", ["queue", "prefill", "decode"])
@pytest.mark.parametrize("mode", ["stop", "kill"])
@each_dialect
async def test_cancel(tmp_path, dialect, mode, phase):
    """cancel_stop and cancel_kill: what the client gets, and nothing is left at any level."""
    path = CHAT if phase == "decode" else COMPLETIONS
    async with world(tmp_path, dialect, itl_ms=20, max_model_len=32768,
                     serve=("--admission-hold", "600")) as w:
        bodies, streams = await bring_to(w, phase, path)
        ids = [r["id"] for r in await running(w)]
        assert len(set(ids)) == STREAMS
        for request_id in ids:
            status, _, body = await cancel(w, request_id, mode)
            assert status == 200 and json.loads(body)["cancelled"] == 1, body
        got = await w.finish(streams)
        if phase != "queue":
            async def none_there():
                return await engines_run(w) == 0
            await eventually("the engines were told", none_there)
        kept = mode == "stop" and phase == "decode"
        for s in got:
            if kept:
                assert s.status == 200 and s.finish == "stop" and s.done and s.clean, vars(s)
                assert s.usage["completion_tokens"] >= 5 and s.text and not s.error
            elif phase == "decode":
                assert s.error["code"] == "cancelled" and s.finish is None, s.error
                assert not s.done and not s.clean, "looks like a whole answer"
            else:
                assert s.status == 410 and s.error["code"] == "cancelled", (s.status, s.error)
        if phase == "decode":
            most = max(s.usage["completion_tokens"] if kept else s.tokens for s in got)
            want = await w.reference(path, [{**b, "max_tokens": most + 100} for b in bodies[:8]])
            for s, r in zip(got, want):
                assert s.text and r.text.startswith(s.text), (s.text, r.text)
        if phase != "queue":
            await w.counters_are_zero()
        assert await w.metric("holdfast_requests_running") == 0
        reason = "stop" if kept else "kill"
        assert await w.metric("holdfast_cancellations_total", reason=reason,
                              phase=phase) == STREAMS
        lines = await w.log_lines(STREAMS)
        assert {l["outcome"] for l in lines} == {"stopped" if kept else "cancelled"}
        failed = await get_json(w.frontend.ports["admin"], f"/v1/requests/{ids[0]}")
        assert failed["state"] == "failed" and "RequestMachine{st=done" in failed["line"]
        status, _, body = await cancel(w, ids[0], mode)
        assert status == 404 and b"GET /v1/requests lists" in body


@pytest.mark.parametrize("mode", ["stop", "kill"])
@each_dialect
async def test_cancel_of_an_answer_that_is_not_streamed(tmp_path, dialect, mode):
    """stop keeps what was produced where the answer is assembled; kill is an error."""
    async with world(tmp_path, dialect, itl_ms=20, max_model_len=32768) as w:
        body = make_body(CHAT, 0, max_tokens=20000)
        del body["stream"], body["stream_options"]
        asked = asyncio.create_task(call(w.frontend.port, "POST", CHAT, body))

        async def under_way():
            found = await running(w)
            return found and found[0]["tokens"] >= 5 and found[0]["id"]
        own = await eventually("some tokens of it", under_way)
        status, _, answer = await cancel(w, own, mode)
        assert status == 200, answer
        status, _, answer = await asked
        answer = json.loads(answer)
        if mode == "kill":
            assert status == 410 and answer["error"]["code"] == "cancelled", answer
        else:
            choice = answer["choices"][0]
            assert status == 200 and choice["finish_reason"] == "stop", answer
            count = answer["usage"]["completion_tokens"]
            assert count >= 5
            want = (await w.reference(CHAT, [make_body(CHAT, 0, max_tokens=count + 10)]))[0]
            assert choice["message"]["content"] and want.text.startswith(
                choice["message"]["content"])
        await w.counters_are_zero()


async def test_one_of_many_is_cancelled(tmp_path):
    async with world(tmp_path, "vllm") as w:
        bodies = [make_body(COMPLETIONS, 4 * i) for i in range(10)]
        want = await w.reference(COMPLETIONS, bodies)
        streams = w.start(COMPLETIONS, bodies)
        status, _, _ = await call(w.frontend.port, "GET", "/v1/models",
                                  headers=["x-request-id: mine"])
        assert status == 200
        bad = make_body(COMPLETIONS, 100, max_tokens=1500)
        victim = w.start(COMPLETIONS, [bad])[0]
        await w.all_have([*streams, victim], 2)
        ids = {r["id"] for r in await running(w)}
        own = [l.split(":", 1)[1].strip() for l in victim.headers.split("\r\n")
               if l.startswith("x-request-id:")][0]
        assert own in ids
        status, _, _ = await cancel(w, own, "kill")
        assert status == 200
        await victim.task
        assert victim.error["code"] == "cancelled"
        for s, r in zip(await w.finish(streams), want):
            assert s.text == r.text and s.done and not s.error


async def test_who_may_call(tmp_path):
    token = "a secret of the operator"
    async with world(tmp_path, "vllm", engines=1, serve=("--admin-token", token)) as w:
        port = w.frontend.ports["admin"]

        async def status(*headers, method="GET", path="/v1/requests"):
            got, fields, body = await call(port, method, path, headers=headers)
            if got >= 400:
                assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}
            assert "access-control-allow-origin" not in fields
            return got

        good = f"Authorization: Bearer {token}"
        assert await status(good) == 200
        assert await status() == 401
        assert await status("Authorization: Bearer x") == 401
        assert await status(f"Authorization: Bearer {token}x") == 401
        assert await status(f"Authorization: Bearer {token[:-1]}") == 401
        assert await status(good, good) == 401
        assert await status(good, "Origin: http://evil.example") == 403
        assert await status(good, "Sec-Fetch-Site: cross-site") == 403
        assert await status(good, method="DELETE") == 405
        assert await status(good, path="/v1/nothing") == 404
        assert await status(good, path="/v1/requests/none") == 404
        assert await status(good, method="POST", path="/v1/requests/none/cancel?mode=stop") == 404
        assert await status(good, method="POST", path="/v1/requests/none/cancel") == 400
        assert await status(good, method="POST", path="/v1/requests/none/cancel?mode=x") == 400
        assert token.encode() not in w.frontend.log_path.read_bytes()


async def test_without_a_token_only_loopback_hosts_may_call(tmp_path):
    async with world(tmp_path, "vllm", engines=1) as w:
        port = w.frontend.ports["admin"]
        for host, want in [("127.0.0.1", 200), (f"localhost:{port}", 200), ("[::1]:9", 200),
                           ("evil.example", 403), (f"evil.example:{port}", 403),
                           ("127.0.0.1.evil.example", 403)]:
            with socket.create_connection(("127.0.0.1", port)) as s:
                s.sendall(f"GET /v1/requests HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
                          .encode())
                answer = b""
                while part := s.recv(65536):
                    answer += part
            assert int(answer.split()[1]) == want, (host, answer)


def serve(*arguments, **environment):
    return subprocess.run([BIN, "serve", "--engine", "http://127.0.0.1:1", "--listen",
                           "127.0.0.1:0", "--system-port", "0", *arguments], timeout=60,
                          capture_output=True, text=True, env={**os.environ, **environment})


def test_an_open_address_wants_a_token():
    run = serve("--admin", "0.0.0.0:0")
    assert run.returncode == 1 and "HOLDFAST_ADMIN_TOKEN" in run.stderr, run.stderr


def test_a_taken_port_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        run = serve("--admin", address)
    assert run.returncode == 1 and address in run.stderr and "--admin" in run.stderr, run.stderr


async def test_it_can_be_turned_off(tmp_path):
    async with world(tmp_path, "vllm", engines=1, serve=("--admin", "off")) as w:
        assert w.frontend.ports["admin"] == 0
