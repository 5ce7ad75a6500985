# SPDX-License-Identifier: MIT
"""A FastAPI application: async and threaded routes, validation."""

import os

import fastapi
from fastapi.responses import HTMLResponse, PlainTextResponse, StreamingResponse

app = fastapi.FastAPI()


@app.get("/", response_class=HTMLResponse)
async def index():
    """Hello."""
    return "<p>hello fastapi</p>"


@app.get("/pid", response_class=PlainTextResponse)
def pid():
    """Who answers; in a thread, because it is no coroutine."""
    return str(os.getpid())


@app.get("/sum/{a}/{b}")
def add(a: int, b: int):
    """Validated numbers."""
    return {"sum": a + b}


@app.post("/upload", response_class=PlainTextResponse)
async def upload(request: fastapi.Request):
    """The length of a body."""
    return str(len(await request.body()))


@app.get("/stream")
def stream():
    """A body in parts."""
    return StreamingResponse(("part %d\n" % i for i in range(3)), media_type="text/plain")


@app.get("/fail")
def fail():
    """An exception."""
    raise RuntimeError("asked to fail")
