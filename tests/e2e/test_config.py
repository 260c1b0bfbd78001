"""`holdfast config check` and the file that `serve` starts with."""
import contextlib
import os
import signal
import subprocess

import pytest
from harness import (BIN, CHAT, COMPLETIONS, Process, World, assert_equal_answers, call, eventually,
                     get_json, make_body, start_engine)

# What the shell that runs the tests may hold must not be part of them.
CLEAN = {k: v for k, v in os.environ.items() if not k.startswith(("HOLDFAST_", "DYN_", "KUBERN"))}


def check(*arguments, **variables):
    run = subprocess.run([BIN, "config", "check", *arguments], capture_output=True, text=True,
                         env={**CLEAN, **variables}, timeout=60)
    values = {line.split()[0]: line.split(maxsplit=1)[1] for line in run.stdout.splitlines()}
    return run.returncode, values, run.stderr


def test_config_check_prints_every_key_with_value_and_origin(tmp_path):
    file = tmp_path / "h.yaml"
    file.write_text("engines: [http://h:1, {url: http://h:2}]\nadmin: {token: hush}\n"
                    "admission:\n  hold: 7s\nresume: {hold: 8s}\n")
    status, values, errors = check("--config", str(file), "--resume-hold", "9s",
                                   DYN_SYSTEM_PORT="9100")
    assert status == 0, errors
    assert values["engines"].split("  ")[0] == "[http://h:1, http://h:2]"
    assert values["admission.hold"].split() == ["7s", f"{file}:4"]
    assert values["resume.hold"].split() == ["9s", "flag", "--resume-hold"]
    assert values["system_port"].split() == ["9100", "variable", "DYN_SYSTEM_PORT"]
    assert values["data_cores"].split() == ["2", "default"]
    assert values["admin.token"].split()[0] == "(set)" and "hush" not in str(values) + errors
    assert "no effect yet" in values["canary.enabled"]
    assert set(values) >= {"active_decode_blocks_threshold", "canary.timeout", "models"}


def test_config_check_tells_all_problems_and_exits_2(tmp_path):
    file = tmp_path / "h.yaml"
    file.write_text("engines: [http://h:1]\nadmision: {hold: 7s}\nadmission: {hold: soon}\n")
    status, values, errors = check("--config", str(file), HOLDFAST_SYSTEM_PORT="1",
                                   DYN_SYSTEM_PORT="2")
    assert status == 2 and not values
    assert f"{file}:2: unknown key admision; the nearest is admission" in errors
    assert f"{file}:3: admission.hold: 'soon' is no duration" in errors
    assert "HOLDFAST_SYSTEM_PORT=1 and DYN_SYSTEM_PORT=2 differ" in errors
    assert check("--config", str(tmp_path / "none"))[0] == 2


@pytest.mark.parametrize("arguments", [
    ["--engine", "http://a:1", "--engine", "http://b:2"], ["--engine", "http://a:1", "http://b:2"],
    ["--engine", "http://a:1,http://b:2"]], ids=["repeated", "behind one flag", "with commas"])
def test_engines_are_given_in_any_way(arguments):
    _, values, errors = check(*arguments, "--resume-hold", "9s")
    assert values["engines"].split("  ")[0] == "[http://a:1, http://b:2]", errors


@pytest.mark.parametrize("arguments, value", [
    (["--canary-enabled"], "true"), (["--canary-enabled", "false"], "false")])
def test_a_switch_alone_means_true(arguments, value):
    _, values, errors = check("--engine", "http://h:1", *arguments)
    assert values["canary.enabled"].split()[0] == value, errors


async def test_serve_starts_with_a_file(tmp_path):
    engine = start_engine(tmp_path, "engine", "vllm")
    file = tmp_path / "h.yaml"
    file.write_text(f"engines: ['http://127.0.0.1:{engine.port}']\nlisten: 127.0.0.1:0\n"
                    "system_port: 0\nadmin: 127.0.0.1:0\n")
    serve = Process(tmp_path, "serve", ["serve", "--config", str(file)])
    try:
        async def ready():
            return (await get_json(serve.ports["system"], "/health"))["models"] == {"m": 1}
        await eventually("the engine of the file is ready", ready)
        status, _, _ = await call(serve.port, "POST", "/v1/completions",
                                  {"model": "m", "prompt": "x", "max_tokens": 3})
        assert status == 200
    finally:
        serve.end()
        engine.end()


