"""A kill storm: engines die and come back under a mix of requests; every answer is judged.

Used by test_storm.py (so many requests) and by tests/soak.py (so many minutes).
"""
import asyncio
import collections
import json
import pathlib
import random
import time

from harness import (CHAT, COMPLETIONS, DEADLINE, Stream, call, differences, eventually, get_json,
                     make_body, paced, start_engine)

KILL_EVERY_S = 2.0
DOWN_S = 1.0
# The only ways in which a request may end without its answer (behaviour.md §3 and §5).
REASONS = {(503, "overloaded"), (503, "no_worker"), (500, "poison_suspected"), (504, "deadline")}


def requests(kinds=40):
    """Distinct requests, each as (path, body): half of them streams, half chat."""
    out = []
    for i in range(kinds):
        path = CHAT if i % 2 else COMPLETIONS
        body = make_body(path, i, max_tokens=40 + 4 * i)
        if i % 4 >= 2:
            body["stream"] = False
            del body["stream_options"]
        out.append((path, body))
    return out


async def whole(port, path, body):
    status, headers, data = await call(port, "POST", path, body)
    return status, headers, json.loads(data)


def comparable(answer):
    """Without what names the run. An answer that went on has counts of our own: none of what one
    engine alone knows (cached tokens, timings)."""
    out = {k: v for k, v in answer.items() if k not in ("id", "created", "timings")}
    return out | {"usage": {k: v for k, v in answer["usage"].items() if k.endswith("_tokens")}}


class Storm:
    def __init__(self, world, clients, seed=1):
        self.world, self.clients = world, clients
        self.random = random.Random(seed)
        self.requests = requests()
        self.want = []
        self.tally = collections.Counter()
        self.wrong = []
        self.refused = collections.Counter()
        self.kills = 0
        self.over = False

    async def learn(self):
        """What an engine that nobody touches answers."""
        port = self.world.oracle.port
        for path, body in self.requests:
            if body["stream"]:
                self.want.append(await Stream(port, path, body).run())
            else:
                status, _, answer = await whole(port, path, body)
                assert status == 200, answer
                self.want.append(answer)

    async def run(self, more):
        """Clients send requests one after another while more() says so; engines die meanwhile."""
        killer = asyncio.create_task(self.kill_engines())
        try:
            await asyncio.gather(*(self.client(more) for _ in range(self.clients)))
        finally:
            self.over = True
            await killer

    async def client(self, more):
        while more():
            index = self.random.randrange(len(self.requests))
            path, body = self.requests[index]
            self.tally["sent"] += 1
            if body["stream"]:
                await self.judge_stream(index, path, body)
            else:
                await self.judge_whole(index, path, body)

    async def judge_stream(self, index, path, body):
        got = await asyncio.wait_for(Stream(self.world.frontend.port, path, body).run(),
                                     4 * DEADLINE)
        if got.error and not got.done and got.finish is None and not got.broken:
            self.refuse(index, got.status, got.error, got.headers)
            return
        self.judge(index, differences(got, self.want[index]))

    async def judge_whole(self, index, path, body):
        answering = whole(self.world.frontend.port, path, body)
        status, headers, answer = await asyncio.wait_for(answering, 4 * DEADLINE)
        if status != 200:
            self.refuse(index, status, answer["error"], headers)
            return
        same = comparable(answer) == comparable(self.want[index])
        self.judge(index, [] if same else [f"{answer} instead of {self.want[index]}"])

    def judge(self, index, wrong):
        self.tally["wrong" if wrong else "complete"] += 1
        if wrong:
            self.wrong.append((self.requests[index], wrong))

    def refuse(self, index, status, error, headers):
        """One clear error: from the table, and with its time to retry where the table has one."""
        self.refused[status, error["code"]] += 1
        if status == 200:  # in mid-stream: the event is all that can be said
            self.tally["ended"] += 1
            return
        self.tally["refused"] += 1
        if (status, error["code"]) not in REASONS or (status == 503 and
                                                      "retry-after" not in headers):
            self.wrong.append((self.requests[index], [f"{status} {error}"]))

    async def kill_engines(self):
        """One every 2 s, back after 1 s; never the next before the last one is back."""
        w, began = self.world, time.monotonic()
        while not self.over:
            began = max(began + KILL_EVERY_S, time.monotonic())
            if not await paced(began, lambda: self.over):
                break
            index = self.kills % len(w.engines)
            old = w.engines[index]
            old.kill()
            self.kills += 1
            await paced(time.monotonic() + DOWN_S)
            name = f"engine{index}-{self.kills}"
            w.engines[index] = await asyncio.to_thread(
                start_engine, w.directory, name, w.dialect, port=old.port)
            old.end()
            await w.ready(len(w.engines))

    def report(self):
        return (f"{dict(self.tally)}, {self.kills} kills, refused {dict(self.refused)}")


def descriptors(process):
    return len(list(pathlib.Path(f"/proc/{process.child.pid}/fd").iterdir()))


def resident_kib(process):
    status = pathlib.Path(f"/proc/{process.child.pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


async def is_calm(world, descriptors_before):
    """Nothing is left of the storm: no request, no sequence, no descriptor."""
    await world.ready(len(world.engines))
    await world.counters_are_zero()
    # Idle connections to the engines are kept for 4 s.
    await eventually("the descriptors are those of the start",
                     lambda: descriptors(world.frontend) <= descriptors_before + 2)
    health = await get_json(world.frontend.ports["system"], "/health")
    assert health["requests_running"] == 0
