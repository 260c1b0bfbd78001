#!/usr/bin/env python3
"""Checks who includes whom: the table of modules in ARCHITECTURE.md, as a program.

    tools/arrows.py [ROOT]     prints `ok …` lines, or file:line of each violation and exits 1
"""
import pathlib
import re
import sys

# module: what it may include besides itself
ARROWS = {
    "base": set(),
    "core": {"base"},
    "routing": {"base", "core"},
    "wire": {"base"},
    "engine": {"base", "core", "wire"},
    "net": {"base"},
    "http": {"base", "wire", "net"},
    "plane": {"base", "core", "wire", "net"},
    "discovery": {"base", "core", "wire", "net", "http"},
    "telemetry": {"base", "wire", "net", "http"},
    "simulator": {"base", "core", "routing", "wire", "engine"},
    "engine_server": {"base", "wire", "net", "http", "simulator"},
    "chaos": {"base", "wire", "net", "http", "config"},
}
ARROWS["frontend"] = {"base", "core", "routing", "wire", "engine", "net", "http", "plane",
                      "discovery", "telemetry"}
ARROWS["config"] = {"base", "core", "routing", "http", "frontend"}
ARROWS["worker"] = ARROWS["frontend"] - {"routing"}
ARROWS["cli"] = set(ARROWS)

ASIO_MODULES = {"net", "http", "plane", "discovery", "telemetry",
                "frontend", "worker", "engine_server", "chaos", "cli"}
# What modules without I/O never include: they are handed bytes and the time.
IO_HEADERS = re.compile(r"^(sys/(socket|epoll|select|un|uio|timerfd|eventfd|wait)\.h|netinet/.*|"
                        r"arpa/inet\.h|netdb\.h|poll\.h|unistd\.h|iostream|fstream|openssl/.*)$")
IO_FREE_MODULES = {"core", "routing", "wire", "engine", "simulator", "config"}
THREAD_HEADERS = {"thread", "mutex", "shared_mutex", "condition_variable", "future"}
THREAD_FREE_MODULES = {"core", "routing", "engine", "simulator", "config"}
# Beast's parser takes its bytes in Asio's buffer type; that header opens no socket.
BEAST_NEEDS = "boost/asio/buffer.hpp"

INCLUDE = re.compile(r'^\s*#\s*include\s*(?:"([^"]+)"|<([^>]+)>)')


def includes(path):
    """(line number, header, quoted) of every include in the file."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = INCLUDE.match(line)
        if match:
            yield number, match.group(1) or match.group(2), match.group(1) is not None


def own_header_problem(module, header):
    """What is wrong with a quoted include, or None."""
    target, slash, _ = header.partition("/")
    if not slash or target not in ARROWS:
        return f'"{header}" is no path from src/ (MODULE/file.hpp)'
    if target != module and target not in ARROWS[module]:
        return f"{module} may not include {target}"
    return None


def library_problem(module, header, is_test):
    """What is wrong with an include of a library in this module, or None."""
    is_asio = header.startswith("boost/asio") or header.startswith("asio")
    is_beasts = module == "wire" and header == BEAST_NEEDS
    if is_asio and module not in ASIO_MODULES and not is_beasts:
        return f"{module} may not include Asio (<{header}>)"
    if header.startswith("boost/beast") and module != "wire":
        return f"only wire may include Beast (<{header}>)"
    if header.startswith("boost/") and module == "base":
        return f"base stands on the standard library only (<{header}>)"
    if module in IO_FREE_MODULES and not is_test and IO_HEADERS.match(header):
        return f"{module} has no I/O and no log (<{header}>)"
    if module in THREAD_FREE_MODULES and not is_test and header in THREAD_HEADERS:
        return f"{module} has no threads (<{header}>)"
    return None


def check_sources(root):
    """Violations of the includes under root/src, and how many includes were looked at."""
    problems, looked_at, beast_files = [], 0, set()
    for path in sorted((root / "src").glob("*/*")):
        if path.suffix not in (".hpp", ".cpp"):
            continue
        module, name = path.parent.name, path.relative_to(root)
        if module not in ARROWS:
            problems.append(f"{name}:1: module {module} is not in the table")
            continue
        is_test = re.search(r"_(test|tests|fuzz|bench)(_|$)", path.stem) is not None
        for number, header, quoted in includes(path):
            looked_at += 1
            problem = (own_header_problem(module, header) if quoted
                       else library_problem(module, header, is_test))
            if problem:
                problems.append(f"{name}:{number}: {problem}")
            if header.startswith("boost/beast") or header == BEAST_NEEDS and module == "wire":
                beast_files.add(str(name))
    if len(beast_files) > 1:
        problems.append(f"{sorted(beast_files)[1]}:1: Beast belongs in one file of wire, "
                        f"it is in {', '.join(sorted(beast_files))}")
    return problems, looked_at


def check_cmake(root):
    """Violations of the arrows in CMakeLists.txt: hf_module(name deps…) within the table."""
    problems, path = [], root / "CMakeLists.txt"
    if not path.exists():
        return problems
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = re.match(r"\s*hf_module\(([a-z_]+)((?: [a-z_]+)*)\)", line)
        if not match:
            continue
        module, deps = match.group(1), set(match.group(2).split())
        wrong = {module} - set(ARROWS) or deps - ARROWS[module]
        if wrong:
            problems.append(f"CMakeLists.txt:{number}: {module} may not link "
                            f"{', '.join(sorted(wrong))}")
    return problems


def main(argv):
    root = pathlib.Path(argv[1] if len(argv) > 1 else pathlib.Path(__file__).parent.parent)
    problems, looked_at = check_sources(root.resolve())
    problems += check_cmake(root.resolve())
    for problem in problems:
        print(problem)
    if not problems:
        print(f"ok arrows: {looked_at} includes")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
