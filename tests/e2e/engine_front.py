"""A server in front of a real engine: hands calls on, remembers their heads, and misbehaves."""
import asyncio

from harness import take_chunks


async def until_gone(reader):
    try:
        await reader.read()
    except ConnectionError:
        pass


class EngineFront:
    """`misbehave(reply, writer, gone)` gets the engine's whole answer to a call whose body holds
    `marker`, and writes what it likes instead; `gone` is done when the caller has left. Every
    other call goes through as it is."""

    def __init__(self, port, marker=None, misbehave=None):
        self.engine_port = port
        self.marker, self.misbehave = marker, misbehave
        self.heads = []
        self.hits = {}  # path: how often it misbehaved

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def serve(self, reader, writer):
        other = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            self.heads.append(head.decode())
            length = [int(l.split(b":")[1]) for l in head.split(b"\r\n")
                      if l.lower().startswith(b"content-length:")]
            body = await reader.readexactly(length[0] if length else 0)
            back, other = await asyncio.open_connection("127.0.0.1", self.engine_port)
            other.write(head[:-2] + b"connection: close\r\n\r\n" + body)
            if self.marker and self.marker in body:
                path = head.split()[1].decode()
                self.hits[path] = self.hits.get(path, 0) + 1
                gone = asyncio.create_task(until_gone(reader))
                try:
                    await self.misbehave(Reply(await back.read()), writer, gone)
                    await writer.drain()
                finally:
                    gone.cancel()
            else:
                while part := await back.read(65536):
                    writer.write(part)
                    await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            if other:
                other.close()


class Reply:
    """The engine's own answer, framing taken off."""

    def __init__(self, raw):
        head, _, rest = raw.partition(b"\r\n\r\n")
        self.is_stream = b"chunked" in head
        self.type = b"text/event-stream" if self.is_stream else b"application/json"
        self.body = take_chunks(rest)[0] if self.is_stream else rest
        self.events = [e + b"\n\n" for e in self.body.split(b"\n\n")[:-1]] if self.is_stream else []
        # What is sent before the fault: a few events, or half of the body.
        half = self.body[:len(self.body) // 2]
        self.first = b"".join(self.events[:6]) if self.is_stream else half

    def begin(self, status=b"200 OK", extra=b""):
        framing = b"transfer-encoding: chunked" if self.is_stream else \
            b"content-length: %d" % len(self.body)
        return (b"HTTP/1.1 " + status + b"\r\ncontent-type: " + self.type + b"\r\n" + framing +
                b"\r\n" + extra + b"\r\n")

    def part(self, data):
        return b"%x\r\n%s\r\n" % (len(data), data) if self.is_stream else data

    def end(self):
        return b"0\r\n\r\n" if self.is_stream else b""
