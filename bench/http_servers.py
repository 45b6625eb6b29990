"""What an HTTP server costs before it does anything: the candidates for the S3 gateway, side by side.

    .venv/bin/python bench/http_servers.py [--python VENV/bin/python] [SERVER ...] [-- S3.PY OPTIONS]

Each server runs in a process of its own, on one event loop, with the same application: PUT keeps a
body in memory, GET sends it in blocks of 1 MiB, DELETE drops it. bench/s3.py measures them (see there
for its options). All but aiohttp are no dependency of replicast: install granian, uvicorn, httptools,
h11, uvloop into an environment of their own and name its interpreter.

    aiohttp           web.Server, as gateway/s3/server.py uses it
    aiohttp-uvloop    the same on uvloop
    uvicorn           ASGI on httptools
    uvicorn-uvloop    the same on uvloop
    granian           ASGI, HTTP in Rust, asyncio
    granian-uvloop    the same on uvloop
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
SERVERS = (
    "aiohttp",
    "aiohttp-uvloop",
    "uvicorn",
    "uvicorn-uvloop",
    "granian",
    "granian-uvloop",
)
BLOCK_BYTES = 1 << 20
START_SECONDS = 20.0
HEADERS = {"server": "bench", "x-amz-request-id": "0123456789ABCDEF", "accept-ranges": "bytes"}
KEPT: dict[str, bytes] = {}


async def answer(method: str, path: str, body: AsyncIterator[bytes]) -> tuple[int, bytes]:
    """What every server is asked to do."""
    if method == "PUT":
        KEPT[path] = b"".join([bytes(block) async for block in body])
        return 200, b""
    if method == "DELETE":
        KEPT.pop(path, None)
        return 204, b""
    return 200, KEPT[path]


def blocks(data: bytes) -> list[memoryview]:
    """As the object layer hands them out."""
    view = memoryview(data)
    return [view[at : at + BLOCK_BYTES] for at in range(0, len(view), BLOCK_BYTES)]


async def serve_aiohttp(port: int) -> None:
    """The low-level server: no routes, no middleware."""
    from aiohttp import web

    async def body(request: web.BaseRequest) -> AsyncIterator[bytes]:
        while data := await request.content.readany():
            yield data

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        status, data = await answer(request.method, request.raw_path, body(request))
        if len(data) <= BLOCK_BYTES:
            whole = web.Response(status=status, headers=HEADERS, body=data or None)
            await whole.prepare(request)
            await whole.write_eof()
            return whole
        response = web.StreamResponse(
            status=status, headers=HEADERS | {"content-length": str(len(data))}
        )
        await response.prepare(request)
        for block in blocks(data):
            await response.write(bytes(block))
        await response.write_eof()
        return response

    server = web.Server(handle, access_log=None, auto_decompress=False)  # type: ignore[arg-type]
    listening = await asyncio.get_running_loop().create_server(server, HOST, port)
    await listening.serve_forever()


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The application for ASGI servers."""
    if scope["type"] != "http":
        return

    async def body() -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await receive()
            yield message.get("body", b"")
            more = message.get("more_body", False)

    status, data = await answer(scope["method"], scope["path"], body())
    headers = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
    if status != 204:
        headers.append((b"content-length", str(len(data)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for block in blocks(data):
        message = {"type": "http.response.body", "body": bytes(block), "more_body": True}
        await send(message)
    await send({"type": "http.response.body", "body": b"", "more_body": False})


def serve(name: str, port: int) -> None:
    """Run the server `name`, for ever."""
    kind, _, variant = name.partition("-")
    loop = "uvloop" if variant == "uvloop" else "asyncio"
    if kind == "aiohttp":
        run: Callable[[Awaitable[None]], None] = asyncio.run  # type: ignore[assignment]
        if loop == "uvloop":
            import uvloop

            run = uvloop.run
        run(serve_aiohttp(port))
    elif kind == "uvicorn":
        import uvicorn

        uvicorn.run(
            asgi, host=HOST, port=port, http="httptools", loop=loop, lifespan="off",
            log_level="warning", access_log=False,
        )  # fmt: skip
    else:
        from granian import Granian

        Granian(
            "http_servers:asgi", address=HOST, port=port, interface="asginl", workers=1,
            loop=loop, log_enabled=False, websockets=False,
        ).serve()  # fmt: skip


def start(python: str, name: str) -> tuple[subprocess.Popen[bytes], int]:
    """Its process and port, when it answers."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        port = free.getsockname()[1]
    command = [python, str(Path(__file__)), "--serve", name, str(port)]
    process = subprocess.Popen(command, cwd=Path(__file__).parent)
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection((HOST, port)).close()
        except OSError:
            assert time.monotonic() < end, f"{name} does not start"
            time.sleep(0.05)
        else:
            return process, port


def main() -> None:
    """Start them, and let bench/s3.py measure."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--serve"]:
        serve(arguments[1], int(arguments[2]))
        return
    python = sys.executable
    if arguments[:1] == ["--python"]:
        python, arguments = arguments[1], arguments[2:]
    split = arguments.index("--") if "--" in arguments else len(arguments)
    names, options = arguments[:split] or SERVERS, arguments[split + 1 :]
    started = {name: start(python, name) for name in names}
    try:
        endpoints = [
            f"{name}=http://{HOST}:{port},key,secret,{process.pid}"
            for name, (process, port) in started.items()
        ]
        measure = Path(__file__).with_name("s3.py")
        subprocess.run([sys.executable, str(measure), *endpoints, *options], check=True)
    finally:
        for process, _ in started.values():
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
