#!/usr/bin/env python3
"""A reverse proxy that counts requests and injects faults, in front of one HTTP server on loopback.

    faults.py --target http://127.0.0.1:PORT [--target-ca FILE] [--cert FILE --cert-key FILE]

Prints one line of JSON once it listens, and ends when its standard input ends:
    {"port", "endpoint", "control_port", "control", "target"}

Every byte passes as it came, the Host header too, so a signature over the proxy's own host and port stays
valid. Request and reply bodies stream; connections stay open on both sides.

Control, on the second port, always plain HTTP:
    POST /faults   [{"match": {"method", "path", "query", "header": {name: regex}}, "fault", "times", "after", ...}]
                   replaces the list. Each fault meets its next `times` (1) matching requests once `after` (0)
                   of them passed unharmed; a request meets the first fault that wants it. `path` and `query`
                   are regular expressions, searched; what `match` leaves out matches everything.
        reset        break the connection (RST); the target never sees the request
        status       answer `status` (503), with `retry_after` if given; the target never sees the request
        lose_reply   let the target do it all, then close without an answer
        lost_status  let the target do it all, then answer `status` (502) instead
        late         answer `status` (502) at once, and let the target do it all after `seconds` (1)
        stall        let the target do it all, then hold its answer back for `seconds` (1)
        slow         dribble the answer's body over `seconds` (1); an answer of no announced length stalls
    GET  /faults   the list, with how often each was `applied` and how many times are `left`
    GET  /counts   {"total", "methods", "statuses", "connections", "faults", "requests": [{"method", "path", "query",
                   "status", "request_bytes", "response_bytes", "fault"}]} since the last reset, in order of arrival;
                   the status is the one the client got, null while it waits or if it got none
    POST /reset    forget the counts, keep the faults
"""

import argparse
import asyncio
import json
import os
import re
import socket
import ssl
import struct
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field
from http import HTTPStatus
from urllib.parse import urlsplit

PIECE = 1 << 18
# In how many pieces a slow answer comes, when it arrives here at once.
SLOW_PIECES = 20


class Broken(Exception):
    """A peer ended the connection in the middle of a message."""


@dataclass
class Fault:
    fault: str
    match: dict = field(default_factory=dict)
    times: int = 1
    after: int = 0
    status: int | None = None
    retry_after: float | None = None
    seconds: float = 1.0
    applied: int = 0

    KINDS = ("reset", "status", "lose_reply", "lost_status", "late", "stall", "slow")

    def __post_init__(self):
        if self.fault not in self.KINDS:
            raise ValueError(f"no fault is called {self.fault!r}; there are {', '.join(self.KINDS)}")
        unknown = set(self.match) - {"method", "path", "query", "header"}
        if unknown:
            raise ValueError(f"a match has method, path, query and header, not {', '.join(sorted(unknown))}")
        headers = self.match.get("header", {})
        for pattern in (self.match.get("path", ""), self.match.get("query", ""), *headers.values()):
            re.compile(pattern)

    def wants(self, head):
        if self.applied >= self.times:
            return False
        want = self.match
        if want.get("method", head.method) != head.method:
            return False
        if not re.search(want.get("path", ""), head.path) or not re.search(want.get("query", ""), head.query):
            return False
        for name, pattern in want.get("header", {}).items():
            value = head.header(name)
            if value is None or not re.search(pattern, value):
                return False
        if self.after:
            self.after -= 1
            return False
        self.applied += 1
        return True

    def report(self):
        return asdict(self) | {"left": self.times - self.applied}


@dataclass
class Record:
    method: str
    path: str
    query: str
    status: int | None = None
    request_bytes: int = 0
    response_bytes: int = 0
    fault: str | None = None


class Head:
    """The first line and the headers of a message, kept as the bytes that came."""

    def __init__(self, raw):
        self.raw = raw
        lines = raw.decode("latin-1").split("\r\n")
        self.first = lines[0].split(" ", 2)
        self.headers = {}
        for line in lines[1:]:
            name, colon, value = line.partition(":")
            if colon:
                self.headers[name.strip().lower()] = value.strip()

    def header(self, name):
        return self.headers.get(name.lower())

    @property
    def method(self):
        return self.first[0]

    @property
    def path(self):
        return self.first[1].partition("?")[0]

    @property
    def query(self):
        return self.first[1].partition("?")[2]

    @property
    def status(self):
        return int(self.first[1])

    @property
    def last(self):
        """Whether the sender closes the connection after this message."""
        connection = (self.header("connection") or "").lower()
        old = "HTTP/1.0" in (self.first[0], self.first[-1])
        return "close" in connection or (old and "keep-alive" not in connection)

    @property
    def chunked(self):
        return "chunked" in (self.header("transfer-encoding") or "").lower()

    def without(self, name):
        wanted = name.lower() + ":"
        lines = self.raw.decode("latin-1").split("\r\n")
        return "\r\n".join(line for line in lines if not line.lower().startswith(wanted)).encode("latin-1")


