#!/usr/bin/python3
"""docs/fault-tolerance.md: what each scenario of chaos/ breaks, what happens inside, and what the
last run showed. Made from the scenario files and from docs/fault-tolerance.json.

    tools/fault_tolerance.py take build/chaos   figures of a run into the JSON file, then write
    tools/fault_tolerance.py                    write the page again
    tools/fault_tolerance.py check              fail if the page is not what would be written
"""
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
FIGURES = ("streams", "complete", "wrong_tokens", "orphans", "by_mode", "errors", "outcomes",
           "sheds")


def scalar(text, key):
    """A top-level `key:` of a scenario file: on its line, quoted or not, or folded under it."""
    found = re.search(rf"^{key}:[ \t]*(.*)\n((?:[ \t]+.*\n|\n)*)", text + "\n", re.M)
    if not found:
        return ""
    first, rest = found[1].strip(), " ".join(found[2].split())
    if re.fullmatch(r"[>|][-+]?", first):
        first = ""
    value = f"{first} {rest}".strip()
    if value[:1] in "\"'" and value[-1:] == value[:1]:
        value = value[1:-1]
    return value


def scenarios(root):
    """By name: title and inside of every scenario file."""
    found = {}
    for path in sorted((root / "chaos").glob("*.yaml")):
        text = path.read_text()
        found[path.stem] = {"title": scalar(text, "title"), "inside": scalar(text, "inside")}
    return found


def row_of(result):
    """What is kept of a result file."""
    figures = result["figures"]
    row = {key: result.get(key) for key in ("verdict", "form", "commit", "started_at")}
    row |= {key: figures.get(key) for key in FIGURES if figures.get(key) not in (None, {})}
    for key in ("pause_ms", "ttft_ms"):
        if figures.get(key):
            row[key] = {q: round(figures[key][q], 1) for q in ("p50", "p99", "max")}
    if figures.get("recovery_ms") is not None:
        row["recovery_ms"] = round(figures["recovery_ms"], 1)
    row["faults"] = [fault["name"] for fault in result.get("faults", [])]
    return row


def take(root, folder):
    """Rows of all result files of a run; those of scenarios that are gone go, others stay."""
    path = root / "docs/fault-tolerance.json"
    rows = json.loads(path.read_text()) if path.exists() else {}
    taken = {file.stem: row_of(json.loads(file.read_text()))
             for file in sorted(pathlib.Path(folder).glob("*.json"))}
    if not taken:
        raise SystemExit(f"fault_tolerance.py: {folder} has no result file; run make chaos")
    here = scenarios(root)
    rows = {name: row for name, row in sorted((rows | taken).items()) if name in here}
    path.write_text(json.dumps(rows, indent=1, ensure_ascii=False) + "\n")


def ms(value):
    return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.4g} ms"


def figures(row):
    if row is None:
        return "not run yet", "–"
    parts = [f"{row['complete']:,} of {row['streams']:,} complete",
             f"{row['wrong_tokens']} with a wrong token"]
    parts += [f"{n:,} {word.replace('_', ' ')}" for word, n in row.get("outcomes", {}).items()
              if word in ("stopped", "client_gone")]
    if row.get("orphans"):
        modes = ", ".join(f"{n} by `{mode}`" for mode, n in row.get("by_mode", {}).items())
        parts.append(f"{row['orphans']} struck" + (f" ({modes})" if modes else ""))
    parts += [f"{n:,} × `{code}`" for code, n in row.get("errors", {}).items()]
    if row.get("recovery_ms", 0) >= 10:
        parts.append(f"whole again after {ms(row['recovery_ms'])}")
    pause = row.get("pause_ms")
    said = " / ".join(ms(pause[q]) for q in ("p50", "p99", "max")) if pause else "–"
    text = "; ".join(parts)
    return (text if row["verdict"] == "pass" else f"**{row['verdict']}**: {text}"), said


def proofs(root, name):
    """The files that show it: the scenario, its simulated twin, the test of the same name."""
    links = [f"[chaos](../chaos/{name}.yaml)"]
    world = root / "src/simulator/world_scenarios.cpp"
    if world.exists() and f'"{name}"' in world.read_text():
        links.append("[simulated](../src/simulator/world_scenarios.cpp)")
    tests = sorted((root / "tests/e2e").glob("test_*.py"),
                   key=lambda path: (path.stem != "test_scenarios", path.stem))
    for test in tests:
        if test.stem in ("test_report", "test_chaos"):
            continue  # they only use its name
        if re.search(rf"def test_{name}\b|\"{name}\"", test.read_text()):
            links.append(f"[test](../tests/e2e/{test.name})")
            break
    return ", ".join(links)


def page(root):
    here = scenarios(root)
    path = root / "docs/fault-tolerance.json"
    rows = json.loads(path.read_text()) if path.exists() else {}
    runs = sorted({(row["commit"], row["form"]) for row in rows.values()})
    lines = ["# Fault tolerance", "",
             "<!-- written by tools/fault_tolerance.py from chaos/ and fault-tolerance.json -->",
             "What is broken on real processes, what happens inside, and what every client saw. "
             "Each scenario",
             "proves first that its fault took effect and that streams were struck. `make chaos` "
             "runs all of them.", ""]
    if runs:
        said = ", ".join(f"commit `{commit}` ({form} form)" for commit, form in runs)
        lines += [f"Figures of the last run: {said}, on two cores that had other work too; "
                  "pauses on a quiet machine", "are in [performance.md](performance.md).", ""]
    lines += ["| scenario | what happens inside | what was seen | pause p50 / p99 / max | proof |",
              "| --- | --- | --- | --- | --- |"]
    for name, told in here.items():
        seen, pause = figures(rows.get(name))
        title = told["title"].replace("|", "\\|")
        inside = told["inside"].replace("|", "\\|") or "–"
        lines.append(f"| `{name}`: {title} | {inside} | {seen} | {pause} | "
                     f"{proofs(root, name)} |")
    return "\n".join(lines) + "\n"


def without_proofs(text):
    """Links follow other files: a test that comes or goes there makes no page stale."""
    return [line.rsplit(" | ", 1)[0] for line in text.splitlines()]


def check(root):
    """What is wrong with the page and its figures; empty when nothing is."""
    wrong = []
    here = scenarios(root)
    written = root / "docs/fault-tolerance.md"
    text = written.read_text() if written.exists() else ""
    listed = re.findall(r"^\| `([a-z0-9_]+)`:", text, re.M)
    wrong += [f"chaos/{name}.yaml has no row in docs/fault-tolerance.md"
              for name in here if name not in listed]
    wrong += [f"docs/fault-tolerance.md has a row of {name}, but chaos/{name}.yaml is not there"
              for name in listed if name not in here]
    for name, told in here.items():
        wrong += [f"chaos/{name}.yaml has no `{key}:`" for key, value in told.items() if not value]
    if not wrong and without_proofs(text) != without_proofs(page(root)):
        wrong.append("docs/fault-tolerance.md is not what tools/fault_tolerance.py writes; run it")
    return wrong


def main(arguments, root=ROOT):
    if arguments == ["check"]:
        wrong = check(root)
        print("\n".join(wrong))
        return 1 if wrong else 0
    if len(arguments) == 2 and arguments[0] == "take":
        take(root, arguments[1])
    elif arguments:
        print(__doc__)
        return 2
    (root / "docs/fault-tolerance.md").write_text(page(root))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
