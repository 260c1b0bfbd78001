"""`holdfast chaos` itself: its verdicts, its files, and that it can fail."""
import asyncio
import json
import pathlib
import signal
import subprocess
import xml.etree.ElementTree as ElementTree

from harness import BIN, DEADLINE, ROOT, world

SMALL = """
title: small
engines: {count: 2, flags: {itl-ms: 20}}
load: {streams: {clients: 8, max_tokens: 40, endpoint: both, variety: false}}
faults: [{at: 5 tokens, kill: engine-1}]
checks: {orphans: ">= 1"}
"""


def run(tmp_path, text, *arguments):
    """(exit status, result, everything that was printed) of one scenario."""
    file = tmp_path / "small.yaml"
    file.write_text(text)
    out = tmp_path / "out"
    done = subprocess.run([BIN, "chaos", "run", str(file), "--out", str(out), *arguments],
                          capture_output=True, text=True, timeout=5 * DEADLINE)
    path = out / "small.json"
    result = json.loads(path.read_text()) if path.exists() else None
    return done.returncode, result, done.stdout + done.stderr


def failed_checks(result):
    return {c["name"] for c in result["checks"] if not c["ok"]}


def test_a_killed_engine_is_survived_and_told(tmp_path):
    status, result, printed = run(tmp_path, SMALL)
    assert status == 0, printed
    assert result["verdict"] == "pass" and result["form"] == "quick"
    assert result["faults"][0]["verified"] and "signal 9" in result["faults"][0]["evidence"]
    figures = result["figures"]
    assert figures["complete"] == figures["streams"] == 8 and figures["wrong_tokens"] == 0
    assert figures["orphans"] == figures["by_mode"]["tokens"] >= 1
    for stream in result["streams"]:
        assert stream["outcome"] == "complete" and len(stream["ticks"]) == stream["tokens"]
        engines = {tick[1] for tick in stream["ticks"]}
        assert engines == {0, 1} if stream["orphan"] else len(engines) == 1, stream
    assert "scenarios 1 pass 1 fail 0 void 0" in printed
    suite = ElementTree.parse(tmp_path / "out/junit.xml").getroot()
    assert suite.get("tests") == "1" and suite.get("failures") == "0"


def test_without_a_frontend_the_same_fault_fails(tmp_path):
    status, result, printed = run(tmp_path, SMALL + "frontends: {count: 0}\n")
    assert status == 1, printed
    assert result["verdict"] == "fail" and "complete" in failed_checks(result)
    outcomes = result["figures"]["outcomes"]  # an answer may have ended before the fault
    assert outcomes["cut"] >= 5 and outcomes["cut"] + outcomes.get("complete", 0) == 8
    suite = ElementTree.parse(tmp_path / "out/junit.xml").getroot()
    assert suite.get("failures") == "1"


def test_another_model_behind_the_frontend_is_wrong(tmp_path):
    """The reference engine is another one than the fleet: every token is a wrong one."""
    other = tmp_path / "other"
    other.mkdir()
    port_file = other / "port"
    engine = subprocess.Popen([BIN, "engine", "--listen", "127.0.0.1:0", "--model", "m",
                               "--variant", "7", "--port-file", str(port_file)],
                              stdout=subprocess.DEVNULL)
    try:
        while not port_file.exists():
            assert engine.poll() is None
        reference = f"http://127.0.0.1:{port_file.read_text().strip()}"
        text = SMALL.replace("count: 2,", f"count: 2, reference: '{reference}',")
        status, result, printed = run(tmp_path, text)
        assert status == 1, printed
        assert result["figures"]["wrong_tokens"] == 8
        assert failed_checks(result) >= {"complete", "wrong_tokens"}
    finally:
        engine.kill()
        engine.wait()


FLEET = """
title: a fleet that runs already
engines: {{kind: url, urls: [{engines}], reference: "{oracle}", model: m}}
frontends: {{urls: ["{frontend}"], system_urls: ["{system}"]}}
load: {{streams: {{clients: 8, max_tokens: 60, endpoint: both, variety: false}}}}
faults: [{{at: 5 tokens, run: "kill -9 {pid}", verify: "{proof}"}}]
checks: {{orphans: ">= 1"}}
"""


def url(port):
    return f"http://127.0.0.1:{port}"


async def test_a_fleet_that_runs_already(tmp_path):
    """Engines and a frontend by URL, the fault by a command, proved by another command."""
    async with world(tmp_path, "vllm") as w:
        victim = w.engines[0].child
        text = FLEET.format(engines=", ".join(f'"{url(e.port)}"' for e in w.engines),
                            oracle=url(w.oracle.port), frontend=url(w.frontend.port),
                            system=url(w.frontend.ports["system"]), pid=victim.pid,
                            proof=f"grep -q '^State:.Z' /proc/{victim.pid}/status")
        status, result, printed = await asyncio.to_thread(run, tmp_path, text)
        assert status == 0, printed
        assert victim.wait(DEADLINE) == -signal.SIGKILL
        assert result["faults"][0]["verified"]
        figures = result["figures"]
        assert figures["complete"] == figures["streams"] == 8 and figures["orphans"] >= 1
        assert w.frontend.child.poll() is None, "what it did not start it must not end"


async def test_a_command_without_its_proof_is_void(tmp_path):
    async with world(tmp_path, "vllm") as w:
        text = FLEET.format(engines=", ".join(f'"{url(e.port)}"' for e in w.engines),
                            oracle=url(w.oracle.port), frontend=url(w.frontend.port),
                            system=url(w.frontend.ports["system"]), pid=w.engines[0].child.pid,
                            proof="false")
        status, result, printed = await asyncio.to_thread(run, tmp_path, text)
        assert status == 3, printed
        assert result["verdict"] == "void" and not result["faults"][0]["verified"]


def test_a_fault_that_strikes_nobody_is_void(tmp_path):
    text = SMALL.replace("at: 5 tokens", "at: done")
    status, result, printed = run(tmp_path, text)
    assert status == 3, printed
    assert result["verdict"] == "void"
    suite = ElementTree.parse(tmp_path / "out/junit.xml").getroot()
    assert suite.get("errors") == "1"


def test_a_bad_file_is_told_with_line_and_nearest_key(tmp_path):
    status, _, printed = run(tmp_path, SMALL.replace("checks:", "chekcs:"))
    assert status == 2
    assert "small.yaml:6: unknown key chekcs; the nearest is checks" in printed
    done = subprocess.run([BIN, "chaos", "run", str(tmp_path / "none.yaml")], capture_output=True,
                          text=True)
    assert done.returncode == 2 and "there is no scenario" in done.stderr


def test_an_interrupted_run_leaves_no_process(tmp_path):
    file = tmp_path / "small.yaml"
    file.write_text(SMALL.replace("max_tokens: 40", "max_tokens: 2000"))
    out = tmp_path / "out"
    runner = subprocess.Popen([BIN, "chaos", "run", str(file), "--out", str(out)],
                              stderr=subprocess.PIPE, text=True)
    line = runner.stderr.readline()  # "kill engine-1: …": the run is in its middle
    assert "kill engine-1" in line, line
    runner.send_signal(signal.SIGINT)
    assert runner.wait(DEADLINE) == 130
    runner.stderr.close()
    needle = str(out)
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_bytes().decode(errors="replace")
            except OSError:
                continue
            assert needle not in command, command


def test_every_scenario_of_the_repository_can_be_read():
    done = subprocess.run([BIN, "chaos", "list", str(ROOT / "chaos")], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    assert "worker_kill" in done.stdout
