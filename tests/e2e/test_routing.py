"""Who gets a request: sessions, slow workers, the policies. See docs/routing.md."""
import asyncio
import collections
import json
import time

import pytest
from harness import (CHAT, COMPLETIONS, DEADLINE, Stream, assert_equal_answers, call, eventually,
                     get_json, make_body, world)

each_dialect = pytest.mark.parametrize("dialect", ["vllm", "llama.cpp"])


def name(engine):
    return f"127.0.0.1:{engine.port}"


@each_dialect
async def test_worker_slow(tmp_path, dialect):
    async with world(tmp_path, dialect) as w:
        bodies = [make_body(COMPLETIONS, 4 * i, max_tokens=700) for i in range(60)]
        want = await w.reference(COMPLETIONS, bodies)
        streams = w.start(COMPLETIONS, bodies)
        await w.all_have(streams, 5)
        await w.fault(0, kind="slow", factor=50)
        began = time.monotonic()  # CLOCK_MONOTONIC, as the engine's gone_us

        async def slow():
            return await w.metric("holdfast_worker_state", worker=name(w.engines[0]),
                                  state="slow") == 1
        await eventually("the worker is called slow", slow)
        assert (await get_json(w.engines[0].port, "/sim/stats"))["running"] >= 1

        async def moved():
            stats = await get_json(w.engines[0].port, "/sim/stats")
            return stats["running"] == 0 and stats["gone_us"]
        took = max(await eventually("its streams moved", moved)) / 1e6 - began
        print(f"all had moved after {took:.2f} s")
        assert_equal_answers(await w.finish(streams), want)
        orphans = w.orphans(await w.log_lines(60))
        assert len(orphans) >= 20, f"only {len(orphans)} streams were hit"
        assert all(set(l["modes"]) == {"tokens"} for l in orphans)
        assert all(l["reasons"] == ["slow"] or l["reasons"] == ["stall"] for l in orphans)
        # 10 s is the contract; tests/bench/times.py measures it where the machine is not busy.
        assert took < 30, f"{took:.1f} s until all had moved"
        # New work goes to the other one; at most one change of that state a minute.
        more = w.start(COMPLETIONS, bodies[:4])
        await w.finish(more)
        lines = (await w.log_lines(64))[-4:]
        assert all(l["workers"] == [name(w.engines[1])] for l in lines)
        log = w.frontend.log_path.read_text()
        assert log.count("is slow (slow)") == 1 and "(pace)" not in log and "(trial)" not in log
        assert await w.metric("holdfast_ejections_total", reason="silent") == 0
        await w.counters_are_zero()


class Users:
    """One-token requests, each of a user; who served whom is read from the access log."""

    def __init__(self, world_):
        self.w = world_
        self.round = 0

    async def place(self, users):
        """The worker of each user, asked once, twenty at a time."""
        self.round += 1
        prefix = f"r{self.round}-"
        gate = asyncio.Semaphore(20)

        async def ask(user):
            async with gate:
                status, _, _ = await call(
                    self.w.frontend.port, "POST", COMPLETIONS,
                    {"model": "m", "prompt": "hello", "max_tokens": 1, "temperature": 0},
                    headers=[f"x-user-id: {user}", f"x-request-id: {prefix}{user}"])
                assert status == 200
        await asyncio.gather(*(ask(u) for u in users))

        def served():
            found = {l["request_id"].removeprefix(prefix): l for l in self.w.lines()
                     if l["request_id"].startswith(prefix)}
            return found if len(found) == len(users) else None
        lines = await eventually("all of them are in the access log", served)
        assert all(len(l["session_hash"]) == 16 for l in lines.values())
        return {u: lines[str(u)]["workers"][-1] for u in users}


async def undisturbed(w, victim):
    """Workers whose sessions had no reason to move: on a busy machine others may seem dead."""
    calm = set()
    for engine in w.engines:
        lost = await w.metric("holdfast_ejections_total", worker=name(engine))
        lost += await w.metric("holdfast_attempts_total", worker=name(engine))
        if lost == 0 and name(engine) != victim:
            calm.add(name(engine))
    assert len(calm) >= len(w.engines) / 2, "too few workers were left in peace to tell"
    return calm


