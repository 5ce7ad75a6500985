# SPDX-License-Identifier: MIT
"""A Starlette application with a lifespan, JSON, streaming, a websocket, an error."""

import asyncio
import contextlib
import os

from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Route, WebSocketRoute

STATE = {"started": False}


@contextlib.asynccontextmanager
async def lifespan(app):
    """Must have run before the first request."""
    STATE["started"] = True
    yield


async def index(request):
    """Tells whether the lifespan ran."""
    return HTMLResponse("<p>hello starlette</p>" if STATE["started"] else "not started")


async def pid(request):
    """Who answers."""
    return PlainTextResponse(str(os.getpid()))


async def add(request):
    """JSON."""
    return JSONResponse({"sum": request.path_params["a"] + request.path_params["b"]})


async def sleep(request):
    """Slow, politely."""
    await asyncio.sleep(request.path_params["seconds"])
    return PlainTextResponse("slept")


async def upload(request):
    """The length of a body."""
    return PlainTextResponse(str(len(await request.body())))


async def stream(request):
    """A body in parts."""
    async def parts():
        """Three of them."""
        for i in range(3):
            yield "part %d\n" % i
    return StreamingResponse(parts(), media_type="text/plain")


async def fail(request):
    """An exception."""
    raise RuntimeError("asked to fail")


async def echo(websocket):
    """A websocket."""
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())
    await websocket.close()


app = Starlette(lifespan=lifespan, routes=[
    Route("/", index), Route("/pid", pid), Route("/sum/{a:int}/{b:int}", add),
    Route("/sleep/{seconds:float}", sleep), Route("/upload", upload, methods=["POST"]),
    Route("/stream", stream), Route("/fail", fail), WebSocketRoute("/ws", echo)])
