"""bad_client: every form of bad_clients.py is refused or cut as stated, and nobody else notices."""
import asyncio
import json
import os
import pathlib
import re
import time

import pytest
from bad_clients import FORMS
from harness import (CHAT, COMPLETIONS, ROOT, Stream, assert_equal_answers, call, eventually,
                     make_body, world)

NEIGHBOURS = 4
PEAK_MIB = 8   # what any row may grow while it runs, beside what it is known to need …
KEPT_MIB = 4   # … and what may stay
# The allocator gives freed memory back some ms later, and only when that thread allocates again: an
# idle one keeps up to the largest body (docs/limits.md). Here what stays is to be what leaks.
AT_ONCE = ("MIMALLOC_DECOMMIT_DELAY", "0")
# Short ones, so that the rows that wait for them end soon. A whole request is one write here, so
# a slow machine does not make a good client look bad.
LIMITS = ("--limits-header-timeout", "2", "--limits-body-timeout", "2",
          "--limits-slow-client-timeout", "5")


class Neighbours:
    """Well-behaved streams that ask again until told to stop; every answer is checked."""

    def __init__(self, w, want, bodies):
        self.w, self.want, self.bodies = w, want, bodies
        self.stop = False
        self.served = [[] for _ in bodies]  # (began, ended)
        self.tasks = [asyncio.create_task(self.run(i)) for i in range(len(bodies))]

    async def run(self, i):
        while not self.stop:
            began = time.monotonic()
            stream = Stream(self.w.frontend.port, CHAT, self.bodies[i])
            await asyncio.wait_for(stream.run(), 120)
            assert_equal_answers([stream], [self.want[i]])
            self.served[i].append((began, time.monotonic()))

    async def all_have_begun(self):
        await eventually("every neighbour was answered once",
                         lambda: self.failed() or all(self.served))
        await self.check()

    def failed(self):
        return any(t.done() for t in self.tasks)

    async def check(self):
        for task in self.tasks:
            if task.done():
                await task

    async def end(self, began, ended):
        self.stop = True
        await asyncio.gather(*self.tasks)
        for served in self.served:
            assert served[0][0] < began and served[-1][1] > ended, "did not overlap"
            assert all(b - a[1] < 60 for a, (b, _) in zip(served, served[1:]))


