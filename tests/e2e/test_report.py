"""The pages of `holdfast chaos report` in a real browser: what is drawn, and that nothing fails."""
import html
import json
import pathlib
import re
import shutil
import subprocess

import pytest
from harness import BIN

BROWSER = shutil.which("chromium-headless-shell") or "chromium-headless-shell"
DEADLINE = 240  # seconds; a browser on a loaded machine
NASTY = "</script><b>x</b><!-- \"quoted\" & 'so'"


def a_result(name, streams=100, tokens=40, **more):
    """Two engines; every even stream moves from the first to the second in mid-answer."""
    lanes = []
    for i in range(streams):
        moved = i % 2 == 0
        at = 1000 if moved else 30
        ticks = [[20 + t * 10.5 + (at if moved and t >= tokens // 2 else 0),
                  0 if moved and t < tokens // 2 else 1] for t in range(tokens)]
        lanes.append({"id": i, "endpoint": "/v1/completions", "stream": True, "start_ms": i * 0.5,
                      "end_ms": 3000, "outcome": "complete", "status": 200, "error": None,
                      "orphan": moved, "mode": "tokens" if moved else None, "tokens": tokens,
                      "pause_ms": 1010.5, "ticks": ticks})
    q = {"p50": 1.5, "p90": 2, "p99": 3, "max": 1010.5}
    return {"version": 1, "scenario": name, "file": f"chaos/{name}.yaml", "title": "a title",
            "form": "quick", "commit": "abc", "seed": 1, "started_at": "2026-11-30T00:20:00Z",
            "duration_ms": 3100, "verdict": "pass",
            "topology": {"frontends": [{"name": "frontend-1"}], "data_cores": 2,
                         "engines": [{"name": f"engine-{n}", "dialect": "vllm",
                                      "kind": "simulated"} for n in (1, 2)]},
            "faults": [{"name": "stop engine-1", "kind": "stop", "target": "engine-1",
                        "at_ms": 240.5, "until_ms": 900, "verified": True, "evidence": "state T"},
                       {"name": "kill engine-2", "kind": "kill", "target": "engine-2",
                        "at_ms": 250, "until_ms": None, "verified": False, "evidence": ""}],
            "checks": [{"name": "complete", "want": ">= 100 %", "got": "100 %", "ok": True,
                        "detail": ""}],
            "streams": lanes, "metrics": {"holdfast_x{a=\"b\"}": 2}, "log": ["a line"],
            "figures": {"streams": streams, "complete": streams, "wrong_tokens": 0,
                        "orphans": streams // 2, "by_mode": {"tokens": streams // 2},
                        "errors": {}, "outcomes": {}, "sheds": 0, "pause_ms": q, "ttft_ms": q,
                        "itl_ms": q, "recovery_ms": None}, **more}


def pages_of(folder, *results):
    for result in results:
        (folder / f"{result['scenario']}.json").write_text(json.dumps(result))
    run = subprocess.run([BIN, "chaos", "report", str(folder)], capture_output=True, text=True,
                         timeout=DEADLINE)
    assert run.returncode == 0, run.stderr
    return run.stdout


def browse(page, folder, *flags):
    """The document as it is once its scripts ran, and what the browser's console said."""
    run = subprocess.run(
        [BROWSER, "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
         "--enable-logging=stderr", f"--user-data-dir={folder / 'browser'}", *flags, "--dump-dom",
         page.as_uri()], capture_output=True, text=True, timeout=DEADLINE,
        env={"PATH": "/usr/bin:/bin", "HOME": str(folder)})
    assert run.returncode == 0, run.stderr
    return run.stdout, [line for line in run.stderr.splitlines() if "CONSOLE" in line]


def told(document):
    """What the script says of itself, in attributes of the root element."""
    root = re.search(r"<html[^>]*>", document)[0]
    return {name: value for name, value in re.findall(r'data-([a-z]+)="([^"]*)"', root)}


def drawn(document):
    """The same, counted by us."""
    ticks = re.findall(r'<path d="([^"]*)" class="ticks"', document)
    return {"lanes": len(re.findall(r'<g class="lane[^"]*"', document)),
            "ticks": sum(d.count("M") for d in ticks),
            "faults": document.count('<g class="faults"')}


def check(folder, result, **want):
    document, console = browse(folder / f"{result['scenario']}.html", folder)
    assert told(document) | {"errors": "0", "ready": "yes"} == told(document), console
    assert not console
    assert {name: int(told(document)[name]) for name in ("lanes", "ticks", "faults")} == \
        drawn(document)
    assert drawn(document) == drawn(document) | want
    return document


def test_a_lane_a_stream_with_its_ticks_and_fault_bars(tmp_path):
    result = a_result("worker_kill")
    out = pages_of(tmp_path, result)
    assert "pass" in out and "worker_kill.html" in out and "index.html" in out
    document = check(tmp_path, result, lanes=100, ticks=100 * 40, faults=2)
    ids = [int(i) for i in re.findall(r'<g class="lane[^"]*" data-id="(\d+)"', document)]
    assert sorted(ids) == list(range(100))
    assert ids[:50] == list(range(0, 100, 2)), "struck streams come first"
    # Ticks of both engines in a lane that moved, in their colours, and its pause to scale.
    lane = re.search(r'<g class="lane hit" data-id="0">.*?</g>', document)[0]
    assert [d.count("M") for d in re.findall(r'<path d="([^"]*)"[^>]*var\(--e0\)', lane)] == [20]
    assert [d.count("M") for d in re.findall(r'<path d="([^"]*)"[^>]*var\(--e1\)', lane)] == [20]
    assert 'class="gap moved"' in lane
    assert "longest pause 1.01 s" in document
    # Fault names of 240.5 and 250 ms do not lie over each other.
    names = re.findall(r'<text class="fname" x="([\d.]+)" y="([\d.]+)"', document)
    assert len(names) == 2 and names[0][1] != names[1][1]
    size = (tmp_path / "worker_kill.html").stat().st_size
    assert size < 3_000_000


@pytest.mark.parametrize("name", ["nothing", "nasty", "many", "one_token"])
def test_any_result_is_drawn(tmp_path, name):
    if name == "nothing":
        result = a_result(name, streams=0, faults=[], checks=[], metrics={}, log=[], duration_ms=0)
        want = {"lanes": 0, "ticks": 0, "faults": 0}
    elif name == "nasty":
        result = a_result(name, streams=3, title=NASTY, commit=NASTY, log=[NASTY])
        result["topology"]["engines"][0]["name"] = NASTY
        result["faults"][0]["name"] = NASTY
        result["streams"][0] |= {"outcome": NASTY, "error": NASTY, "endpoint": NASTY}
        want = {"lanes": 3, "ticks": 120, "faults": 2}
    elif name == "many":
        result = a_result(name, streams=2000, tokens=3)
        want = {"lanes": 300, "ticks": 900}
    else:
        result = a_result(name, streams=2, tokens=1)
        result["streams"][1] |= {"ticks": [], "stream": False, "outcome": "cut"}
        want = {"lanes": 2, "ticks": 1}
    pages_of(tmp_path, result)
    document = check(tmp_path, result, **want)
    assert "<b>x</b>" not in document
    if name == "nasty":
        assert html.escape(NASTY, quote=False) in document


def test_an_error_of_the_script_would_be_seen(tmp_path):
    result = a_result("worker_kill", streams=2)
    pages_of(tmp_path, result)
    page = tmp_path / "worker_kill.html"
    page.write_text(page.read_text().replace("function drawLane(lane, y) {",
                                             "function drawLane(lane, y) { nobody();"))
    with pytest.raises(AssertionError):
        check(tmp_path, result)


def test_the_index_leads_to_every_page(tmp_path):
    failed = a_result("worker_hang", verdict="fail")
    failed["checks"] = [{"name": "complete", "want": ">= 100 %", "got": "99 %", "ok": False,
                         "detail": ""}]
    pages_of(tmp_path, a_result("worker_kill"), failed)
    document, console = browse(tmp_path / "index.html", tmp_path)
    assert not console
    links = re.findall(r'<td><a href="([^"]*)"', document)
    assert links == ["worker_hang.html", "worker_kill.html"]
    assert all((tmp_path / link).exists() for link in links)
    assert "complete 99 %, wanted &gt;= 100 %" in document


def test_a_folder_without_results_is_named(tmp_path):
    for folder, words in [(tmp_path, "no result file"), (tmp_path / "none", "No such file")]:
        run = subprocess.run([BIN, "chaos", "report", str(folder)], capture_output=True, text=True,
                             timeout=DEADLINE)
        assert run.returncode == 2
        assert words in run.stderr and str(folder) in run.stderr
    (tmp_path / "a.json").write_text("[]")
    run = subprocess.run([BIN, "chaos", "report", str(tmp_path)], capture_output=True, text=True,
                         timeout=DEADLINE)
    assert run.returncode == 2 and "a.json" in run.stderr
    assert not pathlib.Path(tmp_path / "index.html").exists()
