"""docs/fault-tolerance.md can't go stale: a row a scenario, written from the files and figures."""
import json
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import fault_tolerance  # noqa: E402

RESULT = {"version": 1, "scenario": "worker_kill", "verdict": "pass", "form": "long",
          "commit": "abc", "started_at": "2026-11-30T00:20:00Z", "streams": [{"id": 0}],
          "faults": [{"name": "kill engine-1"}],
          "figures": {"streams": 1000, "complete": 1000, "wrong_tokens": 0, "orphans": 52,
                      "by_mode": {"tokens": 52}, "errors": {}, "sheds": 0,
                      "pause_ms": {"p50": 34.06, "p90": 40, "p99": 50, "max": 1234.5},
                      "ttft_ms": None, "recovery_ms": None}}


@pytest.fixture
def root(tmp_path):
    for folder in ("chaos", "docs", "results", "src/simulator", "tests/e2e"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "chaos/worker_kill.yaml").write_text(
        "# a comment\ntitle: One of two is killed\ninside: >\n  Its streams go on\n"
        "  by ids | elsewhere.\nengines: {count: 2}\n")
    (tmp_path / "results/worker_kill.json").write_text(json.dumps(RESULT))
    return tmp_path


def test_figures_of_a_run_become_a_row(root):
    assert fault_tolerance.main(["take", str(root / "results")], root) == 0
    text = (root / "docs/fault-tolerance.md").read_text()
    row = next(line for line in text.splitlines() if line.startswith("| `worker_kill`"))
    for words in ("One of two is killed", r"Its streams go on by ids \| elsewhere.",
                  "1,000 of 1,000 complete", "0 with a wrong token", "52 struck (52 by `tokens`)",
                  "34.1 ms / 50 ms / 1.23 s", "(../chaos/worker_kill.yaml)"):
        assert words in row, row
    assert "commit `abc` (long form)" in text
    assert fault_tolerance.check(root) == []
    # Streams and their ticks are not kept.
    assert (root / "docs/fault-tolerance.json").stat().st_size < 1000


def test_a_page_that_is_stale_is_named(root):
    fault_tolerance.main(["take", str(root / "results")], root)
    (root / "chaos/new.yaml").write_text("title: 'A new one'\ninside: \"Something: new\"\n")
    assert any("new.yaml has no row" in line for line in fault_tolerance.check(root))
    fault_tolerance.main([], root)
    assert fault_tolerance.check(root) == []
    assert "A new one | Something: new | not run yet" in \
        (root / "docs/fault-tolerance.md").read_text()
    (root / "chaos/worker_kill.yaml").unlink()
    assert any("worker_kill.yaml is not there" in line for line in fault_tolerance.check(root))
    (root / "chaos/new.yaml").write_text("title: Another title\ninside: y\n")
    fault_tolerance.main([], root)
    (root / "chaos/new.yaml").write_text("title: Changed\ninside: y\n")
    assert any("is not what" in line for line in fault_tolerance.check(root))
    (root / "chaos/new.yaml").write_text("title: Changed\n")
    assert any("no `inside:`" in line for line in fault_tolerance.check(root))


def test_a_failed_run_does_not_look_like_a_pass(root):
    (root / "results/worker_kill.json").write_text(json.dumps(RESULT | {"verdict": "fail"}))
    fault_tolerance.main(["take", str(root / "results")], root)
    assert "**fail**: 1,000 of" in (root / "docs/fault-tolerance.md").read_text()


def test_a_folder_without_results_is_named(root):
    with pytest.raises(SystemExit, match="no result file"):
        fault_tolerance.main(["take", str(root / "chaos")], root)


def test_the_page_of_this_tree_is_not_stale():
    assert fault_tolerance.check(ROOT) == []
