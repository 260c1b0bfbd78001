#!/usr/bin/env python3
"""The main job, shown: an engine is killed, then one is frozen, while it writes an answer.

    tools/demo.py [--sim]     two real llama.cpp servers; --sim: two simulated engines, in seconds

Starts two engines and `holdfast serve` on loopback, asks one engine for the untouched answer, then
streams the same answer through Holdfast and kills (SIGKILL) or freezes (SIGSTOP) the engine that
writes it after about 40 tokens. Prints the text with the switch marked and the pause in parts.
Exits 1 unless both answers equal the untouched one. HOLDFAST_BIN names the program.
"""
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
HOLDFAST = os.environ.get("HOLDFAST_BIN") or str(ROOT / "build/release/holdfast")
TOKENS_BEFORE_FAULT = 40
TOKENS_MAX = 120
READY_S = 60
ANSWER_S = 180
PROMPT = "Tell me a long story about a lighthouse keeper and the sea."


class Trouble(Exception):
    """The demonstration cannot go on; the text says what and where to look."""


def wait_for(what, condition, seconds=READY_S):
    """The condition's first true value, or Trouble when none came in time."""
    deadline, pause = time.monotonic() + seconds, threading.Event()
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        pause.wait(0.02)
    raise Trouble(f"{what} did not happen within {seconds} s")


