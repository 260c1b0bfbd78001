#!/usr/bin/env python3
"""What a killed or frozen engine costs, and what Holdfast costs when nothing fails.

    tests/bench/pause.py [--rounds 5] [--dialect vllm|llama.cpp] [--endpoint completions|chat]
                         [--json PATH]      default PATH: build/reports/pause.json

A round is two runs, one with SIGKILL and one with SIGSTOP: two simulated engines (a token each
20 ms), `holdfast serve` with two data cores, 100 streams through it. After 75 tokens on every
stream one engine gets the signal. How things are measured:

pause         per orphan: arrival of its first token after the fault, less the time of the fault,
              less the replacement's own time to that token (/sim/stats: from taking the resumed
              request up to its first token). p99 over the run's orphans; `seen` counts them:
              those where half a character stands at the cut, so that a client cannot see when
              the first token came, are left out. `gap` is the same from the orphan's last token
              before the fault, so it holds up to one token interval more.
added delay   all sequences of an engine get their token in one decode step. Ten control streams,
              spread evenly among the hundred, read the two engines directly; a step's time is the
              median of its controls' arrivals, an event's added delay is its arrival less that.
              p50 over all events before the fault of a run. Client and clock are the same for both.
engine tokens tokens that the engines generated for the hundred streams, controls taken out, per
              delivered token (usage of the answers). What a killed engine generated is read just
              before the signal, and one more step is added.

Every answer is compared with that of an engine that nothing happened to: a wrong one ends with 1.
`serve CPU` is that of the frontend per event. Arrival is when the kernel took the bytes in
(SO_TIMESTAMPNS): the client's own speed does not count, it reads some ms later, when the engines'
burst is over and its reading takes no processor from what is measured, and parses at the end.
"""
import argparse
import asyncio
import bisect
import gc
import json
import os
import pathlib
import re
import select
import selectors
import signal
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/e2e"))
import harness  # noqa: E402  (processes and request bodies are those of the end-to-end tests)

STREAMS, CONTROLS = 100, 10
TOKENS_MAX, TOKENS_BEFORE_FAULT = 150, 75
ITL_MS = 20
GAPS_LOOKED_AT = 3
READ_AFTER_S = 0.004  # longer than a burst, far shorter than a token interval
RUN_S = 60
SO_TIMESTAMPNS = 35  # Linux; Python has no name for it
TARGETS = {"kill_pause_p99_ms": 5.0, "stop_pause_p99_ms": 2000.0, "added_delay_p50_ms": 0.2,
           "engine_tokens_per_delivered": 1.05}


class Stream:
    """One request on a raw socket: what came, and when."""

    def __init__(self, port, path, body):
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        data = json.dumps(body).encode()
        self.socket.sendall(f"POST {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n"
                            "Content-Type: application/json\r\n"
                            f"Content-Length: {len(data)}\r\n\r\n".encode() + data)
        self.socket.setblocking(False)
        self.reads = []     # (time, bytes)
        self.tokens = 0     # a rough count while it runs: events with a choice
        self.is_open = True

    def read(self):
        """Takes what is there."""
        try:
            data, told, _, _ = self.socket.recvmsg(65536, 64)
        except ConnectionError:
            data = b""
        if not data:
            self.is_open = False
            self.socket.close()
            return
        # The first packets of a machine can come without: the kernel turns its clock on late.
        seconds, nanoseconds = struct.unpack("qq", told[0][2]) if told else (time.time(), 0)
        self.reads.append((seconds + nanoseconds / 1e9, data))
        self.tokens += data.count(b'"choices":[{')

    def parse(self):
        """Each token event's text and arrival, usage and request id, from the bytes read."""
        self.texts, self.times, self.usage, self.is_done = [], [], None, False
        pending = b""
        for now, data in self.reads:
            pending += data
            *events, pending = pending.split(b"\n\n")
            for event in events:
                self._take(event, now)
        head = self.reads[0][1].partition(b"\r\n\r\n")[0] if self.reads else b""
        found = re.search(rb"(?i)\r\nx-request-id: *([^\r]+)", head)
        self.request_id = found.group(1).decode() if found else ""

    def _take(self, event, now):
        at = event.find(b"data: ")
        if at < 0:
            return
        if event[at:] == b"data: [DONE]":
            self.is_done = True
            return
        chunk = json.loads(event[at + 6:])
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk.get("choices", []):
            delta = choice.get("delta", {})
            text = choice.get("text") if "text" in choice else delta.get("content")
            if text is not None and not delta.get("role"):
                self.times.append(now)
                self.texts.append(text)


def stats(engine):
    with urllib.request.urlopen(f"http://127.0.0.1:{engine.port}/sim/stats", timeout=10) as page:
        return json.load(page)


