#!/usr/bin/env python3
"""Checks the style that no reviewer should have to talk about.

    tools/tidy.py [--fast] [ROOT]     --fast leaves out the compiler (header self-containment)

Functions <= 70 lines, files <= 600 lines, 100 columns, banned words, links between documents, and
headers that compile alone. Prints file:line of each violation and exits 1; a crowded folder is only
a warning. Headers found good are remembered outside the repository by their contents.
"""
import ast
import concurrent.futures
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import cpp_text  # noqa: E402  (a script's own folder)

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 600
COLUMNS_MAX = 100
FOLDER_FILES_MAX = 25
SKIPPED = {"build", ".git", ".venv", "__pycache__", ".pytest_cache", "recorded", "corpus"}
CPP = {".hpp", ".cpp"}
SCRIPTS = {".py", ".sh"}

UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME)\b(?!\(#\d+\)|.*#\d+)")
TEST_SLEEP = re.compile(r"\b(?:std::)?this_thread::sleep_\w+|\busleep\s*\(|"
                        r"\b(?:time|asyncio)\.sleep\b")
DETACHED = re.compile(r"\bdetached\b")
CONSOLE = re.compile(r"\bstd::c(?:out|err)\b")
AWAITED_CAPTURE = re.compile(r"\bco_await\b[^;]*[(,]\s*\[[^\]]*\w[^\]]*\]\s*[({]")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def project_files(root):
    """Every file of the project that a person wrote, tools' output and recordings left out."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if f not in SKIPPED)
        for name in sorted(names):
            yield pathlib.Path(folder) / name


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def is_test(name):
    return name.parts[0] == "tests" or name.stem.endswith("_test") or name.stem.startswith("test_")


def check_shape(name, text):
    """Columns and length of a file."""
    lines = text.splitlines()
    if len(lines) > FILE_LINES_MAX:
        yield f"{name}:{FILE_LINES_MAX + 1}: file of {len(lines)} lines (limit {FILE_LINES_MAX})"
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS_MAX:
            yield f"{name}:{number}: {len(line)} columns (limit {COLUMNS_MAX})"


def check_functions(name, text):
    if name.suffix in CPP:
        found = [(first, lines) for first, lines, _ in cpp_text.functions(text)]
    else:
        found = [(node.lineno, node.end_lineno - node.lineno + 1)
                 for node in ast.walk(ast.parse(text))
                 if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    for first, lines in found:
        if lines > FUNCTION_LINES_MAX:
            yield f"{name}:{first}: function of {lines} lines (limit {FUNCTION_LINES_MAX})"


def check_words(name, text):
    """Words that mean unfinished or unsafe work."""
    code = cpp_text.code_only(text) if name.suffix in CPP else text
    rules = [(UNFINISHED, text, "unfinished work without an issue number")]
    if is_test(name) and name.name != "harness.py":  # the one place that polls, with a deadline
        rules.append((TEST_SLEEP, code, "a test waits for a condition, it does not sleep"))
    if name.suffix in CPP:
        rules.append((DETACHED, code, "nothing is spawned without an owner"))
        rules.append((AWAITED_CAPTURE, code, "name the capturing lambda before co_await"))
        if name.parts[:2] != ("src", "cli") and not is_test(name):
            rules.append((CONSOLE, code, "only src/cli writes to the console"))
    for pattern, where, why in rules:
        for match in pattern.finditer(where):
            yield f"{name}:{line_of(where, match.start())}: {match.group(0).split()[0]}: {why}"


def check_links(root, name, text):
    """Relative links of a document lead to files that exist."""
    for match in LINK.finditer(text):
        target = match.group(1).split("#", 1)[0]
        if not target or re.match(r"[a-z]+:", target):
            continue
        if not (root / name.parent / target).exists():
            yield f"{name}:{line_of(text, match.start())}: link to {target}, which does not exist"


def check_file(root, path):
    name = path.relative_to(root)
    is_makefile = path.name in ("Makefile", "CMakeLists.txt")
    if path.suffix not in CPP | SCRIPTS | {".md"} and not is_makefile:
        return []
    text = path.read_text(encoding="utf-8")
    problems = []
    if path.suffix == ".md":
        return list(check_links(root, name, text))
    problems += check_shape(name, text)
    if path.suffix in CPP | {".py"}:
        problems += check_functions(name, text)
    if path.suffix in CPP | SCRIPTS and path.name not in ("tidy.py", "test_tools.py"):
        problems += check_words(name, text)
    return problems


def folder_warnings(root, paths):
    counts = {}
    for path in paths:
        counts[path.parent] = counts.get(path.parent, 0) + 1
    for folder, count in sorted(counts.items()):
        if count > FOLDER_FILES_MAX:
            yield f"warning: {folder.relative_to(root)}: {count} files (aim {FOLDER_FILES_MAX})"


class HeaderCheck:
    """Compiles each header alone, remembering the good ones by the contents of all they include."""

    def __init__(self, root):
        self.root = root
        cache = pathlib.Path(os.environ.get("HOLDFAST_CACHE") or
                             pathlib.Path.home() / ".cache" / "holdfast")
        self.memory = cache / "good-headers.json"
        self.closures = {}

    def _closure(self, path, seen):
        """All of our own files that the header stands on, itself included."""
        if path in seen or not path.exists():
            return seen
        seen.add(path)
        for header in re.findall(r'^\s*#\s*include\s*"([^"]+)"', path.read_text(), re.M):
            self._closure(self.root / "src" / header, seen)
        return seen

    def _key(self, path):
        digest = hashlib.sha256(str(path.relative_to(self.root)).encode())
        for file in sorted(self._closure(path, set())):
            digest.update(file.read_bytes())
        return digest.hexdigest()

    def _compile(self, path):
        command = ["clang++-19", "-std=c++23", "-fsyntax-only", "-x", "c++", "-Wall", "-Wextra",
                   "-Wno-pragma-once-outside-header", "-DHF_SOURCE_DIR=\"\"", "-Isrc",
                   str(path)]
        done = subprocess.run(command, cwd=self.root, capture_output=True, text=True, timeout=300)
        return None if done.returncode == 0 else done.stderr.strip().splitlines()[0]

    def run(self):
        """Violations; compiles two headers at a time."""
        headers = {path: self._key(path) for path in sorted(self.root.glob("src/*/*.hpp"))}
        try:
            good = set(json.loads(self.memory.read_text()))
        except (OSError, ValueError):
            good = set()
        todo = [path for path, key in headers.items() if key not in good]
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            results = dict(zip(todo, pool.map(self._compile, todo)))
        good |= {headers[path] for path, problem in results.items() if problem is None}
        self.memory.parent.mkdir(parents=True, exist_ok=True)
        part = self.memory.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps(sorted(good)[-5000:]))
        part.replace(self.memory)
        return [f"{path.relative_to(self.root)}:1: does not compile alone: {problem}"
                for path, problem in results.items() if problem]


def main(argv):
    arguments = [a for a in argv[1:] if a != "--fast"]
    root = pathlib.Path(arguments[0] if arguments else pathlib.Path(__file__).parent.parent)
    root = root.resolve()
    paths = list(project_files(root))
    problems = [problem for path in paths for problem in check_file(root, path)]
    for warning in folder_warnings(root, paths):
        print(warning)
    if "--fast" not in argv:
        problems += HeaderCheck(root).run()
    for problem in problems:
        print(problem)
    if not problems:
        print(f"ok tidy: {len(paths)} files")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
