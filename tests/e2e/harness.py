"""Real processes for the end-to-end tests: engines, frontends, clients that keep a full transcript.

Nothing here waits for a fixed time: every wait is for a condition, with a deadline.
"""
import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = os.environ.get("HOLDFAST_BIN", str(ROOT / "build/release/holdfast"))
DEADLINE = 60.0  # seconds; only ever reached by a failure
CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"


class Process:
    """A child that says where it listens through a port file."""

    def __init__(self, directory, name, arguments):
        self.name = name
        self.log_path = directory / f"{name}.log"
        port_file = directory / f"{name}.port"
        port_file.unlink(missing_ok=True)
        self.log = open(self.log_path, "ab")
        self.child = subprocess.Popen([BIN, *arguments, "--port-file", str(port_file)],
                                      stdout=self.log, stderr=subprocess.STDOUT)
        until = time.monotonic() + DEADLINE
        while not (port_file.exists() and port_file.stat().st_size):
            if self.child.poll() is not None or time.monotonic() > until:
                raise AssertionError(f"{name} did not start: {self.log_path.read_text()}")
            os.sched_yield()
        text = port_file.read_text()
        self.ports = json.loads(text) if text.startswith("{") else {"listen": int(text)}
        self.port = self.ports["listen"]

    def signal(self, number):
        os.kill(self.child.pid, number)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.child.wait()

    def is_stopped(self):
        stat = pathlib.Path(f"/proc/{self.child.pid}/stat").read_text()
        return stat.rsplit(")", 1)[1].split()[0] == "T"

    def end(self):
        if self.child.poll() is None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGTERM)
            try:
                self.child.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
        self.log.close()


async def call(port, method, path, body=None, headers=()):
    """One whole request; returns (status, headers, body)."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close",
            "Content-Type: application/json", f"Content-Length: {len(data)}", *headers]
    writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + data)
    raw = await asyncio.wait_for(reader.read(), DEADLINE)
    writer.close()
    head, _, rest = raw.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    fields = {k.strip().lower(): v.strip() for k, v in (l.split(":", 1) for l in lines[1:])}
    return int(lines[0].split()[1]), fields, rest


@dataclasses.dataclass
class Answer:
    """One answer with its framing taken off."""
    status: int
    headers: dict
    body: bytes
    is_whole: bool  # it ended as its framing says; False: it was cut

    def json(self):
        return json.loads(self.body)

    def events(self):
        """(event, data) of each whole server-sent event."""
        found = []
        for text in self.body.decode().split("\n\n")[:-1]:
            lines = dict(l.split(": ", 1) for l in text.split("\n") if not l.startswith(":"))
            if lines:
                found.append((lines.get("event"), lines["data"]))
        return found


def take_chunks(raw):
    """The payload of a chunked body, and whether its last chunk came."""
    body = b""
    while b"\r\n" in raw:
        line, raw = raw.split(b"\r\n", 1)
        size = int(line, 16)
        if size == 0:
            return body, raw == b"\r\n"
        if len(raw) < size + 2:
            return body + raw[:size], False
        body, raw = body + raw[:size], raw[size + 2:]
    return body, False


async def ask(port, method, path, body=None, headers=(), seen=None):
    """One request, its answer read to the end of the connection; `seen` is told how many bytes have
    come so far."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    head = [f"{method} {path} HTTP/1.1", "Host: test", "Connection: close",
            f"Content-Length: {len(data)}", *headers]
    if not any(h.lower().startswith("content-type:") for h in headers):
        head.append("Content-Type: application/json")
    writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + data)
    raw, broken = b"", False
    try:
        while part := await asyncio.wait_for(reader.read(65536), 2 * DEADLINE):
            raw += part
            if seen:
                seen(len(raw))
    except ConnectionError:
        broken = True
    writer.close()
    head, _, rest = raw.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    if not lines[0]:
        raise ConnectionError("no answer")
    fields = {k.strip().lower(): v.strip() for k, v in (l.split(":", 1) for l in lines[1:])}
    if fields.get("transfer-encoding") == "chunked":
        rest, whole = take_chunks(rest)
    elif "content-length" in fields and method != "HEAD":
        whole = len(rest) == int(fields["content-length"])
    else:
        whole = True
    return Answer(int(lines[0].split()[1]), fields, rest, whole and not broken)


def form(fields, boundary="hf-boundary-1"):
    """(body, Content-Type line) of multipart/form-data; a bytes value is a file."""
    body = b""
    for name, value in fields.items():
        is_file = isinstance(value, bytes)
        extra = '; filename="a.wav"\r\nContent-Type: audio/wav' if is_file else ""
        body += (f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'
                 .encode() + (value if is_file else value.encode()) + b"\r\n")
    return (body + f"--{boundary}--\r\n".encode(),
            f"Content-Type: multipart/form-data; boundary={boundary}")


async def get_json(port, path):
    status, _, body = await call(port, "GET", path)
    assert status in (200, 503), (path, status, body)
    return json.loads(body)


