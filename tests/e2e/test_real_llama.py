"""worker_kill and worker_hang on real llama.cpp servers. A machine without them fails, it never
skips: `make setup` installs them."""
import contextlib
import signal
import subprocess

from harness import (CHAT, COMPLETIONS, ROOT, Process, World, assert_equal_answers, eventually,
                     get_json)

SLOTS = 4
START_S = 120
MODEL = "SmolLM2-135M-Instruct"  # the name that tools/llama_engine.py gives it
VICTIM = 1  # the first engine, as the oracle, has the prompts in its cache and is ahead
# Emoji and Japanese: ids that end inside a character never arrive and have to be filled in.
PROMPTS = ["Tell me a long story about a fox and a lighthouse.",
           "Answer with emoji only, as many as you can: 🎉🚀😀",
           "日本語で長い詩を書いてください。",
           "Напиши длинное стихотворение о море."]


class LlamaEngine(Process):
    """tools/llama_engine.py as a Process."""

    def __init__(self, directory, name):
        self.name = name
        self.log_path = directory / f"{name}.log"
        self.log = open(self.log_path, "ab")
        self.port_file = directory / f"{name}.port"
        self.child = subprocess.Popen(
            ["/usr/bin/python3", str(ROOT / "tools/llama_engine.py"), "--slots", str(SLOTS),
             "--ctx", str(SLOTS * 1024), "--threads", "1", "--port-file", str(self.port_file)],
            stdout=self.log, stderr=subprocess.STDOUT)

    async def started(self):
        def has_port():
            assert self.child.poll() is None, f"no llama.cpp: {self.log_path.read_text()[-2000:]}"
            return self.port_file.exists()
        await eventually(f"{self.name} serves", has_port, START_S)
        self.port = int(self.port_file.read_text())
        self.ports = {"listen": self.port}

    async def busy_slots(self):
        return sum(slot["is_processing"] for slot in await get_json(self.port, "/slots"))


def start_frontend(directory, engines, access):
    urls = [argument for e in engines for argument in ("--engine", f"http://127.0.0.1:{e.port}")]
    return Process(directory, "serve",
                   ["serve", *urls, "--listen", "127.0.0.1:0", "--system-port", "0", "--admin",
                    "127.0.0.1:0", "--data-cores", "2", "--access-log", str(access)])


@contextlib.asynccontextmanager
async def llama_world(directory):
    """Two engines and a frontend. The first engine is the oracle too, before any fault."""
    started = [LlamaEngine(directory, f"llama{i}") for i in range(2)]
    try:
        for engine in started[:2]:
            await engine.started()
        access = directory / "access.log"
        access.touch()
        frontend = start_frontend(directory, started[:2], access)
        started.append(frontend)
        it = World(directory, "llama.cpp", started[:2], started[0], frontend, access)
        await it.ready(2)
        yield it
        assert frontend.child.poll() is None, frontend.log_path.read_text()[-3000:]
    finally:
        for process in reversed(started):
            process.end()


def bodies(path):
    out = []
    for text in PROMPTS:
        body = {"model": MODEL, "stream": True, "temperature": 0, "max_tokens": 80,
                "stream_options": {"include_usage": True}}
        if path == CHAT:
            body["messages"] = [{"role": "user", "content": text}]
        else:
            body.update(prompt=text, ignore_eos=True)
        out.append(body)
    return out


async def run_with_fault(world, fault):
    """Eight streams, the fault in the middle of them; (answers, untouched answers, log lines)."""
    want = []
    for path in (COMPLETIONS, CHAT):
        want += await world.reference(path, bodies(path))
    streams = world.start(COMPLETIONS, bodies(COMPLETIONS)) + world.start(CHAT, bodies(CHAT))
    victim = world.engines[VICTIM]
    await world.all_have(streams, 5)
    assert await victim.busy_slots() >= 2, "the engine had nothing to lose"
    victim.signal(fault)
    return await world.finish(streams), want, await world.log_lines(len(streams))


def assert_untouched(got, want):
    """The text and framing of the untouched answers. llama.cpp itself puts another `created` into
    each second's events, so only id and model are the same throughout."""
    for stream in got + want:
        stream.identities = {(each[0], each[-1]) for each in stream.identities}  # id, model
    assert_equal_answers(got, want)


def assert_went_on_by_tokens(world, lines):
    orphans = world.orphans(lines)
    assert len(orphans) >= 2, f"only {len(orphans)} streams were hit"
    assert all(set(line["modes"]) == {"tokens"} for line in orphans), orphans


async def test_worker_kill_on_real_llama(tmp_path):
    async with llama_world(tmp_path) as world:
        got, want, lines = await run_with_fault(world, signal.SIGKILL)
        world.engines[VICTIM].child.wait(10)
        assert_untouched(got, want)
        assert_went_on_by_tokens(world, lines)
        assert await world.engines[0].busy_slots() == 0


async def test_worker_hang_on_real_llama(tmp_path):
    async with llama_world(tmp_path) as world:
        got, want, lines = await run_with_fault(world, signal.SIGSTOP)
        assert world.engines[VICTIM].is_stopped()
        world.engines[VICTIM].signal(signal.SIGCONT)
        assert_untouched(got, want)
        assert_went_on_by_tokens(world, lines)
        await world.ready(2)  # what it wrote late went nowhere, and it serves again
        again = world.start(CHAT, bodies(CHAT)[:2])
        assert_untouched(await world.finish(again), want[len(PROMPTS):len(PROMPTS) + 2])