def cpu_seconds(process):
    """User and system time of a running process so far."""
    fields = pathlib.Path(f"/proc/{process.child.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Run:
    """One world, a hundred streams, one signal."""

    def __init__(self, directory, number, options):
        self.number, self.options, self.processes = number, options, []
        self.path = harness.CHAT if options.endpoint == "chat" else harness.COMPLETIONS
        self.access = directory / "access.log"
        self.access.touch()
        self.engines = [self._keep(harness.start_engine(directory, f"engine{i}", options.dialect,
                                                        itl_ms=ITL_MS)) for i in range(2)]
        self.oracle = self._keep(harness.start_engine(directory, "oracle", options.dialect,
                                                      itl_ms=0.2, ttft_ms=0))
        urls = [word for e in self.engines
                for word in ("--engine", f"http://127.0.0.1:{e.port}")]
        self.frontend = self._keep(harness.Process(
            directory, "serve", ["serve", *urls, "--listen", "127.0.0.1:0", "--system-port", "0",
                                 "--admin", "127.0.0.1:0", "--data-cores", "2",
                                 "--access-log", str(self.access)]))

    def _keep(self, process):
        self.processes.append(process)
        return process

    def end(self):
        for process in reversed(self.processes):
            process.end()

    def bodies(self):
        # 4 * i: the plain kind of the end-to-end tests, without stop strings or an early end.
        return [harness.make_body(self.path, 4 * i, max_tokens=TOKENS_MAX) for i in range(STREAMS)]

    async def wait_ready(self):
        async def ready():
            health = await harness.get_json(self.frontend.ports["system"], "/health")
            return health["workers"].get("ready", 0) == 2
        await harness.eventually("two ready workers", ready)

    def drive(self, streams, until):
        """Reads all streams until the condition holds or nothing is open."""
        selector = selectors.EpollSelector()
        for stream in streams:
            if stream.is_open:
                selector.register(stream.socket, selectors.EVENT_READ, stream)
        deadline = time.monotonic() + RUN_S
        while selector.get_map() and not until():
            if time.monotonic() > deadline:
                raise SystemExit(f"no end within {RUN_S} s")
            if not selector.select(1):
                continue
            select.select([], [], [], READ_AFTER_S)
            for key, _ in selector.select(0):
                key.data.read()
                if not key.data.is_open:
                    selector.unregister(key.fileobj)
        selector.close()

    def play(self):
        """Runs it; leaves streams, controls, fault_at and token counts."""
        oracle = [Stream(self.oracle.port, self.path, body) for body in self.bodies()]
        self.drive(oracle, lambda: False)
        before = sum(stats(engine)["tokens"] for engine in self.engines)
        self.cpu = -cpu_seconds(self.frontend)
        self.streams, self.controls = [], []
        for i, body in enumerate(self.bodies()):
            self.streams.append(Stream(self.frontend.port, self.path, body))
            if i % (STREAMS // CONTROLS) == 5:
                engine = self.engines[len(self.controls) % 2]
                self.controls.append(Stream(engine.port, self.path, body))
        gc.disable()
        everything = self.streams + self.controls
        self.drive(everything, lambda: all(s.tokens >= TOKENS_BEFORE_FAULT for s in everything))
        victim, survivor = self.engines
        at_fault = stats(victim)
        self.fault_at = time.time()
        victim.signal(self.number)
        # The victim's controls never end when it is frozen; they are counted up to here.
        rest = self.streams + [c for c in self.controls if c.port == survivor.port]
        self.drive(rest, lambda: all(not s.is_open for s in rest))
        gc.enable()
        self.cpu += cpu_seconds(self.frontend)
        if self.number == signal.SIGSTOP:
            victim.signal(signal.SIGCONT)
            victim_tokens = stats(victim)["tokens"]
        else:
            victim_tokens = at_fault["tokens"] + at_fault["running"]
        for stream in oracle + everything:
            stream.parse()
        generated = victim_tokens + stats(survivor)["tokens"] - before
        self.generated = generated - sum(c.tokens for c in self.controls)
        self.wrong = 0
        for got, want in zip(self.streams, oracle):
            self.wrong += "".join(got.texts) != "".join(want.texts) or not got.is_done
            got.untouched = want.texts

    def access_lines(self):
        def lines():
            return [json.loads(line) for line in self.access.read_text().splitlines()]
        asyncio.run(harness.eventually("the access log's lines", lambda: len(lines()) >= STREAMS))
        return {line["request_id"]: line for line in lines()}


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def pauses(run, lines):
    """(pause, gap) in ms of each orphan that shows it, the replacement's own time taken out."""
    own_us = {}
    for entry in stats(run.engines[1])["ttft_us"]:
        own_us.setdefault(entry["request_id"], entry["us"])
    out = []
    for stream in run.streams:
        line = lines[stream.request_id]
        if not line["modes"]:
            continue
        resumed = [us for name, us in own_us.items()
                   if name.startswith(stream.request_id + "-")]
        # Tokens that were on their way at the fault still come, and behind the first token of the
        # resume others' prefill may hold up the second: the access log tells which gap it was.
        first, logged = max(bisect.bisect_right(stream.times, run.fault_at), 1), line["pauses_ms"]
        index = min(range(first, min(first + GAPS_LOOKED_AT, len(stream.times))),
                    key=lambda i: abs(stream.times[i] - stream.times[i - 1] - logged[0] / 1e3))
        if not stream.untouched[index] or not stream.untouched[index - 1]:
            continue  # half a character: the client sees the first token only with a later one
        own = resumed[-1] / 1e6
        out.append(((stream.times[index] - run.fault_at - own) * 1e3,
                    (stream.times[index] - stream.times[index - 1] - own) * 1e3))
    return out


def added_delays(run, lines):
    """ms by which each event before the fault came later than its step's controls."""
    out = []
    for engine in run.engines:
        controls = [c.times for c in run.controls if c.port == engine.port]
        arrivals = sorted(t for times in controls for t in times if t < run.fault_at)
        steps, cluster = [], []
        for arrival in arrivals:
            if cluster and arrival - cluster[0] > ITL_MS / 2e3:
                steps.append(statistics.median(cluster))
                cluster = []
            cluster.append(arrival)
        for stream in run.streams:
            if not lines[stream.request_id]["workers"][0].endswith(f":{engine.port}"):
                continue
            for at in stream.times:
                k = bisect.bisect_right(steps, at + ITL_MS / 4e3) - 1
                if k >= 0 and at < run.fault_at and at - steps[k] < ITL_MS / 2e3:
                    out.append((at - steps[k]) * 1e3)
    return out


def measure(number, options):
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as directory:
        run = Run(pathlib.Path(directory), number, options)
        try:
            asyncio.run(run.wait_ready())
            run.play()
            lines = run.access_lines()
            paused, delays = pauses(run, lines), added_delays(run, lines)
        finally:
            run.end()
    delivered = sum(s.usage["completion_tokens"] for s in run.streams if s.usage)
    modes = {mode for line in lines.values() for mode in line["modes"]}
    orphans = sum(bool(line["modes"]) for line in lines.values())
    return {"orphans": orphans, "seen": len(paused), "modes": sorted(modes), "wrong": run.wrong,
            "pause_p50_ms": percentile([p for p, _ in paused], 0.5),
            "pause_p99_ms": percentile([p for p, _ in paused], 0.99),
            "gap_p99_ms": percentile([g for _, g in paused], 0.99),
            "added_delay_p50_ms": percentile(delays, 0.5),
            "added_delay_p99_ms": percentile(delays, 0.99), "events": len(delays),
            "serve_cpu_us_per_event": run.cpu * 1e6 / sum(len(s.times) for s in run.streams),
            "engine_tokens_per_delivered": run.generated / max(delivered, 1)}


def summarise(rounds):
    def median(signal_name, key):
        return statistics.median(r[signal_name][key] for r in rounds)
    return {"kill_pause_p99_ms": median("kill", "pause_p99_ms"),
            "stop_pause_p99_ms": median("stop", "pause_p99_ms"),
            "added_delay_p50_ms": max(median(n, "added_delay_p50_ms") for n in ("kill", "stop")),
            "engine_tokens_per_delivered": max(median(n, "engine_tokens_per_delivered")
                                               for n in ("kill", "stop"))}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dialect", choices=["vllm", "llama.cpp"], default="vllm")
    parser.add_argument("--endpoint", choices=["completions", "chat"], default="completions")
    parser.add_argument("--json", type=pathlib.Path, default=ROOT / "build/reports/pause.json")
    options = parser.parse_args()
    print(f"{STREAMS} streams, {options.dialect}, {options.endpoint}; ms; per run\n"
          "round signal  orphans (seen)  wrong  pause p50     p99  gap p99  delay p50    p99"
          "  tokens/deliv.  serve CPU us")
    rounds = []
    for number in range(1, options.rounds + 1):
        rounds.append({})
        for name, fault in (("kill", signal.SIGKILL), ("stop", signal.SIGSTOP)):
            row = rounds[-1][name] = measure(fault, options)
            print(f"{number:5} SIG{name.upper():5} {row['orphans']:7}  ({row['seen']:4}) "
                  f"{row['wrong']:6} "
                  f"{row['pause_p50_ms']:10.2f} {row['pause_p99_ms']:7.2f} "
                  f"{row['gap_p99_ms']:8.2f} {row['added_delay_p50_ms']:10.3f} "
                  f"{row['added_delay_p99_ms']:6.3f} {row['engine_tokens_per_delivered']:14.4f} "
                  f"{row['serve_cpu_us_per_event']:13.1f}", flush=True)
    medians = summarise(rounds)
    print(f"\nmedian of {len(rounds)} rounds")
    for key, limit in TARGETS.items():
        print(f"  {key:28} {medians[key]:9.3f}   target {limit:g}   "
              f"{'ok' if medians[key] <= limit else 'MISSED'}")
    commit = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT,
                            capture_output=True, text=True).stdout.strip() or "unknown"
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"commit": commit, "dialect": options.dialect,
                                        "endpoint": options.endpoint, "targets": TARGETS,
                                        "medians": medians, "rounds": rounds}, indent=1) + "\n")
    return 1 if any(row["wrong"] for r in rounds for row in r.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
