"""`holdfast config check` and the file that `serve` starts with."""
import os
import subprocess

import pytest
from harness import BIN, Process, call, eventually, get_json, start_engine

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