@contextlib.asynccontextmanager
async def reloadable(directory, engines, text=""):
    """A frontend with a file in front of the first of some engines; yields (world, write_file)."""
    started = [start_engine(directory, "oracle", "vllm", itl_ms=0.2, ttft_ms=0)]
    started += [start_engine(directory, f"engine{i}", "vllm") for i in range(engines)]
    file = directory / "h.yaml"

    def write(indices, extra=""):
        urls = ", ".join(f"'http://127.0.0.1:{started[1 + i].port}'" for i in indices)
        file.write_text(f"engines: [{urls}]\nsystem_port: 0\nadmin: 127.0.0.1:0\n{extra}")

    write([0], text)
    access = directory / "access.log"
    serve = Process(directory, "serve", ["serve", "--config", str(file), "--listen", "127.0.0.1:0",
                                         "--access-log", str(access)])
    started.append(serve)
    try:
        w = World(directory, "vllm", started[1:-1], started[0], serve, access)
        await w.ready(1)
        yield w, write
        assert serve.child.poll() is None, serve.log_path.read_text()
        serve.end()
        assert serve.child.returncode == 0, serve.log_path.read_text()
    finally:
        for process in reversed(started):
            process.end()


async def reload(w, result="ok"):
    before = await w.metric("holdfast_config_reloads_total", result=result)
    w.frontend.signal(signal.SIGHUP)

    async def counted():
        return await w.metric("holdfast_config_reloads_total", result=result) > before
    await eventually(f"the reload is counted as {result}", counted)


async def test_sighup_adds_and_removes_engines_under_streams(tmp_path):
    async with reloadable(tmp_path, 2) as (w, write):
        bodies = [make_body(CHAT, i, max_tokens=200) for i in range(4)]
        want = await w.reference(CHAT, bodies)
        streams = w.start(CHAT, bodies)
        await w.all_have(streams, 2)
        write([1])
        await reload(w)

        async def moved():
            health = await get_json(w.frontend.ports["system"], "/health")
            return health["workers"] == {"removed": 1, "ready": 1}
        await eventually("the new engine is ready, the old one removed", moved)
        running = (await get_json(w.engines[0].port, "/sim/stats"))["running"]
        # Slow machine or not: streams that still run do so where they began.
        assert running + sum(s.task.done() for s in streams) >= 4
        fresh = w.start(COMPLETIONS, [make_body(COMPLETIONS, 9, max_tokens=5)])
        assert (await w.finish(fresh))[0].status == 200
        assert_equal_answers(await w.finish(streams), want)
        workers = [tuple(l["workers"]) for l in await w.log_lines(5)]
        old, new = (f"127.0.0.1:{e.port}" for e in w.engines)
        assert sorted(workers) == sorted([(old,)] * 4 + [(new,)])
        write([0, 1])
        await reload(w)
        await w.ready(2)


async def test_sighup_applies_what_it_may_and_names_the_rest(tmp_path):
    async with reloadable(tmp_path, 1, "limits: {body_bytes_max: 1MiB}\n") as (w, write):
        body = {"model": "m", "prompt": "x", "max_tokens": 1, "user": "u" * 5000}
        assert (await call(w.frontend.port, "POST", COMPLETIONS, body))[0] == 200
        write([0], "limits: {body_bytes_max: 4KiB}\ndata_cores: 3\n")
        await reload(w)

        async def refused():  # once both data cores have it
            replies = [await call(w.frontend.port, "POST", COMPLETIONS, body) for _ in range(8)]
            return all(status == 413 for status, _, _ in replies)
        await eventually("the new limit is in force", refused)
        log = w.frontend.log_path.read_text()
        assert "limits.body_bytes_max: 1MiB -> 4KiB" in log
        assert "data_cores: 2 -> 3 needs a restart" in log


async def test_sighup_with_a_bad_file_keeps_the_old_configuration(tmp_path):
    async with reloadable(tmp_path, 1) as (w, write):
        write([], "admision: {hold: 1s}\n")
        await reload(w, "failed")
        log = w.frontend.log_path.read_text()
        assert "unknown key admision; the nearest is admission" in log
        assert "the old configuration stays" in log
        body = {"model": "m", "prompt": "x", "max_tokens": 1}
        assert (await call(w.frontend.port, "POST", COMPLETIONS, body))[0] == 200
        (tmp_path / "h.yaml").unlink()
        await reload(w, "failed")
        write([0], "admission: {hold: 1s}\n")
        await reload(w)
        assert "admission.hold: 5s -> 1s" in w.frontend.log_path.read_text()
