"""Engines without token ids (SGLang, whatever speaks OpenAI's API), and mode text."""
import signal

import pytest
from harness import (CHAT, COMPLETIONS, assert_equal_answers, call, eventually, get_json, make_body,
                     world)

each_path = pytest.mark.parametrize("path", [COMPLETIONS, CHAT], ids=["completions", "chat"])
each_plain = pytest.mark.parametrize("dialect", ["openai", "sglang"])
TEXT = ["--continuation-modes", "restart,tokens,text"]


async def killed_in_mid_stream(w, path, bodies):
    streams = w.start(path, bodies)
    await w.all_have(streams, 5)
    w.engines[0].kill()
    return await w.finish(streams)


def assert_went_on_from_text(got, want):
    """Another sample of the rest: what was sent is kept, and nothing else gives it away."""
    for g, w in zip(got, want):
        assert g.error is None and g.broken is None and g.done and g.clean
        assert g.finish == w.finish and g.roles == w.roles and len(g.identities) == 1
        kept = next((i for i, (a, b) in enumerate(zip(g.text, w.text)) if a != b), len(g.text))
        assert kept >= 5, (g.text, w.text)


@each_plain
@each_path
async def test_goes_on_from_the_text_where_it_was_asked_to(tmp_path, dialect, path):
    async with world(tmp_path, dialect, serve=TEXT) as w:
        bodies = [make_body(path, 0, max_tokens=60)] * 10
        want = await w.reference(path, bodies)
        got = await killed_in_mid_stream(w, path, bodies)
        assert_went_on_from_text(got, want)
        assert all("x-holdfast-fidelity: text" in g.headers for g in got)
        orphans = w.orphans(await w.log_lines(10))
        assert len(orphans) >= 2 and all(l["modes"] == ["text"] for l in orphans)
        assert sum("holdfast: text" in g.comments for g in got) == len(orphans)
        assert await w.metric("holdfast_migrations_total", mode="text", outcome="ok") >= 2
        await w.counters_are_zero()


async def test_one_model_alone_may_opt_in(tmp_path):
    settings = tmp_path / "holdfast.yaml"
    settings.write_text("models: {m: {continuation: {text: true}}}\n")
    async with world(tmp_path, "openai", serve=("--config", str(settings))) as w:
        bodies = [make_body(CHAT, 0, max_tokens=60)] * 10
        want = await w.reference(CHAT, bodies)
        assert_went_on_from_text(await killed_in_mid_stream(w, CHAT, bodies), want)
        orphans = w.orphans(await w.log_lines(10))
        assert len(orphans) >= 2 and all(l["modes"] == ["text"] for l in orphans)


@each_plain
async def test_without_it_one_clear_error_after_the_first_token(tmp_path, dialect):
    async with world(tmp_path, dialect) as w:
        got = await killed_in_mid_stream(w, CHAT, [make_body(CHAT, 0, max_tokens=300)] * 8)
        broken = [g for g in got if g.error]
        assert 2 <= len(broken) < 8, "the kill hit nobody, or those of the other engine"
        for g in broken:
            assert g.error["code"] == "upstream_failed" and not g.done and not g.clean
            assert "x-holdfast-fidelity: none" in g.headers
        assert all(g.done and g.finish == "length" for g in got if not g.error)


@each_plain
async def test_before_the_first_token_and_not_streamed_it_restarts(tmp_path, dialect):
    async with world(tmp_path, dialect, per_engine=[{"ttft_ms": 2500}, {}]) as w:
        bodies = [make_body(CHAT, i, max_tokens=30) for i in range(10)]
        want = await w.reference(CHAT, bodies)
        streams = w.start(CHAT, bodies)

        async def some_wait():
            return (await get_json(w.engines[0].port, "/sim/stats"))["running"] >= 2
        await eventually("requests wait for their first token", some_wait)
        w.engines[0].kill()
        assert_equal_answers(await w.finish(streams), want)
        assert {m for l in w.orphans(await w.log_lines(10)) for m in l["modes"]} == {"restart"}


async def test_what_a_plain_engine_sends_is_not_touched(tmp_path):
    async with world(tmp_path, "openai", engines=1, serve=TEXT) as w:
        body = make_body(CHAT, 0, max_tokens=20)
        (_, _, want), (_, headers, got) = (await call(w.oracle.port, "POST", CHAT, body),
                                           await call(w.frontend.port, "POST", CHAT, body))
        assert events_of(got) == events_of(want) and headers["x-holdfast-fidelity"] == "text"


def events_of(raw):
    import re
    text = re.sub(rb"(?:^|\r\n)[0-9a-f]+\r\n", b"", raw)
    return re.sub(rb'"(id|created)":("[^"]*"|\d+)', rb"", text)


@each_path
async def test_a_refused_prefix_is_not_the_clients_error(tmp_path, path):
    async with world(tmp_path, "openai", engines=3, serve=TEXT) as w:
        streams = w.start(path, [make_body(path, i, max_tokens=400) for i in range(9)])
        await w.all_have(streams, 5)
        for engine in (1, 2):  # from now on only prefixes of ours get there
            await w.fault(engine, kind="status", code=400, count=1000)
        w.engines[0].signal(signal.SIGKILL)
        got = await w.finish(streams)
        errors = [g.error for g in got if g.error]
        assert 1 <= len(errors) < 9, "the kill hit nobody, or those of other engines"
        assert {e["code"] for e in errors} == {"upstream_failed"}
        refused = [l for l in w.orphans(await w.log_lines(9)) if l["status"] == 200]
        assert len(refused) == len(errors) and all(len(l["workers"]) == 3 for l in refused)


async def test_vllm_goes_on_from_text_where_nobody_has_its_ids(tmp_path):
    async with world(tmp_path, "vllm", serve=TEXT, per_engine=[{}, {"variant": 1}]) as w:
        streams = w.start(CHAT, [make_body(CHAT, 0, max_tokens=80)] * 6)
        await w.all_have(streams, 5)
        w.engines[0].kill()
        got = await w.finish(streams)
        assert all(g.done and g.finish == "length" and g.error is None for g in got)
        orphans = w.orphans(await w.log_lines(6))
        assert orphans and all(l["modes"] == ["text"] for l in orphans)


@pytest.mark.parametrize("dialect,name", [("sglang", "SGLang 0.5.23"), ("vllm", "vLLM 0.32.0"),
                                          ("openai", "an OpenAI-like engine"),
                                          ("llama.cpp", "llama.cpp")])
async def test_what_each_engine_was_taken_for_is_told(tmp_path, dialect, name):
    async with world(tmp_path, dialect, engines=1) as w:
        health = await get_json(w.frontend.ports["system"], "/health")
        (told,) = health["engines"].values()
        assert told.startswith(f"taken for {name}") and told in w.frontend.log_path.read_text()
        by_ids = dialect in ("vllm", "llama.cpp")
        assert ("mode tokens" in told) == by_ids and ("one clear error" in told) != by_ids
