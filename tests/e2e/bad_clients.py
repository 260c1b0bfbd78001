"""The forms of bad client behaviour: what each sends, what it gets, and by which limit.

docs/bad-clients.md has the same table; test_bad_client.py compares them and runs each row.
A form returns what it saw: the statuses that came, in order, and "cut" where the connection ended
without one, or in the middle of an answer.
"""
import asyncio
import dataclasses
import json
import re
import socket
import struct
import typing

from harness import COMPLETIONS, DEADLINE, eventually

HEAD = b"POST /v1/completions HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
BODY = json.dumps({"model": "m", "prompt": "hello", "max_tokens": 3, "temperature": 0}).encode()
GET = b"GET /v1/models HTTP/1.1\r\nHost: test\r\n"


@dataclasses.dataclass
class Form:
    name: str
    gets: str
    limit: str
    run: typing.Callable
    copies: int = 20
    memory: int = 0         # MiB that the peak may grow beyond what every row may
    serve: tuple = ()       # flags beside those of every row
    engine: dict = dataclasses.field(default_factory=dict)


FORMS = []


def form(name, gets, limit, **options):
    def add(run):
        FORMS.append(Form(name, gets, limit, run, **options))
        return run
    return add


async def connect(w):
    return await asyncio.open_connection("127.0.0.1", w.frontend.port, limit=1 << 26)


def statuses(raw):
    """Of all answers; every error has OpenAI's body."""
    seen = []
    while raw:
        head, found, rest = raw.partition(b"\r\n\r\n")
        if not found:
            return [*seen, "cut"]
        status = head.split()[1].decode()
        seen.append(status)
        if status == "100":
            raw = rest
            continue
        length = re.search(rb"\r\ncontent-length: (\d+)", head.lower())
        size = int(length[1]) if length else rest.index(b"0\r\n\r\n") + 5
        body, raw = rest[:size], rest[size:]
        if len(body) < size:
            return [*seen, "cut"]
        if int(status) >= 400:
            error = json.loads(body)["error"]
            assert error["message"] and error["type"] and "code" in error, body
    return seen or ["cut"]


async def rest_of(reader):
    raw = b""
    try:
        while part := await asyncio.wait_for(reader.read(1 << 16), 2 * DEADLINE):
            raw += part
    except ConnectionError:
        pass
    return raw


async def send(w, data, then=None):
    reader, writer = await connect(w)
    try:
        writer.write(data)
        if then:
            then(writer)
        return " ".join(statuses(await rest_of(reader)))
    finally:
        writer.close()


def sends(name, gets, limit, data, **options):
    form(name, gets, limit, **options)(lambda w: send(w, data))


def post(body, *fields, length=None):
    lines = b"".join(f + b"\r\n" for f in fields)
    length = len(body) if length is None else length
    return HEAD + lines + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % length + body


def chunked(body):
    return HEAD + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + body


def refused(name, data, gets="400", limit="one reading of a message", **options):
    sends(name, gets, limit, data, **options)


