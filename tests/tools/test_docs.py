"""Commands and flags in the documents are those of the program."""
import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = os.environ.get("HOLDFAST_BIN", str(ROOT / "build/release/holdfast"))


def help_of(subcommand):
    run = subprocess.run([BIN, *subcommand.split(), "--help"], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    return run.stdout


def flags_in(text):
    return set(re.findall(r"(--[a-z][a-z-]+)", text))


def test_configuration_lists_every_flag_of_serve():
    table = (ROOT / "docs/configuration.md").read_text()
    documented = {f for line in table.splitlines() if line.startswith("| `--")
                  for f in flags_in(line.split("|")[1])}
    assert documented == flags_in(help_of("serve").split("Examples:")[0]) - {"--help"}


def test_commands_in_documents_use_flags_that_exist():
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for line in document.read_text().replace("\\\n", " ").splitlines():
            for command in re.findall(r"(?:^|/)holdfast (serve|engine|sim|config check|chaos run) "
                                      r"((?:[a-z_/.]+ )*--[^`|#&]*)", line):
                unknown = flags_in(command[1]) - flags_in(help_of(command[0]))
                assert not unknown, f"{document.name}: {line}: {unknown}"


def test_make_targets_in_documents_exist():
    makefile = (ROOT / "Makefile").read_text()
    for document in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]:
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", document.read_text(), re.M):
            assert re.search(rf"^{target}:", makefile, re.M), f"{document.name}: make {target}"


def test_sim_prints_its_last_line_for_scripts():
    run = subprocess.run([BIN, "sim", "--seeds", "3", "--from", "1"], capture_output=True,
                         text=True)
    assert run.returncode == 0
    assert re.fullmatch(r"seeds 3 requests \d+ violations 0 requests_per_s [\d.]+",
                        run.stdout.strip().splitlines()[-1])


def test_bad_flags_name_the_thing_and_the_remedy():
    engine = ["--engine", "http://h:1"]
    for arguments, words in [(["--engine", "ftp://x"], "http"),
                             ([*engine, "--routing", "x"], "least-loaded"),
                             ([*engine, "--continuation-modes", "x"], "restart"),
                             ([*engine, "--admission-hold", "soon"], "250ms")]:
        run = subprocess.run([BIN, "serve", *arguments], capture_output=True, text=True)
        assert run.returncode == 2 and words in run.stderr, run.stderr