async def eventually(what, condition, deadline=DEADLINE):
    """Waits until condition() (plain or a coroutine) is true."""
    until = time.monotonic() + deadline
    while True:
        value = condition()
        if asyncio.iscoroutine(value):
            value = await value
        if value:
            return value
        if time.monotonic() > until:
            raise AssertionError(f"not within {deadline} s: {what}")
        await asyncio.sleep(0.01)


async def paced(until, enough=lambda: False):
    """The pace of a fault, not a wait for a condition: false if enough() came before the time."""
    while not enough():
        if time.monotonic() >= until:
            return True
        await asyncio.sleep(0.05)
    return False


class Stream:
    """One client's stream and all that came of it."""

    def __init__(self, port, path, body, headers=()):
        self.port, self.path, self.body = port, path, body
        self.request_headers = "".join(f"{h}\r\n" for h in headers)
        self.status = 0
        self.headers = ""
        self.text = ""
        self.finish = None
        self.roles = 0
        self.identities = set()
        self.usage = None
        self.done = False       # [DONE] was seen
        self.clean = False      # the body ended with its last chunk
        self.error = None       # in-band error, or the body of an error status
        self.comments = []
        self.events = []        # the data of each, as it came
        self.times = []         # arrival of each event with text
        self.broken = None
        self.writer = None
        self.socket_options = ()
        self.task = None

    def start(self):
        self.task = asyncio.create_task(self.run())
        return self

    @property
    def tokens(self):
        return len(self.times)

    async def open(self):
        reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 24)
        for option in self.socket_options:
            self.writer.get_extra_info("socket").setsockopt(*option)
        data = json.dumps(self.body).encode()
        self.writer.write(f"POST {self.path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n"
                          f"{self.request_headers}"
                          f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
                          .encode() + data)
        return reader

    async def run(self):
        try:
            reader = await self.open()
            head = await reader.readuntil(b"\r\n\r\n")
            self.headers = head.decode().lower()
            self.status = int(head.split()[1])
            if self.status != 200:
                self.error = json.loads(await reader.read())["error"]
                return self
            await self.read_events(reader)
        except (ConnectionError, asyncio.IncompleteReadError) as error:
            self.broken = repr(error)
        finally:
            if self.writer:
                self.writer.close()
        return self

    async def read_events(self, reader):
        buffer = b""
        while True:
            line = await reader.readline()
            if not line:
                return
            size = int(line, 16)
            buffer += (await reader.readexactly(size + 2))[:-2]
            if size == 0:
                assert buffer == b"", f"half an event before a clean end: {buffer!r}"
                self.clean = True
                return
            while b"\n\n" in buffer:
                event, buffer = buffer.split(b"\n\n", 1)
                self.take(event)

    def take(self, event):
        if event.startswith(b":"):
            self.comments.append(event[1:].strip().decode())
            return
        assert event.startswith(b"data: "), event
        data = event[6:]
        self.events.append(data)
        assert not self.done, f"an event after [DONE]: {event!r}"
        if data == b"[DONE]":
            self.done = True
            return
        chunk = json.loads(data)
        if "error" in chunk:
            self.error = chunk["error"]
            return
        self.identities.add((chunk["id"], chunk["created"], chunk["model"]))
        self.usage = chunk.get("usage") or self.usage
        for choice in chunk["choices"]:
            assert self.finish is None, f"a choice after the finish reason: {event!r}"
            delta = choice.get("delta", {})
            self.roles += 1 if delta.get("role") else 0
            text = choice["text"] if "text" in choice else delta.get("content")
            if text:
                self.text += text
                self.times.append(time.monotonic())
            self.finish = choice.get("finish_reason")

    def gap(self):
        return max([b - a for a, b in zip(self.times, self.times[1:])] or [0.0])


def differences(got, want):
    """What a client could tell from an untouched answer; empty: nothing."""
    out = []
    if got.broken or got.error:
        out.append(f"broken={got.broken} error={got.error}")
    for name in ("text", "finish", "roles", "done", "clean", "status"):
        if getattr(got, name) != getattr(want, name):
            out.append(f"{name}: {getattr(got, name)!r} instead of {getattr(want, name)!r}")
    if len(got.identities) != 1:
        out.append(f"identities {got.identities}")
    for key in ("prompt_tokens", "completion_tokens", "total_tokens"):
        if want.usage and (got.usage or {}).get(key) != want.usage[key]:
            out.append(f"usage {got.usage} instead of {want.usage}")
            break
    return out


def assert_equal_answers(got, want):
    bad = {i: d for i, (g, w) in enumerate(zip(got, want)) if (d := differences(g, w))}
    assert not bad, f"{len(bad)} of {len(got)} answers are wrong: {dict(list(bad.items())[:3])}"


def make_body(path, index, max_tokens=150, **extra):
    """A greedy request; every fourth has stop strings, every fourth may end by EOS."""
    body = {"model": "m", "stream": True, "temperature": 0, "max_tokens": max_tokens,
            "ignore_eos": True, "stream_options": {"include_usage": True}}
    words = f"Tell story number {index} of the sea, 日本 🎉 and привет."
    if path == CHAT:
        body["messages"] = [{"role": "user", "content": words}]
    else:
        body["prompt"] = words
    if index % 4 == 1:
        body["stop"] = [" zzzzq", "a stop string that is long"]
    if index % 4 == 2:
        del body["ignore_eos"]
    body.update(extra)
    return body


