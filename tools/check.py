#!/usr/bin/env python3
"""Everything that CI checks, step by step: what `make test` runs after `make setup`.

    tools/check.py [STEP…]     all steps, or only those named; `tools/check.py list` names them

Each step has a log and, where it runs tests, JUnit files in build/reports. A failed step does not
stop those that do not need it. Ends with a table of times; tools/count_tests.py adds up the tests.
"""
import dataclasses
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time
import xml.etree.ElementTree as ElementTree

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"
REPORTS = BUILD / "reports"
PYTEST = "/usr/bin/python3 -m pytest -q -p no:cacheprovider"
PARALLEL = "-n 4"  # most of what such a test does is to wait
TSAN_MODULES = ("net", "http", "frontend", "telemetry")
# Time limits of engines and probes hold on a sanitized binary too; these cover its paths.
SANITIZED_SCENARIOS = ("tests/e2e/test_scenarios.py -k 'test_worker_kill or test_worker_hang or "
                       "test_client_gone or test_poison'")
HEARTBEAT_S = 30
FUZZ_S = 60
SIM_FRESH = 20_000  # worlds, about a minute


@dataclasses.dataclass
class Step:
    name: str
    what: str
    command: str
    minutes_max: float
    needs: tuple = ()
    environment: dict = dataclasses.field(default_factory=dict)
    is_beside: bool = False  # runs at low priority beside the steps after it
    result: str = ""
    seconds: float = 0.0

    @property
    def log(self):
        return REPORTS / f"{self.name}.log"


def fresh_seed():
    """Another part of the seeds for each state of src/, the same for all who check it."""
    head = subprocess.run(["git", "rev-parse", "HEAD:src"], cwd=ROOT, capture_output=True,
                          text=True)
    return int(head.stdout.strip()[:12] or "1", 16)


def build(preset, targets="all"):
    return f"cmake --preset {preset} >/dev/null && ninja -C build/{preset} {targets}"


def ctest(preset):
    return (f"ctest --test-dir build/{preset} -j2 --output-on-failure --no-tests=error "
            f"--output-junit {REPORTS}/{preset}-unit.xml")


def gtest_programs(preset, modules):
    """The test programs of some modules alone, each with its JUnit file."""
    return " && ".join(f"build/{preset}/test_{m} --gtest_brief=1 "
                       f"--gtest_output=xml:{REPORTS}/{preset}-{m}.xml" for m in modules)


def binary(preset):
    return {"HOLDFAST_BIN": str(BUILD / preset / "holdfast")}


def pytest(name, arguments):
    return f"{PYTEST} --junitxml={REPORTS}/{name}.xml {arguments}"


def steps():
    tsan_targets = " ".join([f"test_{m}" for m in TSAN_MODULES] + ["holdfast"])
    sanitizers = {"ASAN_OPTIONS": "detect_stack_use_after_return=1:abort_on_error=0",
                  "UBSAN_OPTIONS": "print_stacktrace=1",
                  "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1"}
    return [
        Step("style", "include arrows, tidy, clang-format",
             "bad=0; tools/arrows.py || bad=1; tools/tidy.py || bad=1; clang-format-19 --dry-run "
             "-Werror $(find src -name '*.[ch]pp') && echo 'ok format' || bad=1; exit $bad", 8),
        Step("tools", "the checks find planted violations",
             pytest("tools", "tests/tools/test_tools.py"), 3),
        Step("debug-build", "debug build", build("debug"), 15),
        Step("debug-unit", "unit tests, debug", ctest("debug"), 10, ("debug-build",)),
        Step("release-build", "release build", build("release", "holdfast"), 15),
        Step("asan-build", "build with ASan and UBSan, fuzz targets", build("asan"), 25),
        Step("fuzz", f"each fuzz target for {FUZZ_S} s", f"nice -n 19 tools/fuzz.sh {FUZZ_S}", 20,
             ("asan-build",), is_beside=True),
        Step("docs", "commands and flags of the documents",
             pytest("docs", "tests/tools/test_docs.py"), 3, ("release-build",), binary("release")),
        Step("sim", "1,000 simulated worlds, all pairs of scenarios, seeds of this source",
             "build/release/holdfast sim --seeds 1000 --from 1 --pairs --edges --counts && "
             f"build/release/holdfast sim --narrow --seeds {SIM_FRESH} --from {fresh_seed()}", 10,
             ("release-build",)),
        Step("chaos", "every fault test of chaos/ in its short form",
             "build/release/holdfast chaos run chaos --jobs 3 --out build/chaos && "
             f"cp build/chaos/junit.xml {REPORTS}/chaos.xml", 10, ("release-build",)),
        Step("e2e", "failure scenarios on real processes, real llama.cpp included",
             pytest("e2e", f"{PARALLEL} tests/e2e"), 40, ("release-build",), binary("release")),
        Step("clients", "official SDKs, LangChain, AI SDK and curl, through kills",
             pytest("clients", f"{PARALLEL} tests/clients"), 12, ("release-build",),
             binary("release")),
        Step("demo", "the demonstration on llama.cpp", "/usr/bin/python3 tools/demo.py", 5,
             ("release-build",), binary("release")),
        Step("demo-sim", "the demonstration on simulated engines",
             "/usr/bin/python3 tools/demo.py --sim", 3, ("release-build",), binary("release")),
        Step("asan-unit", "unit tests with ASan and UBSan", ctest("asan"), 15, ("asan-build",),
             sanitizers),
        Step("asan-e2e", "some of the failure scenarios with ASan and UBSan",
             pytest("asan-e2e", f"{PARALLEL} {SANITIZED_SCENARIOS}"), 10, ("asan-build",),
             binary("asan") | sanitizers),
        Step("tsan-build", "build with TSan", build("tsan", tsan_targets), 20),
        Step("tsan-unit", "tests of the threaded modules with TSan",
             gtest_programs("tsan", TSAN_MODULES), 10, ("tsan-build",), sanitizers),
        Step("tsan-e2e", "some of the failure scenarios with TSan",
             pytest("tsan-e2e", f"{PARALLEL} {SANITIZED_SCENARIOS}"), 10, ("tsan-build",),
             binary("tsan") | sanitizers),
        Step("clang-tidy", "clang-tidy on what changed", "/usr/bin/python3 tools/lint.py", 20,
             ("debug-build",)),
    ]


