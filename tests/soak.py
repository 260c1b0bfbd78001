#!/usr/bin/env python3
"""A kill storm for MINUTES: no wrong answer, memory flat, no descriptor left, counters at zero.

    tests/soak.py [MINUTES] [DIALECT]      10 minutes, vllm; `make soak` runs it
"""
import asyncio
import pathlib
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "e2e"))
from harness import paced, world  # noqa: E402
from storm import Storm, descriptors, is_calm, resident_kib  # noqa: E402

CLIENTS = 40
SAMPLE_EVERY_S = 15
# Of the run until memory counts: pools, histograms and the allocator's arenas have filled by then.
WARM_UP = 0.3
GROWTH_MAX = 1.10
GROWTH_KIB_MAX = 4096


async def sample(storm, process, samples):
    began = time.monotonic()
    while not storm.over:
        samples.append((time.monotonic() - began, resident_kib(process), descriptors(process)))
        print(f"{samples[-1][0]:6.0f} s  {samples[-1][1]:7} KiB  {samples[-1][2]:4} descriptors  "
              f"{storm.report()}", flush=True)
        await paced(time.monotonic() + SAMPLE_EVERY_S, lambda: storm.over)


def grew(samples):
    """(KiB once warm, KiB at the end), each the highest of its third of the warm part."""
    warm = [kib for at, kib, _ in samples if at >= WARM_UP * samples[-1][0]]
    third = max(1, len(warm) // 3)
    return max(warm[:third]), max(warm[-third:])


async def soak(minutes, dialect):
    with tempfile.TemporaryDirectory() as directory:
        serve = ["--admission-hold", "60"]
        async with world(pathlib.Path(directory), dialect, engines=3, serve=serve) as w:
            storm, samples = Storm(w, CLIENTS), []
            await storm.learn()
            before = descriptors(w.frontend)
            until = time.monotonic() + 60 * minutes
            sampler = asyncio.create_task(sample(storm, w.frontend, samples))
            await storm.run(lambda: time.monotonic() < until)
            await sampler
            await is_calm(w, before)
    print(storm.report())
    assert storm.wrong == [], storm.wrong[:3]
    assert storm.kills >= 3 and storm.tally["complete"] >= 0.9 * storm.tally["sent"]
    warm, end = grew(samples)
    print(f"memory: {warm} KiB warm, {end} KiB at the end; descriptors {before} before")
    assert end <= max(warm * GROWTH_MAX, warm + GROWTH_KIB_MAX), "memory is not flat"
    print("ok soak")


if __name__ == "__main__":
    asyncio.run(soak(float(sys.argv[1]) if len(sys.argv) > 1 else 10,
                     sys.argv[2] if len(sys.argv) > 2 else "vllm"))
