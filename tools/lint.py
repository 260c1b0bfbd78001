#!/usr/bin/env python3
"""clang-tidy-19 on the sources that changed.

    tools/lint.py [BASE]     BASE: a commit; default: the fork point from origin/main, else the
                             newest commit before HEAD, else (no history) every source

A changed header counts for every source that includes it directly. Sources found clean are
remembered outside the repository by the contents of all of our files that they include.
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
TIDY = "clang-tidy-19"
LIMIT_S = 600


def git(*arguments):
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


def base_commit(argv):
    if len(argv) > 1:
        return argv[1]
    head = git("rev-parse", "HEAD")
    fork = git("merge-base", "HEAD", "origin/main")
    return fork if fork and fork != head else git("rev-parse", "--verify", "-q", "HEAD~1")


def includes(path):
    return {ROOT / "src" / h for h in
            re.findall(r'^\s*#\s*include\s*"([^"]+)"', path.read_text(), re.M)}


def changed_sources(base):
    sources = sorted(ROOT.glob("src/*/*.cpp"))
    if not base:
        return sources
    names = (git("diff", "--name-only", base) + "\n" +
             git("ls-files", "--others", "--exclude-standard")).split()
    changed = {ROOT / name for name in names}
    return [s for s in sources if s in changed or includes(s) & changed]


def key(path):
    seen, todo = set(), [path]
    while todo:
        file = todo.pop()
        if file not in seen and file.exists():
            seen.add(file)
            todo += includes(file)
    digest = hashlib.sha256((ROOT / ".clang-tidy").read_bytes())
    for file in sorted(seen):
        digest.update(str(file.relative_to(ROOT)).encode() + file.read_bytes())
    return digest.hexdigest()


def lint(path):
    """(path, text of the findings); an empty text is a clean file."""
    done = subprocess.run([TIDY, "-p", "build/debug", "--quiet", "--warnings-as-errors=*",
                           str(path)], cwd=ROOT, capture_output=True, text=True, timeout=LIMIT_S)
    return path, "" if done.returncode == 0 else done.stdout + done.stderr


def main(argv):
    memory = pathlib.Path(os.environ.get("HOLDFAST_CACHE") or
                          pathlib.Path.home() / ".cache" / "holdfast") / "clean-sources.json"
    try:
        clean = set(json.loads(memory.read_text()))
    except (OSError, ValueError):
        clean = set()
    sources = changed_sources(base_commit(argv))
    todo = [path for path in sources if key(path) not in clean]
    dirty = 0
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for path, findings in pool.map(lint, todo):
            print(f"{'FINDINGS' if findings else 'clean'} {path.relative_to(ROOT)}", flush=True)
            if findings:
                dirty += 1
                print(findings)
            else:
                clean.add(key(path))
    memory.parent.mkdir(parents=True, exist_ok=True)
    memory.write_text(json.dumps(sorted(clean)))
    print(f"clang-tidy: {len(sources)} changed sources, {len(sources) - len(todo)} known clean, "
          f"{dirty} with findings")
    return 1 if dirty else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