async def read_head(reader):
    """The next message's head, or None where the peer ended the connection between messages."""
    try:
        return Head(await reader.readuntil(b"\r\n\r\n"))
    except asyncio.IncompleteReadError as end:
        if end.partial:
            raise Broken from end
        return None
    except (OSError, asyncio.LimitOverrunError) as error:
        raise Broken from error


async def exactly(reader, count):
    while count:
        piece = await reader.read(min(count, PIECE))
        if not piece:
            raise Broken
        count -= len(piece)
        yield piece


async def request_body(head, reader):
    """(bytes as they travel, bytes of payload), piece by piece."""
    if head.chunked:
        async for piece in chunks(reader):
            yield piece
    else:
        async for piece in exactly(reader, int(head.header("content-length") or 0)):
            yield piece, len(piece)


async def reply_body(method, head, reader):
    if method == "HEAD" or head.status in (204, 304):
        return
    if head.chunked:
        async for piece in chunks(reader):
            yield piece
    elif head.header("content-length") is not None:
        async for piece in exactly(reader, int(head.header("content-length"))):
            yield piece, len(piece)
    else:
        while piece := await reader.read(PIECE):
            yield piece, len(piece)


async def chunks(reader):
    while True:
        try:
            line = await reader.readuntil(b"\r\n")
            size = int(line.split(b";")[0], 16)
            yield line, 0
            async for piece in exactly(reader, size):
                yield piece, len(piece)
            end = await reader.readuntil(b"\r\n")
            while size == 0 and end != b"\r\n":  # trailers
                yield end, 0
                end = await reader.readuntil(b"\r\n")
            yield end, 0
            if size == 0:
                return
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise Broken from error