class Process:
    """What /proc tells of the frontend."""

    def __init__(self, pid):
        self.proc = pathlib.Path(f"/proc/{pid}")

    def descriptors(self):
        return len(list((self.proc / "fd").iterdir()))

    def mib(self, name):
        for line in (self.proc / "status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) / 1024
        raise AssertionError(name)

    def forget_peak(self):
        (self.proc / "clear_refs").write_text("5")


def groups():
    """Rows that can share their processes, at most eight together."""
    alike = {}
    for form in FORMS:
        alike.setdefault((form.serve, tuple(form.engine.items())), []).append(form)
    return [same[i:i + 8] for same in alike.values() for i in range(0, len(same), 8)]


@pytest.mark.parametrize("forms", groups(), ids=lambda fs: fs[0].name.replace(" ", "_"))
async def test_bad_client(tmp_path, forms, monkeypatch):
    monkeypatch.setenv(*AT_ONCE)
    engine = {"itl_ms": 2, "ttft_ms": 2, **forms[0].engine}
    serve = (*LIMITS, *forms[0].serve)
    async with world(tmp_path, "vllm", engines=1, serve=serve, **engine) as w:
        bodies = [make_body(CHAT, 4 * i, max_tokens=30) for i in range(NEIGHBOURS)]
        want = await w.reference(CHAT, bodies)
        process = Process(w.frontend.child.pid)
        descriptors = process.descriptors()
        for form in forms:
            try:
                await row_holds(w, form, process, Neighbours(w, want, bodies))
            except Exception as error:
                raise AssertionError(f"row '{form.name}'") from error
        # Also those that are kept open to the engine go within some seconds.
        await eventually("no descriptor is left", lambda: process.descriptors() <= descriptors)


async def row_holds(w, form, process, neighbours):
    await neighbours.all_have_begun()
    process.forget_peak()
    before = process.mib("VmRSS")
    began = time.monotonic()
    saw = await asyncio.gather(*(form.run(w) for _ in range(form.copies)))
    ended = time.monotonic()
    assert saw == [form.gets] * form.copies
    peak = process.mib("VmHWM") - before
    await neighbours.end(began, ended)
    assert peak < PEAK_MIB + form.memory, f"{peak:.1f} MiB while it ran"
    await nothing_is_left(w)
    kept = process.mib("VmRSS") - before
    assert kept < KEPT_MIB, f"{kept:.1f} MiB stay"


async def nothing_is_left(w):
    async def zero():
        return all([await w.metric("holdfast_limit_current", limit=limit) == 0
                    for limit in ("connections", "running", "bytes")])
    await eventually("connections, requests and bytes are zero", zero)
    await w.counters_are_zero()


async def test_a_client_that_takes_nothing_is_in_the_log(tmp_path):
    form = next(f for f in FORMS if f.name == "a stream that is never read")
    async with world(tmp_path, "vllm", engines=1, serve=LIMITS, **form.engine) as w:
        assert await form.run(w) == "cut"
        line = (await w.log_lines(1))[0]
        assert line["status"] == 499 and line["outcome"] == "slow_client", line
        assert await w.metric("holdfast_clients_cut_total", reason="slow") == 1
        assert await w.metric("holdfast_cancellations_total", reason="slow_client",
                              phase="decode") == 1
        await w.counters_are_zero()


async def shed(w, count, body):
    """`count` streams; those that were refused, after a look at how."""
    streams = []
    for _ in range(count):  # one after the other: one that has not asked yet might make room
        streams += w.start(COMPLETIONS, [body])
        await eventually("it has a status", lambda: streams[-1].status or streams[-1].task.done())
    await asyncio.gather(*(s.task for s in streams if s.status != 200))
    refused = [s for s in streams if s.status != 200]
    for s in refused:
        assert s.status == 503 and s.error["code"] == "overloaded", (s.status, s.error, s.broken)
        wait = int(re.search(r"\r\nretry-after: (\d+)\r\n", s.headers)[1])
        assert 1 <= wait <= 30 and "x-request-id: " in s.headers, s.headers
    for s in streams:
        s.task.cancel()
    await asyncio.gather(*(s.task for s in streams), return_exceptions=True)
    return refused


@pytest.mark.parametrize("limit,most", [("connections", 2), ("running", 3)])
async def test_above_its_limit_it_sheds(tmp_path, limit, most):
    async with world(tmp_path, "vllm", engines=1, max_model_len=32768,
                     serve=(f"--limits-{limit}-max", str(most))) as w:
        body = make_body(COMPLETIONS, 0, max_tokens=20000)
        refused = await shed(w, 12, body)
        assert 12 - most <= len(refused) < 12
        assert await w.metric("holdfast_shed_total", reason=limit) == len(refused)
        assert await w.metric("holdfast_limit_max", limit=limit) == most
        await w.counters_are_zero()
        status, _, _ = await call(w.frontend.port, "POST", COMPLETIONS,
                                  make_body(COMPLETIONS, 0, max_tokens=3))
        assert status == 200


async def test_above_its_memory_it_sheds(tmp_path):
    async with world(tmp_path, "vllm", engines=1,
                     serve=("--continuation-bytes-max", "1MiB")) as w:
        body = make_body(COMPLETIONS, 0, max_tokens=3)
        status, fields, raw = await call(w.frontend.port, "POST", COMPLETIONS,
                                         {**body, "user": "x" * (2 << 20)})
        assert status == 503 and 1 <= int(fields["retry-after"]) <= 30
        assert json.loads(raw)["error"]["code"] == "overloaded"
        assert await w.metric("holdfast_shed_total", reason="bytes") == 1
        status, _, _ = await call(w.frontend.port, "POST", COMPLETIONS, body)
        assert status == 200
        await nothing_is_left(w)


async def test_request_ids(tmp_path):
    """Good ones are kept; others are replaced; every attempt has its own at the engine."""
    async with world(tmp_path, "vllm", engines=1) as w:
        body = make_body(COMPLETIONS, 0, max_tokens=3, stream=False)
        del body["stream_options"]
        for given, kept in [("a.B_c-9", True), ("x" * 128, True), ("x" * 129, False),
                            ("a b", False), ("é", False), ("", False)]:
            status, fields, _ = await call(w.frontend.port, "POST", COMPLETIONS, body,
                                           headers=[f"x-request-id: {given}"])
            assert status == 200
            assert (fields["x-request-id"] == given) == kept, (given, fields["x-request-id"])
            assert fields["x-request-id"]
        logged = [l["request_id"] for l in await w.log_lines(6)]
        assert logged[0] == "a.B_c-9" and len(set(logged)) == 6


def test_the_document_has_the_same_table():
    text = (ROOT / "docs/bad-clients.md").read_text()
    rows = "".join(f"| {f.name} | {f.gets} | {f.limit} |\n" for f in FORMS)
    begin, end = "| --- | --- | --- |\n", "\n<!-- end -->"
    if os.environ.get("HOLDFAST_WRITE_DOCS"):
        head, tail = text.split(begin)[0], text.split(end)[1]
        (ROOT / "docs/bad-clients.md").write_text(head + begin + rows + end + tail)
        return
    assert text.split(begin)[1].split(end)[0] == rows, "run it with HOLDFAST_WRITE_DOCS=1"