# What two readers of the same bytes could take for different messages.
refused("Content-Length and Transfer-Encoding",
        HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
refused("Transfer-Encoding and Content-Length",
        HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n")
refused("two Content-Length", HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd")
refused("the same Content-Length twice",
        HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc")
refused("a list of lengths", HEAD + b"Content-Length: 3, 3\r\n\r\nabc")
refused("a length with a sign", HEAD + b"Content-Length: +3\r\n\r\nabc")
refused("a length that overflows", HEAD + b"Content-Length: 99999999999999999999\r\n\r\n")
refused("an encoding beside chunked",
        HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n")
refused("an unknown encoding", HEAD + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n")
refused("Transfer-Encoding on HTTP/1.0",
        HEAD.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
refused("lines that end in a bare LF", b"GET /v1/models HTTP/1.1\nHost: test\n\n")
refused("a folded line (obs-fold)", GET + b"X-A: b\r\n c\r\n\r\n")
refused("a space before the colon", GET + b"X-A : b\r\n\r\n")
refused("a NUL in a value", GET + b"X-A: b\0c\r\n\r\n")
refused("a control character in a name", GET + b"X\x01A: b\r\n\r\n")
refused("a CR inside a value", GET + b"X-A: b\rc\r\n\r\n")
refused("no Host", b"GET /v1/models HTTP/1.1\r\n\r\n")
refused("two Hosts", GET + b"Host: other\r\n\r\n")
refused("HTTP/2 without asking", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
refused("TLS on the plain port", bytes.fromhex("16030100c8010000c40303") + bytes(range(190)))
refused("CONNECT", b"CONNECT test:443 HTTP/1.1\r\nHost: test\r\n\r\n")
refused("a chunk size that is no number", chunked(b"zz\r\nabc\r\n0\r\n\r\n"))
refused("a chunk that ends elsewhere", chunked(b"3\r\nabcd\r\n0\r\n\r\n"))
refused("a bare LF in a chunk's line", chunked(b"3\nabc\r\n0\r\n\r\n"))
refused("a chunk size that overflows", chunked(b"ffffffffffffffffff\r\n"), gets="413",
        limit="2^40 bytes a chunk")
refused("chunk extensions without end", chunked(b"1;" + b"a" * 2000 + b"\r\nx\r\n"), gets="413",
        limit="1 KiB a size line")
refused("many chunk extensions", chunked(b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n" * 2000),
        gets="413", limit="16 KiB of extensions a body")
refused("trailers without end", chunked(b"0\r\n" + b"A: b\r\n" * 5000), gets="413",
        limit="8 KiB of trailers")

# Paths that hide another one.
refused("dot segments", GET.replace(b"/v1/models", b"/v1/../sim/stats") + b"\r\n",
        limit="no dot segments")
refused("escaped dot segments", GET.replace(b"/v1/models", b"/v1/%2e%2E/sim/stats") + b"\r\n",
        limit="no dot segments")
refused("a backslash", GET.replace(b"/v1/models", b"/v1\\models") + b"\r\n",
        limit="characters of RFC 3986")
ANOTHER = b"Connection: close\r\n\r\n"
refused("an escaped slash", GET.replace(b"/v1/models", b"/v1%2fmodels") + ANOTHER, gets="404",
        limit="exact paths")
refused("a doubled slash", GET.replace(b"/v1/models", b"//v1/models") + ANOTHER, gets="404",
        limit="exact paths")
refused("an engine's admin call", GET.replace(b"/v1/models", b"/sim/stats") + ANOTHER, gets="404",
        limit="exact paths")

# Too much.
refused("10,000 header lines", GET + b"A: b\r\n" * 10000 + b"\r\n", gets="431",
        limit="`limits.header_bytes_max`, 256 fields")
refused("300 header lines", GET + b"A: b\r\n" * 300 + b"\r\n", gets="431", limit="256 fields")
refused("a header of 70 KB", GET + b"A: " + b"b" * 70000 + b"\r\n\r\n", gets="431",
        limit="`limits.header_bytes_max`")
refused("a path of 70 KB", b"GET /" + b"a" * 70000 + b" HTTP/1.1\r\n\r\n", gets="431",
        limit="`limits.header_bytes_max`")
refused("a body of 40 MB, told", post(b"", length=40_000_000), gets="413",
        limit="`limits.body_bytes_max`")
refused("a body of 34 MB, in chunks", chunked(b"100000\r\n" + b"a" * (1 << 20) + b"\r\n") +
        (b"100000\r\n" + b"a" * (1 << 20) + b"\r\n") * 33, gets="413",
        limit="`limits.body_bytes_max`", copies=2, memory=2 * 64)

# Bodies that are no request.
TEXT = "the body's syntax"
refused("broken JSON", post(b'{"model":"m",'), limit=TEXT)
refused("no body", post(b""), limit=TEXT)
refused("deeply nested JSON", post(b'{"model":"m","prompt":' + b"[" * 200_000), limit=TEXT,
        memory=24)
refused("deeply nested objects", post(b'{"a":' * 100_000), limit=TEXT, memory=24)
refused("invalid UTF-8", post(b'{"model":"m","prompt":"\xff\xfe"}'), limit=TEXT)
refused("a list for an object", post(b"[]"), limit=TEXT)
refused("a number for a prompt's model", post(b'{"model":5,"prompt":"a"}'), limit=TEXT)
refused("a word for a number", post(b'{"model":"m","prompt":"a","max_tokens":"x"}'), limit=TEXT)
refused("a number that is none", post(b'{"model":"m","prompt":"a","max_tokens":1e999}'), limit=TEXT)
refused("20 MB of JSON that breaks at its end",
        post(b'{"model":"m","prompt":"' + b"a" * 20_000_000 + b'"'), limit=TEXT, copies=2,
        memory=2 * 80)

# Strange and right.
sends("Expect: 100-continue", "200", "answered", post(BODY, b"Expect: 100-continue"))
sends("trailers", "200", "answered",
      chunked(b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\nX-Check: 1\r\n\r\n"))
sends("Upgrade", "200", "ignored", GET + b"Upgrade: websocket\r\n" + ANOTHER)
sends("an absolute target", "200", "answered",
      GET.replace(b"/v1/models", b"http://test/v1/models") + ANOTHER)


# Slow.
async def drip(w, head, byte=b"a"):
    """A byte every 20 ms, never silent, until an answer comes."""
    reader, writer = await connect(w)
    try:
        writer.write(head)
        answer = asyncio.create_task(rest_of(reader))
        while not answer.done():
            if not writer.is_closing():
                writer.write(byte)
            await asyncio.wait([answer], timeout=0.02)
        return " ".join(statuses(answer.result()))
    finally:
        writer.close()


@form("a head that drips", "408", "`limits.header_timeout`")
async def _(w):
    return await drip(w, GET + b"X-A: ")


@form("a body that drips", "408", "`limits.body_timeout`")
async def _(w):
    return await drip(w, post(b"", length=1_000_000))


@form("a head that stops", "408", "`limits.header_timeout`")
async def _(w):
    return await send(w, GET)


@form("a body that stops", "408", "`limits.body_timeout`")
async def _(w):
    return await send(w, post(BODY, length=len(BODY) + 1))


def raw_socket(w, receive_buffer):
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    client.connect(("127.0.0.1", w.frontend.port))
    client.setblocking(False)
    return client


async def is_reset(client):
    """Waits for the reset without reading a byte."""
    await eventually("the reset of a client that does not read",
                     lambda: client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0)
    client.close()
    return "cut"


@form("a stream that is never read", "cut", "`limits.slow_client_timeout`", copies=4, memory=8,
      engine={"itl_ms": 0.5, "max_model_len": 200_000})
async def _(w):
    client = raw_socket(w, 4096)
    body = json.dumps({"model": "m", "prompt": "x", "max_tokens": 150_000, "stream": True,
                       "ignore_eos": True}).encode()
    client.sendall(post(body))
    return await is_reset(client)


@form("answers that are never read", "cut", "`limits.slow_client_timeout`, 64 KiB", copies=4)
async def _(w):
    client = raw_socket(w, 4096)
    loop = asyncio.get_running_loop()

    async def ask_for_ever():
        while True:
            await loop.sock_sendall(client, (GET + b"\r\n") * 100)
    asking = asyncio.create_task(ask_for_ever())
    try:
        await asyncio.wait_for(asking, DEADLINE)
    except ConnectionError:
        return "cut"
    finally:
        asking.cancel()
        client.close()


# Ends that are none.
@form("half closed after the request", "200", "answered")
async def _(w):
    saw = await send(w, post(BODY), then=lambda writer: writer.write_eof())
    return saw.removeprefix("100 ")  # it is asked whether it is still there, if there is time


@form("half closed while it streams", "200", "answered")
async def _(w):
    body = json.dumps({"model": "m", "prompt": "hello", "max_tokens": 30, "stream": True,
                       "ignore_eos": True})
    reader, writer = await connect(w)
    try:
        writer.write(post(body.encode()))
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write_eof()
        stream = await rest_of(reader)
        assert b"data: [DONE]\n\n" in stream and stream.endswith(b"0\r\n\r\n"), stream
        assert stream.count(b"data: {") >= 30
        return head.split()[1].decode()
    finally:
        writer.close()


@form("half closed in the middle of a body", "cut", "–")
async def _(w):
    return await send(w, post(BODY, length=100_000), then=lambda writer: writer.write_eof())


def reset(writer):
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                               struct.pack("ii", 1, 0))
    writer.transport.abort()


@form("a reset in the middle of a head", "cut", "–")
async def _(w):
    return await send(w, GET, then=reset)


@form("a reset in the middle of a body", "cut", "–")
async def _(w):
    return await send(w, post(BODY, length=100_000), then=reset)


@form("a reset in the middle of a stream", "cut", "–")
async def _(w):
    body = json.dumps({"model": "m", "prompt": "hello", "max_tokens": 2000, "stream": True,
                       "ignore_eos": True})
    reader, writer = await connect(w)
    writer.write(post(body.encode()))
    await reader.readuntil(b"data: {")
    reset(writer)
    return " ".join(statuses(await rest_of(reader)))


ONE = post(BODY).replace(b"Connection: close\r\n", b"")
sends("a body longer than told", "200 400", "one reading of a message", ONE + b"}}}}\r\n\r\n")
sends("garbage behind a request", "200 400", "one reading of a message",
      GET + b"\r\n" + b"\x00\xff garbage \r\n\r\n" * 1000)
sends("a request inside a request", "200 404 400", "one reading of a message",
      GET + b"\r\nGET /secret HTTP/1.1\r\nHost: a\r\n\r\n"
      b"GET /secret HTTP/1.1\r\nHost: a\r\n b\r\n\r\n")


@form("200 connections that say nothing", "cut", "`limits.connections_max`, the longest idle first",
      copies=1, serve=("--limits-connections-max", "100"))
async def _(w):
    clients = [await connect(w) for _ in range(200)]
    ends = [asyncio.create_task(rest_of(reader)) for reader, _ in clients]
    await eventually("those over the limit are closed", lambda: sum(e.done() for e in ends) >= 100)
    for _, writer in clients:
        writer.close()
    return "cut" if not any(await asyncio.gather(*ends)) else "answered"


@form("a connection that says nothing", "cut", "`limits.idle_timeout`",
      serve=("--limits-idle-timeout", "1"))
async def _(w):
    return await send(w, b"")
