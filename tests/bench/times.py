#!/usr/bin/env python3
"""The times that users are promised, each measured on real processes with one clock.

    tests/bench/times.py [--streams 100] [--dialect vllm|llama.cpp] [--json PATH]
                         default PATH: build/reports/times.json

client_gone  from the close of a client's socket, one after the other, until its engine saw that
             answer's connection go (gone_us of /sim/stats: CLOCK_MONOTONIC, as Python's
             monotonic()); with the requests in prefill and in decode. `all at once`: from the last
             close to the last that an engine saw.
cancel       the same from the sending of the admin call, with `stop` and `kill`.
503          from the request, on a kept connection, to the whole answer where no worker is there
             and admission.queue_max is 0.
slow         every token of one engine takes fifty times as long: from the fault to the frontend's
             verdict (as /metrics tells it, so up to 10 ms late) and until the last of its streams
             was taken from the engine, and from the first taken to the last.

Nothing here fails for being slow: the figures are printed beside their targets.
"""
import argparse
import asyncio
import json
import pathlib
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
import harness  # noqa: E402  (processes are those of the end-to-end tests)
from failover import Client, quantile  # noqa: E402

TARGETS_MS = {"client_gone": 100, "cancel": 100, "503": 10, "slow": 10_000}


async def gone(w):
    """When the engines saw connections of open answers go, in order; seconds."""
    stats = [await harness.get_json(e.port, "/sim/stats") for e in w.engines]
    return sorted(us / 1e6 for s in stats for us in s["gone_us"])


async def one_more(w, count):
    async def has_more():
        seen = await gone(w)
        return seen if len(seen) > count else None
    return await harness.eventually("the engine was told", has_more)


async def in_phase(w, phase, count):
    """`count` streams in prefill or decode."""
    if phase == "prefill":
        for i in range(len(w.engines)):
            await w.fault(i, kind="wedge")
    bodies = [harness.make_body(harness.COMPLETIONS, 4 * i, max_tokens=20_000)
              for i in range(count)]
    streams = w.start(harness.COMPLETIONS, bodies)
    if phase == "decode":
        await w.all_have(streams, 5)

    async def all_there():
        stats = [await harness.get_json(e.port, "/sim/stats") for e in w.engines]
        return sum(s["running"] + s["waiting"] for s in stats) == count
    await harness.eventually("the engines have all of them", all_there)
    return streams


def row(name, target, seconds):
    ms = [1000 * s for s in seconds]
    found = {"what": name, "count": len(ms), "p50_ms": quantile(ms, 0.5),
             "p99_ms": quantile(ms, 0.99), "target_ms": TARGETS_MS[target]}
    verdict = "holds" if found["p99_ms"] <= found["target_ms"] else "MISSED"
    print(f"{name:34} n {len(ms):3}  p50 {found['p50_ms']:8.2f} ms  p99 {found['p99_ms']:8.2f} ms"
          f"  target {found['target_ms']} ms {verdict}", flush=True)
    return found


async def clients_go(directory, dialect, phase, count):
    async with harness.world(directory, dialect, max_model_len=32_768) as w:
        streams = await in_phase(w, phase, count)
        half, took = count // 2, []
        before = len(await gone(w))
        for stream in streams[:half]:
            began = time.monotonic()
            stream.task.cancel()
            stream.writer.close()
            seen = await one_more(w, before)
            took.append(seen[-1] - began)
            before = len(seen)
        rows = [row(f"client_gone in {phase}", "client_gone", took)]
        for stream in streams[half:]:
            stream.task.cancel()
            stream.writer.close()
            last = time.monotonic()
        seen = await one_more(w, before + count - half - 1)
        rows.append(row(f"client_gone in {phase}, all at once", "client_gone", [seen[-1] - last]))
        await asyncio.gather(*(s.task for s in streams), return_exceptions=True)
        return rows


async def cancels(directory, dialect, mode, count):
    async with harness.world(directory, dialect, max_model_len=32_768) as w:
        streams = await in_phase(w, "decode", count)
        page = await harness.get_json(w.frontend.ports["admin"], "/v1/requests")
        took, before = [], len(await gone(w))
        for request in page["requests"]:
            began = time.monotonic()
            status, _, body = await harness.call(
                w.frontend.ports["admin"], "POST",
                f"/v1/requests/{request['id']}/cancel?mode={mode}")
            assert status == 200, body
            seen = await one_more(w, before)
            took.append(seen[-1] - began)
            before = len(seen)
        await w.finish(streams)
        return [row(f"cancel_{mode} in decode", "cancel", took)]


async def shed_at_once(directory, dialect, count):
    serve = ("--admission-queue-max", "0")
    async with harness.world(directory, dialect, engines=1, serve=serve) as w:
        w.engines[0].kill()
        await w.ready(0)
        client, took = Client(w.frontend.port), []
        await client.open()
        for i in range(2 * count):
            status, seconds = await client.ask(harness.CHAT, f"r{i}")
            assert status == 503, status
            took.append(seconds)
        return [row("503 at queue_max 0", "503", took)]


async def worker_slow(directory, dialect):
    async with harness.world(directory, dialect, max_model_len=32_768) as w:
        streams = await in_phase(w, "decode", 60)
        name = f"127.0.0.1:{w.engines[0].port}"
        began = time.monotonic()
        await w.fault(0, kind="slow", factor=50)

        async def called_slow():
            return await w.metric("holdfast_worker_state", worker=name, state="slow") == 1
        await harness.eventually("the worker is called slow", called_slow)
        verdict = time.monotonic() - began

        async def moved():
            stats = await harness.get_json(w.engines[0].port, "/sim/stats")
            return stats["gone_us"] if stats["running"] == 0 else None
        seen = [us / 1e6 for us in await harness.eventually("its streams moved", moved)]
        assert len(seen) >= 20, f"only {len(seen)} streams were hit"
        for stream in streams:
            stream.task.cancel()
        await asyncio.gather(*(s.task for s in streams), return_exceptions=True)
        return [row("slow: verdict", "slow", [verdict]),
                row("slow: all moved", "slow", [max(seen) - began]),
                row("slow: first moved to last", "slow", [max(seen) - min(seen)])]


async def run(arguments):
    rows = []
    with tempfile.TemporaryDirectory() as name:
        place = pathlib.Path(name)

        def directory():
            new = place / str(len(list(place.iterdir())))
            new.mkdir()
            return new
        for phase in ("prefill", "decode"):
            rows += await clients_go(directory(), arguments.dialect, phase, arguments.streams)
        for mode in ("stop", "kill"):
            rows += await cancels(directory(), arguments.dialect, mode, arguments.streams)
        rows += await shed_at_once(directory(), arguments.dialect, arguments.streams)
        rows += await worker_slow(directory(), arguments.dialect)
    out = pathlib.Path(arguments.json)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(rows, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--dialect", default="vllm", choices=("vllm", "llama.cpp"))
    parser.add_argument("--json", default=str(ROOT / "build/reports/times.json"))
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
