"""Each check of tools/ finds a planted violation and accepts what is right."""
import os
import pathlib
import subprocess
import sys

TOOLS = pathlib.Path(__file__).resolve().parents[2] / "tools"


def run(tool, *arguments, cache=None):
    environment = dict(os.environ, HOLDFAST_CACHE=str(cache)) if cache else None
    done = subprocess.run([sys.executable, TOOLS / tool, *map(str, arguments)], env=environment,
                          capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout


def plant(root, name, text):
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def tidy(root, *flags):
    return run("tidy.py", *flags, root, cache=root.parent / "cache")


def test_arrows_accepts_the_table(tmp_path):
    plant(tmp_path, "src/core/a.hpp", '#include <vector>\n#include "base/result.hpp"\n')
    plant(tmp_path, "src/wire/head.cpp", "#include <boost/beast/http/basic_parser.hpp>\n"
                                         "#include <boost/asio/buffer.hpp>\n")
    plant(tmp_path, "src/net/core.hpp", "#include <boost/asio/io_context.hpp>\n")
    assert run("arrows.py", tmp_path) == (0, "ok arrows: 5 includes\n")


def test_arrows_finds_each_kind_of_violation(tmp_path):
    plant(tmp_path, "CMakeLists.txt", "hf_module(core base wire)\n")
    plant(tmp_path, "src/core/a.cpp", '\n#include "wire/json.hpp"\n#include <mutex>\n')
    plant(tmp_path, "src/engine/a.cpp", "#include <boost/asio/post.hpp>\n#include <netdb.h>\n")
    plant(tmp_path, "src/http/a.cpp", '#include <boost/beast/core.hpp>\n#include "a.hpp"\n')
    plant(tmp_path, "src/stray/a.cpp", "\n")
    plant(tmp_path, "src/wire/a.cpp", "#include <boost/beast/http/fields.hpp>\n")
    plant(tmp_path, "src/wire/b.cpp", "#include <boost/beast/http/fields.hpp>\n")
    status, text = run("arrows.py", tmp_path)
    assert status == 1
    for place in ("CMakeLists.txt:1: core", "src/core/a.cpp:2: core may not include wire",
                  "src/core/a.cpp:3: core has no threads", "src/engine/a.cpp:1: engine may not",
                  "src/engine/a.cpp:2: engine has no I/O", "src/http/a.cpp:1: only wire",
                  'src/http/a.cpp:2: "a.hpp"', "src/stray/a.cpp:1: module stray",
                  "Beast belongs in one file"):
        assert place in text, place


def test_tidy_accepts_what_is_right(tmp_path):
    body = "".join(f"  f({i});\n" for i in range(68))
    plant(tmp_path, "src/core/a.hpp", "#pragma once\n#include <string>\n"
                                      "inline std::string a() { return {}; }\n")
    plant(tmp_path, "src/core/a.cpp", "void f(int);\nvoid a() {\n" + body + "}\n"
                                      "// TODO(#12): later\nconst char* s = \"detached\";\n")
    plant(tmp_path, "README.md", "[a](src/core/a.hpp#x) [b](https://example.org/x)\n")
    status, text = tidy(tmp_path)
    assert (status, text) == (0, "ok tidy: 3 files\n")


def test_tidy_finds_long_functions_files_and_lines(tmp_path):
    body = "".join(f"  f({i});\n" for i in range(70))
    plant(tmp_path, "src/core/a.cpp", "namespace a {\nclass A {\n  A() : b_{1} {\n" + body +
          "  }\n};\nauto g() -> int {\n" + body + "  auto l = [] { return '{'; };\n}\n}\n")
    plant(tmp_path, "src/core/long.cpp", "int a;\n" * 601)
    plant(tmp_path, "src/core/wide.cpp", "//" + "x" * 99 + "\n")
    plant(tmp_path, "tools/a.py", "def a():\n" + "    a()\n" * 70)
    status, text = tidy(tmp_path, "--fast")
    assert status == 1
    for place in ("src/core/a.cpp:3: function of 72", "src/core/a.cpp:76: function of 73",
                  "src/core/long.cpp:601: file of 601", "src/core/wide.cpp:1: 101 columns",
                  "tools/a.py:1: function of 71"):
        assert place in text, place


def test_tidy_finds_banned_words_and_dead_links(tmp_path):
    plant(tmp_path, "src/core/a.cpp", "// TODO later\nstd::cout << 1;\nspawn(detached);\n"
                                      "co_await run(x, [y](int) {});\n")
    plant(tmp_path, "src/core/a_test.cpp", "std::this_thread::sleep_for(1s);\n")
    plant(tmp_path, "tests/e2e/test_a.py", "import time\ntime.sleep(1)\n")
    plant(tmp_path, "docs/a.md", "\n[gone](../nowhere.md)\n")
    status, text = tidy(tmp_path, "--fast")
    assert status == 1
    for place in ("src/core/a.cpp:1: TODO", "src/core/a.cpp:2: std::cout",
                  "src/core/a.cpp:3: detached", "src/core/a.cpp:4: co_await",
                  "src/core/a_test.cpp:1: std::this_thread::sleep_for",
                  "tests/e2e/test_a.py:2: time.sleep", "docs/a.md:2: link to ../nowhere.md"):
        assert place in text, place


def test_tidy_warns_of_a_crowded_folder(tmp_path):
    for number in range(26):
        plant(tmp_path, f"src/core/a{number}.cpp", "int a;\n")
    assert tidy(tmp_path, "--fast") == (0, "warning: src/core: 26 files (aim 25)\n"
                                           "ok tidy: 26 files\n")


def test_tidy_finds_a_header_that_needs_another_even_after_a_good_run(tmp_path):
    plant(tmp_path, "src/core/b.hpp", "#pragma once\n#include <string>\n")
    plant(tmp_path, "src/core/a.hpp", '#pragma once\n#include "core/b.hpp"\n'
                                      "inline std::string a;\n")
    assert tidy(tmp_path)[0] == 0
    plant(tmp_path, "src/core/b.hpp", "#pragma once\n")
    status, text = tidy(tmp_path)
    assert status == 1 and "src/core/a.hpp:1: does not compile alone" in text


def test_count_tests_adds_up_and_refuses_failures_skips_and_nothing(tmp_path):
    plant(tmp_path, "good.xml", '<testsuite><testcase name="a" status="run"/></testsuite>')
    plant(tmp_path, "bad.xml", '<testsuites><testsuite><testcase name="a"/><testcase name="b">'
                               "<failure/></testcase></testsuite></testsuites>")
    plant(tmp_path, "skip.xml", '<testsuite><testcase name="a"><skipped/></testcase></testsuite>')
    plant(tmp_path, "broken.xml", "<testsuite>")
    good, bad, skip, broken = (tmp_path / f"{n}.xml" for n in ("good", "bad", "skip", "broken"))
    assert run("count_tests.py", good, good) == (0, "2 passed, 0 failed\n")
    assert run("count_tests.py", good, bad) == (1, "2 passed, 1 failed\n")
    assert run("count_tests.py", good, skip) == (1, "1 passed, 0 failed, 1 skipped\n")
    assert run("count_tests.py", good, broken) == (1, "1 passed, 1 failed\n")
    assert run("count_tests.py") == (1, "0 passed, 0 failed\n")