def get_json(port, path):
    """The JSON of a GET, or None while nobody answers it with 200."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return json.loads(answer.read()) if answer.status == 200 else None
    except (OSError, ValueError, http.client.HTTPException):
        return None
    finally:
        connection.close()


class Process:
    """A child with its output in a file; each line is also given to `on_line` as it comes."""

    def __init__(self, name, command, folder, on_line=None):
        self.name, self.log = name, folder / f"{name}.log"
        self.child = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.reader = threading.Thread(target=self._read, args=(on_line,), daemon=True)
        self.reader.start()

    def _read(self, on_line):
        with self.log.open("ab") as log:
            for line in self.child.stdout:
                if on_line:
                    on_line(line)
                log.write(line)
                log.flush()

    def signal(self, number):
        self.child.send_signal(number)

    def end(self):
        """SIGTERM, then SIGKILL; a frozen child is woken first."""
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGCONT)
            self.child.terminate()
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.child.kill()
        self.child.wait()
        self.reader.join(5)


class Engine:
    """One engine on a port that it keeps over restarts."""

    def __init__(self, number, folder, is_simulated):
        self.name, self.folder, self.is_simulated = f"engine-{number}", folder, is_simulated
        self.port, self.process, self.taken_up_at = 0, None, []

    def _command(self, port_file):
        if self.is_simulated:
            return [HOLDFAST, "engine", "--listen", f"127.0.0.1:{self.port}", "--itl-ms", "15",
                    "--ttft-ms", "30", "--port-file", str(port_file)]
        return ["/usr/bin/python3", "tools/llama_engine.py", "--port", str(self.port), "--slots",
                "2", "--ctx", "4096", "--threads", "1", "--port-file", str(port_file)]

    def _on_line(self, line):
        # llama.cpp's log says when a slot begins with a request; it comes within a millisecond.
        if re.search(rb"launch_slot_.*processing task", line):
            self.taken_up_at.append(time.monotonic())

    def start(self):
        port_file = self.folder / f"{self.name}.port"
        port_file.unlink(missing_ok=True)
        process = Process(self.name, self._command(port_file), self.folder, self._on_line)
        self.process = process

        def has_started():
            if process.child.poll() is not None:
                raise Trouble(f"{self.name} ended at once; see {process.log}")
            return port_file.exists() and int(port_file.read_text())

        self.port = wait_for(f"the start of {self.name}", has_started)

    def is_writing(self):
        if self.is_simulated:
            stats = get_json(self.port, "/sim/stats")
            return bool(stats and stats["running"])
        return any(slot["is_processing"] for slot in get_json(self.port, "/slots") or [])

    def own_first_token(self, resumed_by, first_token_at):
        """Seconds from taking up its newest request to the first token at the client, or None."""
        if self.is_simulated:
            stats = get_json(self.port, "/sim/stats")
            return stats["ttft_us"][-1]["us"] / 1e6 if stats and stats["ttft_us"] else None
        times = [t for t in self.taken_up_at if resumed_by <= t <= first_token_at]
        return first_token_at - times[-1] if times else None


class Answer:
    """A streamed chat answer, read by a thread of its own so that arrival times are true."""

    def __init__(self, port, model):
        self.pieces, self.finish, self.error, self.done = [], None, None, False  # (time, text)
        body = {"model": model, "messages": [{"role": "user", "content": PROMPT}],
                "max_tokens": TOKENS_MAX, "temperature": 0, "stream": True}
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=ANSWER_S)
        self.connection.request("POST", "/v1/chat/completions", json.dumps(body),
                                {"Content-Type": "application/json"})
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        try:
            response = self.connection.getresponse()
            if response.status != 200:
                self.error = f"status {response.status}: {response.read(500)!r}"
                return
            for line in iter(response.readline, b""):
                self._take(line.strip(), time.monotonic())
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.error = f"{type(error).__name__}: {error}"
        finally:
            self.connection.close()

    def _take(self, line, now):
        if line == b"data: [DONE]":
            self.done = True
        elif line.startswith(b"data: "):
            event = json.loads(line[6:])
            if "error" in event:
                self.error = event["error"].get("message", "error")
            for choice in event.get("choices", []):
                self.finish = choice.get("finish_reason") or self.finish
                if choice["delta"].get("content"):
                    self.pieces.append((now, choice["delta"]["content"]))

    def text(self):
        return "".join(text for _, text in self.pieces)

    def wait(self):
        self.thread.join(ANSWER_S)
        if self.thread.is_alive() or self.error or not self.done or not self.finish:
            raise Trouble(f"the answer did not end well: {self.error or 'cut short'}")
        return self


class Fleet:
    """Two engines, `holdfast serve` before them, and what they leave behind."""

    def __init__(self, folder, is_simulated):
        self.engines = [Engine(number, folder, is_simulated) for number in (1, 2)]
        self.folder, self.serve, self.access_log = folder, None, folder / "access.log"
        self.port = self.system_port = 0
        self.model = None

    def start(self):
        for engine in self.engines:
            engine.start()
        port_file = self.folder / "serve.port"
        command = [HOLDFAST, "serve", "--listen", "127.0.0.1:0", "--system-port", "0",
                   "--admin", "127.0.0.1:0", "--data-cores", "2",
                   "--access-log", str(self.access_log), "--port-file", str(port_file)]
        for engine in self.engines:
            command += ["--engine", f"http://127.0.0.1:{engine.port}"]
        self.serve = Process("serve", command, self.folder)
        wait_for("the start of holdfast serve", port_file.exists)
        ports = json.loads(port_file.read_text())
        self.port, self.system_port = ports["listen"], ports["system"]
        self.wait_until_both_ready()
        self.model = get_json(self.port, "/v1/models")["data"][0]["id"]

    def wait_until_both_ready(self):
        def both():
            health = get_json(self.system_port, "/health") or {}
            return 2 in health.get("models", {}).values()
        wait_for("both engines ready in /health", both)

    def log_lines(self):
        text = self.access_log.read_text() if self.access_log.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def end(self):
        for process in [self.serve] + [engine.process for engine in self.engines]:
            if process:
                process.end()


def play(fleet, fault, untouched):
    """One answer with one fault in it; prints what happened; whether the texts are equal."""
    lines_before = len(fleet.log_lines())
    answer = Answer(fleet.port, fleet.model)
    wait_for(f"{TOKENS_BEFORE_FAULT} tokens",
             lambda: answer.error or len(answer.pieces) >= TOKENS_BEFORE_FAULT, ANSWER_S)
    victim = wait_for("an engine at work", lambda: next(
        (engine for engine in fleet.engines if engine.is_writing()), None), 10)
    survivor = next(engine for engine in fleet.engines if engine is not victim)
    fault_at = time.monotonic()
    victim.process.signal(fault)
    print(f"\n=== {fault.name} to {victim.name} after {len(answer.pieces)} tokens")
    answer.wait()

    times = [at for at, _ in answer.pieces]
    gaps = [(times[i] - times[i - 1], i) for i in range(1, len(times)) if times[i] > fault_at]
    if not gaps:
        raise Trouble("the answer was over before the fault")
    pause, switch = max(gaps)
    texts = [text for _, text in answer.pieces]
    print("".join(texts[:switch]) + f" >>>[{survivor.name} goes on]>>> " + "".join(texts[switch:]))

    line = wait_for("the request's line in the access log",
                    lambda: fleet.log_lines()[lines_before:], 10)[0]
    own = survivor.own_first_token(fault_at, times[switch])
    own_text = f"{own * 1e3:.1f} ms" if own is not None else "not known"
    found = None if own is None else times[switch] - own - fault_at
    found_text = f"{found * 1e3:.1f} ms" if found is not None else "not known"
    is_equal = answer.text() == untouched
    print(f"--- pause {pause * 1e3:.1f} ms: fault to resume (detection) {found_text}, "
          f"the replacement's first token {own_text}")
    print(f"--- went on by mode {'+'.join(line['modes']) or '(none)'}, "
          f"reason {'+'.join(line['reasons']) or '(none)'}, "
          f"{len(texts)} pieces of text, finish_reason {answer.finish}")
    print(f"--- equal to the untouched answer: {'YES' if is_equal else 'NO'}")
    if not is_equal:
        print(f"--- untouched:\n{untouched}")
    if line["modes"] != ["tokens"]:
        raise Trouble(f"the request went on by {line['modes']}, not by tokens")
    if fault == signal.SIGSTOP:
        victim.process.signal(signal.SIGCONT)
    else:
        victim.process.end()
        victim.start()
    fleet.wait_until_both_ready()
    return is_equal


def demonstrate(folder, is_simulated):
    kind = "simulated engines" if is_simulated else "llama.cpp servers with SmolLM2-135M-Instruct"
    print(f"two {kind} and holdfast serve on loopback; logs in {folder}")
    fleet = Fleet(folder, is_simulated)
    try:
        fleet.start()
        untouched = Answer(fleet.engines[0].port, fleet.model).wait()
        print(f"the untouched answer, asked of {fleet.engines[0].name} alone: "
              f"{len(untouched.pieces)} pieces of text")
        equal = [play(fleet, fault, untouched.text())
                 for fault in (signal.SIGKILL, signal.SIGSTOP)]
    finally:
        fleet.end()
    return all(equal)


def main(argv):
    if argv[1:] not in ([], ["--sim"]):
        print(__doc__, file=sys.stderr)
        return 2
    folder = pathlib.Path(tempfile.mkdtemp(prefix="holdfast-demo-"))
    try:
        is_equal = demonstrate(folder, "--sim" in argv)
    except Trouble as trouble:
        print(f"demo: {trouble}; logs in {folder}", file=sys.stderr)
        return 1
    except FileNotFoundError as error:
        print(f"demo: {error}; run `make release` (and `make setup`) first", file=sys.stderr)
        return 1
    print("\nboth answers are whole and equal" if is_equal else "\nNOT EQUAL")
    return 0 if is_equal else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