async def test_sessions_on_ten_engines(tmp_path):
    async with world(tmp_path, "vllm", engines=10, itl_ms=1, ttft_ms=0,
                     serve=("--routing", "session")) as w:
        users = Users(w)
        everybody = range(2500)
        before = await users.place(everybody)
        spread = collections.Counter(before.values())
        assert len(spread) == 10 and max(spread.values()) <= 1.25 * 250, spread
        victim = name(w.engines[3])
        w.engines[3].kill()
        await w.ready(9)
        after = await users.place(everybody)
        orphans = [u for u in everybody if before[u] == victim]
        assert orphans and all(after[u] != victim for u in orphans)
        calm = await undisturbed(w, victim)
        assert not [u for u in everybody if before[u] in calm and after[u] != before[u]]
        spread = collections.Counter(after.values())
        assert max(spread.values()) <= 1.25 * 2500 / 9, spread
        w.restart_engine(3, itl_ms=1, ttft_ms=0)
        await w.ready(10)
        some = orphans + [u for u in everybody if before[u] != victim][:300]
        again = await users.place(some)
        calm = await undisturbed(w, victim)
        assert not [u for u in some if after[u] in calm and again[u] != after[u]], "moved back"
        newcomers = await users.place(range(5000, 5400))
        assert victim in newcomers.values()  # but new ones are placed there


@each_dialect
async def test_session_pod_kill(tmp_path, dialect):
    async with world(tmp_path, dialect, engines=4, serve=("--routing", "session")) as w:
        users = Users(w)
        everybody = list(range(9960, 10000))
        before = await users.place(everybody)
        body = make_body(CHAT, 4, max_tokens=300)
        want = await w.reference(CHAT, [body])
        stream = Stream(w.frontend.port, CHAT, body, ["x-user-id: 9999", "x-request-id: hit"])
        stream.start()
        await w.all_have([stream], 5)
        victim = next(e for e in w.engines if name(e) == before[9999])
        victim.kill()
        assert_equal_answers(await w.finish([stream]), want)
        line = (await eventually("its line", lambda: [l for l in w.lines()
                                                      if l["request_id"] == "hit"]))[0]
        assert line["workers"][0] == name(victim) and line["modes"] == ["tokens"], line
        await w.ready(3)
        after = await users.place(everybody)
        assert after[9999] == line["workers"][-1] != name(victim)
        calm = await undisturbed(w, name(victim))
        assert not [u for u in everybody if before[u] in calm and after[u] != before[u]]
        assert all(after[u] != name(victim) for u in everybody)
        index = w.engines.index(victim)
        w.restart_engine(index)
        await w.ready(4)
        again = await users.place(everybody)
        calm = await undisturbed(w, name(victim))
        assert not [u for u in everybody if after[u] in calm and again[u] != after[u]]
        await w.counters_are_zero()


async def test_session_key_missing_is_told(tmp_path):
    async with world(tmp_path, "vllm", serve=("--routing", "session", "--session-key",
                                              "body:user")) as w:
        body = {"model": "m", "prompt": "hello", "max_tokens": 1}
        for extra in ({"user": "a"}, {}, {"user": ""}, {"user": None}):
            status, _, _ = await call(w.frontend.port, "POST", COMPLETIONS, {**body, **extra})
            assert status == 200
        health = await get_json(w.frontend.ports["system"], "/health")
        missing = [x for x in health["warnings"] if x["code"] == "session_key_missing"]
        assert len(missing) == 1 and missing[0]["message"].startswith("3 "), health
        lines = await w.log_lines(4)
        assert [l["session_hash"] is not None for l in lines] == [True, False, False, False]
        assert "user" not in w.access_path.read_text()


@pytest.mark.parametrize("policy", ["p2c", "random", "round-robin", "least-loaded"])
async def test_every_policy_uses_all_workers(tmp_path, policy):
    async with world(tmp_path, "vllm", engines=3, serve=("--routing", policy)) as w:
        bodies = [make_body(COMPLETIONS, 4 * i, max_tokens=20) for i in range(60)]
        want = await w.reference(COMPLETIONS, bodies)
        assert_equal_answers(await w.finish(w.start(COMPLETIONS, bodies)), want)
        used = collections.Counter(l["workers"][0] for l in await w.log_lines(60))
        assert len(used) == 3, used
