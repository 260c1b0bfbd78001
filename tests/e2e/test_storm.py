"""Three engines, one killed every 2 s and back after 1 s, under 800 requests of all kinds."""
import itertools

import pytest
from harness import world
from storm import Storm, descriptors, is_calm

REQUESTS = 800
CLIENTS = 40


@pytest.mark.parametrize("dialect", ["vllm", "llama.cpp"])
async def test_kill_storm(tmp_path, dialect):
    # A slow machine sheds nothing for being slow: new requests wait as long as streams do.
    async with world(tmp_path, dialect, engines=3, serve=["--admission-hold", "60"]) as w:
        storm = Storm(w, CLIENTS)
        await storm.learn()
        before = descriptors(w.frontend)
        numbers = itertools.count()
        await storm.run(lambda: next(numbers) < REQUESTS)
        print(storm.report())
        assert storm.wrong == [], f"{len(storm.wrong)} wrong: {storm.wrong[:3]} {storm.report()}"
        tally = storm.tally
        assert tally["complete"] + tally["refused"] + tally["ended"] == REQUESTS
        assert tally["complete"] >= 0.9 * REQUESTS, storm.report()
        lines = await w.log_lines(REQUESTS)
        modes = [mode for line in w.orphans(lines) for mode in line["modes"]]
        assert storm.kills >= 3 and modes.count("tokens") >= 10, (storm.report(), len(modes))
        assert "restart" in modes
        await is_calm(w, before)
