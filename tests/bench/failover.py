#!/usr/bin/env python3
"""What a failover before the first byte adds, with another engine free.

    tests/bench/failover.py [--requests 300] [--kills 15] [--json PATH]
                            default PATH: build/reports/failover.json

Two simulated engines that answer at once, `holdfast serve` with round-robin routing and one client
that asks one embedding (or one whole chat of one token) after the other on a kept connection. Now
and then one engine refuses a single call (500, 503), or is killed while idle, so that its kept
connections are cut and new ones are refused. The access log tells which requests needed two
engines. `added` is such a request's time less the median of those that nothing happened to, in the
same run. Then both engines are killed: the time to the 503, and from the return of one engine to
the first answer.
"""
import argparse
import asyncio
import json
import pathlib
import statistics
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
import harness  # noqa: E402  (processes are those of the end-to-end tests)

FAULT_EVERY = 6  # so that the errors of an engine stay below what opens its breaker
HOLD_S = 2
BODIES = {"/v1/embeddings": {"model": "m", "input": "sea"},
          harness.CHAT: {"model": "m", "max_tokens": 1,
                         "messages": [{"role": "user", "content": "sea"}]}}


class Client:
    """One kept connection."""

    def __init__(self, port):
        self.port = port

    async def open(self):
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)

    async def ask(self, path, request_id):
        """(status, seconds)"""
        data = json.dumps(BODIES[path]).encode()
        began = time.perf_counter()
        self.writer.write(f"POST {path} HTTP/1.1\r\nHost: b\r\nX-Request-Id: {request_id}\r\n"
                          f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
                          .encode() + data)
        head = await self.reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await self.reader.readexactly(length)
        return int(head.split()[1]), time.perf_counter() - began


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(q * len(values)))]


async def summary(w, name, times):
    lines = {l["request_id"]: l for l in await w.log_lines(len(times))}
    single = [t for i, t in times.items() if len(lines[i]["workers"]) == 1]
    double = [t for i, t in times.items() if len(lines[i]["workers"]) == 2]
    base = statistics.median(single)
    added = [1000 * (t - base) for t in double]
    row = {"fault": name, "untouched": len(single), "untouched_p50_ms": 1000 * base,
           "untouched_p99_ms": 1000 * quantile(single, 0.99), "failovers": len(double)}
    if added:
        row |= {"added_p50_ms": quantile(added, 0.5), "added_p99_ms": quantile(added, 0.99)}
    print(f"{name:24} " + "  ".join(f"{k} {v:.2f}" if isinstance(v, float) else f"{k} {v}"
                                    for k, v in row.items() if k != "fault"))
    return row


async def refusals(directory, path, code, count):
    serve = ("--routing", "round-robin")
    async with harness.world(directory, "vllm", itl_ms=0.1, ttft_ms=0, serve=serve) as w:
        client, times = Client(w.frontend.port), {}
        await client.open()
        for i in range(count):
            if i % FAULT_EVERY == 0:
                await w.fault(0, kind="status", code=code, count=1)
            status, took = await client.ask(path, f"r{i}")
            assert status == 200, status
            times[f"r{i}"] = took
        return await summary(w, f"{code} {path}", times)


async def kills(directory, path, count):
    serve = ("--routing", "round-robin")
    async with harness.world(directory, "vllm", itl_ms=0.1, ttft_ms=0, serve=serve) as w:
        client, times, number = Client(w.frontend.port), {}, 0
        for _ in range(count):
            await w.ready(2)
            await client.open()
            for i in range(8):
                if i == 4:
                    w.engines[0].kill()
                status, took = await client.ask(path, f"r{number}")
                assert status == 200, status
                times[f"r{number}"] = took
                number += 1
            await w.ready(1)
            w.restart_engine(0, itl_ms=0.1, ttft_ms=0)
            client.writer.close()
        return await summary(w, f"killed {path}", times)


async def all_down(directory):
    serve = ("--admission-hold", str(HOLD_S))
    async with harness.world(directory, "vllm", itl_ms=0.1, ttft_ms=0, serve=serve) as w:
        for engine in w.engines:
            engine.kill()
        client = Client(w.frontend.port)
        await client.open()
        status, waited = await client.ask("/v1/embeddings", "down")
        assert status == 503, status
        w.restart_engine(0, itl_ms=0.1, ttft_ms=0)  # returns when it answers
        back = time.perf_counter()
        while (await client.ask("/v1/embeddings", "back"))[0] != 200:
            pass
        row = {"fault": "all down", "hold_s": HOLD_S, "to_503_s": waited,
               "back_after_s": time.perf_counter() - back}
        print("  ".join(f"{k} {v}" for k, v in row.items()))
        return row


async def run(arguments):
    rows = []
    with tempfile.TemporaryDirectory() as name:
        place = pathlib.Path(name)

        def directory():
            new = place / str(len(list(place.iterdir())))
            new.mkdir()
            return new
        for path in BODIES:
            for code in (500, 503):
                rows.append(await refusals(directory(), path, code, arguments.requests))
            rows.append(await kills(directory(), path, arguments.kills))
        rows.append(await all_down(directory()))
    out = pathlib.Path(arguments.json)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(rows, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--kills", type=int, default=15)
    parser.add_argument("--json", default=str(ROOT / "build/reports/failover.json"))
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