def message(status, body=b"", kind="application/json", **headers):
    reason = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Injected"
    lines = [f"HTTP/1.1 {status} {reason}", f"content-type: {kind}", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


class Proxy:
    def __init__(self, target, trust):
        self.target, self.trust = target, trust
        self.faults, self.records, self.connections = [], [], 0
        self.late = set()

    async def serve(self, reader, writer):
        self.connections += 1
        session = Session(self, reader, writer)
        try:
            while await session.exchange():
                pass
        except (Broken, OSError, ValueError, asyncio.LimitOverrunError):
            pass
        finally:
            session.close()

    async def follow(self, head, request, seconds):
        """Gives a request to the target that has been answered already."""
        await asyncio.sleep(seconds)
        reader, writer = await asyncio.open_connection(
            self.target.hostname, self.target.port, ssl=self.trust, limit=PIECE
        )
        writer.write(request)
        await writer.drain()
        reply = await read_head(reader)
        async for _ in reply_body(head.method, reply, reader):
            pass
        writer.close()

    def meet(self, head):
        return next((fault for fault in self.faults if fault.wants(head)), None)

    def counts(self):
        return {
            "total": len(self.records),
            "methods": Counter(record.method for record in self.records),
            "statuses": Counter(str(record.status) for record in self.records),
            "connections": self.connections,
            "faults": sum(record.fault is not None for record in self.records),
            "requests": [asdict(record) for record in self.records],
        }

    async def control(self, reader, writer):
        try:
            while head := await read_head(reader):
                body = b"".join([piece async for piece, payload in request_body(head, reader) if payload])
                await self.command(head.method, head.path, body, writer)
                if head.last:
                    break
        except (Broken, OSError):
            pass
        finally:
            writer.close()

    async def command(self, method, path, body, writer):
        status, reply = 200, {}
        match method, path:
            case "POST", "/faults":
                try:
                    self.faults = [Fault(**fault) for fault in json.loads(body)]
                except (TypeError, ValueError, re.error) as error:
                    status, reply = 400, {"error": str(error)}
            case "GET", "/faults":
                reply = [fault.report() for fault in self.faults]
            case "GET", "/counts":
                reply = self.counts()
            case "POST", "/reset":
                self.records, self.connections = [], 0
            case _:
                status, reply = 404, {"error": f"no {method} {path} here"}
        writer.write(message(status, json.dumps(reply).encode()))
        await writer.drain()


class Session:
    """One client connection and the connection to the target that follows it."""

    def __init__(self, proxy, reader, writer):
        self.proxy, self.reader, self.writer = proxy, reader, writer
        self.up_reader = self.up_writer = None
        undelayed(writer)

    def close(self):
        self.leave()
        self.writer.close()

    def leave(self):
        if self.up_writer:
            self.up_writer.close()
        self.up_reader = self.up_writer = None

    async def reach(self):
        if self.up_writer and (self.up_reader.at_eof() or self.up_writer.is_closing()):
            self.leave()
        if self.up_writer:
            return
        target = self.proxy.target
        self.up_reader, self.up_writer = await asyncio.open_connection(
            target.hostname, target.port, ssl=self.proxy.trust, limit=PIECE
        )
        undelayed(self.up_writer)

    async def exchange(self):
        """One request and its reply; whether another may follow on this connection."""
        head = await read_head(self.reader)
        if head is None:
            return False
        record = Record(head.method, head.path, head.query)
        self.proxy.records.append(record)
        fault = self.proxy.meet(head)
        kind = record.fault = fault and fault.fault

        if kind == "reset":
            # Linger 0 turns the close into a RST, which no client mistakes for an answer.
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
            return False
        raw = head.raw
        if (head.header("expect") or "").lower() == "100-continue":
            raw = head.without("expect")
            self.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if kind == "status":
            async for _, payload in request_body(head, self.reader):
                record.request_bytes += payload
            await self.answer(record, fault, 503)
            return not head.last

        if kind == "late":
            body = []
            async for piece, payload in request_body(head, self.reader):
                record.request_bytes += payload
                body.append(piece)
            late = asyncio.create_task(self.proxy.follow(head, raw + b"".join(body), fault.seconds))
            self.proxy.late.add(late)
            late.add_done_callback(self.proxy.late.discard)
            await self.answer(record, fault, 502)
            return not head.last

        reply = await self.forward(head, raw, record)
        if kind in ("lose_reply", "lost_status"):
            async for _ in reply_body(head.method, reply, self.up_reader):
                pass
            if reply.last:
                self.leave()
            if kind == "lose_reply":
                return False
            await self.answer(record, fault, 502)
            return not head.last
        length = int(reply.header("content-length") or 0) if head.method != "HEAD" else 0
        if kind == "stall" or (kind == "slow" and length == 0):
            await asyncio.sleep(fault.seconds)

        # Counted before it is sent: whoever has the answer finds it in the counts.
        record.status = reply.status
        pause, size = 0, PIECE
        if kind == "slow" and length:
            pause, size = fault.seconds / SLOW_PIECES, -(-length // SLOW_PIECES)
        self.writer.write(reply.raw)
        async for piece, payload in reply_body(head.method, reply, self.up_reader):
            record.response_bytes += payload
            for at in range(0, len(piece), size):
                if pause:
                    await asyncio.sleep(pause)
                self.writer.write(piece[at : at + size])
                await self.writer.drain()
        await self.writer.drain()
        endless = not reply.chunked and reply.header("content-length") is None and reply.status not in (204, 304)
        return not (head.last or reply.last or (endless and head.method != "HEAD"))

    async def forward(self, head, raw, record):
        """Sends the request on; the head of the target's reply."""
        await self.reach()
        self.up_writer.write(raw)
        async for piece, payload in request_body(head, self.reader):
            record.request_bytes += payload
            self.up_writer.write(piece)
            await self.up_writer.drain()
        await self.up_writer.drain()
        while True:
            reply = await read_head(self.up_reader)
            if reply is None:
                raise Broken
            if reply.status >= 200:
                return reply

    async def answer(self, record, fault, default):
        record.status = fault.status or default
        self.writer.write(message(record.status, b'{"error":"injected"}', retry_after=fault.retry_after))
        await self.writer.drain()


def undelayed(writer):
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--target", required=True, help="the server behind, as http://127.0.0.1:PORT")
    args.add_argument("--target-ca", help="the CA of an https target")
    args.add_argument("--cert", help="speak TLS with this certificate")
    args.add_argument("--cert-key", help="the certificate's private key")
    args = args.parse_args()

    target = urlsplit(args.target)
    trust = ssl.create_default_context(cafile=args.target_ca) if target.scheme == "https" else None
    identity = None
    if args.cert:
        identity = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        identity.load_cert_chain(args.cert, args.cert_key)

    proxy = Proxy(target, trust)
    front = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=identity, limit=PIECE, backlog=256)
    back = await asyncio.start_server(proxy.control, "127.0.0.1", 0, limit=PIECE)
    port, control = (server.sockets[0].getsockname()[1] for server in (front, back))
    ready = {
        "port": port,
        "endpoint": f"{'https' if identity else 'http'}://127.0.0.1:{port}",
        "control_port": control,
        "control": f"http://127.0.0.1:{control}",
        "target": args.target,
    }
    print(json.dumps(ready), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.buffer.read)
    # Whoever started this is gone: open connections wait for nobody.
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main())