def last_line(path):
    lines = path.read_text(errors="replace").strip().splitlines()
    return lines[-1][:110] if lines else "(nothing printed yet)"


def run(step):
    """Runs one step to its end or its time limit; its children end with it."""
    print(f"==> {step.name}: {step.what}", flush=True)
    started = time.monotonic()
    deadline = started + step.minutes_max * 60
    with step.log.open("w") as log:
        child = subprocess.Popen(["bash", "-c", step.command], cwd=ROOT, stdout=log,
                                 stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
                                 env=dict(os.environ, **step.environment), start_new_session=True)
        while True:
            try:
                code = child.wait(timeout=HEARTBEAT_S)
                break
            except subprocess.TimeoutExpired:
                spent = time.monotonic() - started
                print(f"    {step.name}: {spent:.0f} s: {last_line(step.log)}", flush=True)
                if time.monotonic() > deadline:
                    os.killpg(child.pid, 9)
                    child.wait()
                    code = f"no end within {step.minutes_max:g} min"
                    break
    step.seconds = time.monotonic() - started
    step.result = "ok" if code == 0 else "FAILED"
    print(f"    {step.result} in {step.seconds:.0f} s: {last_line(step.log)}", flush=True)
    if code != 0:
        print(f"    exit {code}; the end of {step.log.relative_to(ROOT)}:")
        for line in step.log.read_text(errors="replace").splitlines()[-60:]:
            print("    | " + line[:300])


def run_all(chosen):
    by_name = {step.name: step for step in chosen}
    beside = []
    for step in chosen:
        unmet = [n for n in step.needs if n in by_name and by_name[n].result != "ok"]
        if unmet:
            step.result = "FAILED"
            step.log.write_text(f"not run: {', '.join(unmet)} failed\n")
            print(f"==> {step.name}: not run, {', '.join(unmet)} failed", flush=True)
        elif step.is_beside:
            beside.append(threading.Thread(target=run, args=(step,)))
            beside[-1].start()
        else:
            run(step)
    for thread in beside:
        thread.join()


def write_steps_file(chosen):
    """One JUnit case for each step, so that a step without tests of its own counts too."""
    suite = ElementTree.Element("testsuite", name="steps", tests=str(len(chosen)))
    for step in chosen:
        case = ElementTree.SubElement(suite, "testcase", name=step.name,
                                      time=f"{step.seconds:.1f}")
        if step.result != "ok":
            ElementTree.SubElement(case, "failure", message=last_line(step.log))
    ElementTree.ElementTree(suite).write(REPORTS / "steps.xml")


def main(argv):
    known = steps()
    if argv[1:] == ["list"]:
        for step in known:
            print(f"{step.name:14} {step.what}")
        return 0
    wrong = set(argv[1:]) - {step.name for step in known}
    if wrong:
        print(f"no step {', '.join(sorted(wrong))}; see tools/check.py list", file=sys.stderr)
        return 2
    chosen = [step for step in known if step.name in argv[1:] or not argv[1:]]
    shutil.rmtree(REPORTS, ignore_errors=True)
    REPORTS.mkdir(parents=True)
    os.environ.setdefault("CCACHE_BASEDIR", str(ROOT))  # as the Makefile has it
    os.environ.setdefault("CCACHE_NOHASHDIR", "1")
    started = time.monotonic()
    run_all(chosen)
    write_steps_file(chosen)
    print("\nsummary")
    for step in chosen:
        print(f"  {step.name:14} {step.result:7} {step.seconds:6.0f} s  {step.what}")
    failed = [step.name for step in chosen if step.result != "ok"]
    print(f"  {'total':14} {'FAILED' if failed else 'ok':7} {time.monotonic() - started:6.0f} s")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