@dataclasses.dataclass
class World:
    """Engines, an oracle of the same model that is never touched, and a frontend."""
    directory: pathlib.Path
    dialect: str
    engines: list
    oracle: Process
    frontend: Process
    access_path: pathlib.Path
    ended: bool = False  # a test ended the frontend itself

    async def reference(self, path, bodies):
        streams = [Stream(self.oracle.port, path, b).start() for b in bodies]
        return [await s.task for s in streams]

    def start(self, path, bodies):
        return [Stream(self.frontend.port, path, b).start() for b in bodies]

    async def finish(self, streams):
        return [await asyncio.wait_for(s.task, 2 * DEADLINE) for s in streams]

    async def all_have(self, streams, tokens):
        await eventually(f"{tokens} tokens on every stream",
                         lambda: all(s.tokens >= tokens or s.task.done() for s in streams))

    def lines(self):
        return [json.loads(l) for l in self.access_path.read_text().splitlines()]

    async def log_lines(self, count):
        await eventually(f"{count} lines in the access log", lambda: len(self.lines()) >= count)
        return self.lines()

    async def ready(self, count):
        async def is_ready():
            health = await get_json(self.frontend.ports["system"], "/health")
            return health["workers"].get("ready", 0) == count
        await eventually(f"{count} ready workers", is_ready)

    async def metric(self, name, **labels):
        """The sum of all series of that name with these labels."""
        _, _, page = await call(self.frontend.ports["system"], "GET", "/metrics")
        total = 0.0
        for line in page.decode().splitlines():
            match = re.fullmatch(rf"{name}(?:\{{(.*)\}})? (\S+)", line)
            if match and all(f'{k}="{v}"' in (match[1] or "") for k, v in labels.items()):
                total += float(match[2])
        return total

    async def counters_are_zero(self):
        async def zero():
            if await self.metric("holdfast_requests_running") != 0:
                return False
            for engine in self.engines:
                if engine.child.poll() is None and not engine.is_stopped():
                    stats = await get_json(engine.port, "/sim/stats")
                    if stats["running"] != 0 or stats["waiting"] != 0:
                        return False
            return True
        await eventually("all running counters are zero", zero)

    async def fault(self, index, **fault):
        status, _, body = await call(self.engines[index].port, "POST", "/sim/fault", fault)
        assert status == 200, body

    def restart_engine(self, index, **options):
        old = self.engines[index]
        self.engines[index] = start_engine(self.directory, f"{old.name}-again", self.dialect,
                                           port=old.port, **options)

    def orphans(self, lines):
        return [l for l in lines if l["modes"]]


def start_engine(directory, name, dialect, port=0, itl_ms=20, ttft_ms=20, slots=256, model="m",
                 **flags):
    arguments = ["engine", "--listen", f"127.0.0.1:{port}", "--dialect", dialect, "--model", model,
                 "--itl-ms", str(itl_ms), "--ttft-ms", str(ttft_ms), "--slots", str(slots)]
    for key, value in flags.items():
        arguments.append("--" + key.replace("_", "-"))
        if value is not True:
            arguments.append(str(value))
    return Process(directory, name, arguments)


@contextlib.asynccontextmanager
async def world(directory, dialect, engines=2, serve=(), wait_ready=True, per_engine=(), **flags):
    started = []

    def keep(process):
        started.append(process)
        return process

    try:
        oracle_flags = {k: v for k, v in flags.items() if k not in ("itl_ms", "ttft_ms")}
        oracle = keep(start_engine(directory, "oracle", dialect, itl_ms=0.2, ttft_ms=0,
                                   **oracle_flags))
        fleet = []
        for i in range(engines):
            own = {**flags, **(per_engine[i] if i < len(per_engine) else {})}
            fleet.append(keep(start_engine(directory, f"engine{i}", dialect, **own)))
        access = directory / "access.log"
        urls = [a for e in fleet for a in ("--engine", f"http://127.0.0.1:{e.port}")]
        frontend = keep(Process(directory, "serve",
                                ["serve", *urls, "--listen", "127.0.0.1:0", "--system-port", "0",
                                 *([] if "--admin" in serve else ["--admin", "127.0.0.1:0"]),
                                 "--data-cores", "2",
                                 "--access-log", str(access), *serve]))
        access.touch()
        it = World(directory, dialect, fleet, oracle, frontend, access)
        if wait_ready:
            await it.ready(engines)
        yield it
        if not it.ended:
            assert frontend.child.poll() is None, f"serve died: {frontend.log_path.read_text()}"
        frontend.end()
        assert frontend.child.returncode == 0, frontend.log_path.read_text()
    finally:
        for process in reversed(started):
            process.end()
        if "it" in locals():
            for engine in it.engines:
                engine.end() if engine.child.poll() is None else None
