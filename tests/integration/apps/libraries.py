# SPDX-License-Identifier: MIT
"""Applications that use a library the way its manual says: each is made by a factory, so that
only the library in question is imported. All answer with JSON that has the worker's pid.

Variables: TEST_PEER, host:port of a server of the test's own; TEST_FILE, a file of its own.
"""

import atexit
import contextlib
import json
import os
import socket

# What before-fork = libraries:close ends.
OPEN = []


def _answering(make):
    """A WSGI application that answers with what make(query) returns."""
    def app(environ, start_response):
        """Everything but / is for the server's log only."""
        body = json.dumps(dict(make(environ["QUERY_STRING"]), pid=os.getpid())).encode()
        start_response("200 OK", [("Content-Type", "application/json"),
                                  ("Content-Length", str(len(body)))])
        return [body]
    return app


def close():
    """For before-fork; may be called again, before every fork."""
    while OPEN:
        OPEN.pop()()


def _note(word):
    """A line of TEST_FILE, which is not kept open."""
    with open(os.environ["TEST_FILE"], "a") as notes:
        notes.write("%s %d\n" % (word, os.getpid()))


def sentry(early=False):
    """sentry-sdk; early: an event is sent at import already."""
    import sentry_sdk
    sentry_sdk.init(dsn="http://key@%s/1" % os.environ["TEST_PEER"], default_integrations=False,
                    shutdown_timeout=5)
    if early:
        sentry_sdk.capture_message("event from the import")
        sentry_sdk.flush(5)

    def event(query):
        """One event, sent before the answer."""
        sentry_sdk.capture_message("event %s from %d" % (query, os.getpid()))
        sentry_sdk.flush(5)
        return {}
    return _answering(event)


def prometheus():
    """prometheus_client in multiprocess mode, as the README has it."""
    import prometheus_client
    from prometheus_client import multiprocess, values
    values.ValueClass = values.MultiProcessValue(
        lambda: int(os.environ.get("PREFORKD_WORKER_ID", "0")))
    asked = prometheus_client.Counter("asked", "Requests")
    alive = prometheus_client.Gauge("alive", "Workers that served", multiprocess_mode="livesum")

    def metrics(query):
        """Counts, and tells what all processes have counted."""
        if query == "count":
            asked.inc()
        alive.set(1)
        registry = prometheus_client.CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        return {"text": prometheus_client.generate_latest(registry).decode(),
                "files": sorted(os.listdir(os.environ["PROMETHEUS_MULTIPROC_DIR"]))}
    return _answering(metrics)


def sqlalchemy():
    """SQLAlchemy: an engine whose pool has a connection already."""
    import sqlalchemy as sa
    from sqlalchemy.pool import QueuePool
    engine = sa.create_engine("sqlite:///" + os.environ["TEST_FILE"], poolclass=QueuePool,
                              connect_args={"check_same_thread": False})

    @sa.event.listens_for(engine, "connect")
    def connected(connection, record):
        """Who made a connection is kept with it."""
        record.info["pid"] = os.getpid()

    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE IF NOT EXISTS rows (pid INTEGER)"))
    OPEN.append(engine.dispose)

    def insert(query):
        """A row, over a connection from the pool."""
        with engine.begin() as connection:
            connection.execute(sa.text("INSERT INTO rows VALUES (%d)" % os.getpid()))
            rows = connection.execute(sa.text("SELECT count(*) FROM rows")).scalar()
            return {"made_by": connection.connection.info["pid"], "rows": rows}
    return _answering(insert)


def tcp():
    """A connection that is opened at import, as to a cache or a broker."""
    host, _, port = os.environ["TEST_PEER"].rpartition(":")
    connections = [socket.create_connection((host, int(port)))]

    def end():
        """The next request connects anew."""
        connections.pop().close()
    OPEN.append(end)

    def ask(query):
        """Which end of a connection is used."""
        if not connections:
            connections.append(socket.create_connection((host, int(port))))
        return {"port": connections[0].getsockname()[1]}
    return _answering(ask)


def numpy():
    """numpy, whose BLAS has threads from the import on."""
    import numpy as np
    square = np.ones((300, 300))
    square.dot(square)

    def draw(query):
        """A number of the global generator, and a product that uses all threads."""
        return {"number": int(np.random.randint(1 << 30)), "sum": float(square.dot(square).sum())}
    return _answering(draw)


def opentelemetry():
    """OpenTelemetry's BatchSpanProcessor, which has a thread."""
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Exporter(SpanExporter):
        """Writes lines."""

        def export(self, spans):
            """Names and the exporting process."""
            for span in spans:
                _note(span.name)
            return SpanExportResult.SUCCESS

    provider = TracerProvider(shutdown_on_exit=False)
    processor = BatchSpanProcessor(Exporter(), schedule_delay_millis=20)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("test")

    def span(query):
        """One span, which the thread exports."""
        with tracer.start_as_current_span("span"):
            return {}
    return _answering(span)


def queue_listener():
    """logging by a QueueListener, as its manual has it."""
    import logging
    import logging.handlers
    import queue
    records = queue.Queue()
    listener = logging.handlers.QueueListener(records, logging.StreamHandler())
    listener.start()
    atexit.register(listener.stop)
    logging.getLogger("test").addHandler(logging.handlers.QueueHandler(records))

    def log(query):
        """One record."""
        logging.getLogger("test").warning("record from %d", os.getpid())
        return {}
    return _answering(log)


def fastapi():
    """FastAPI inside Starlette with a lifespan, and a route that runs in a thread."""
    import fastapi as fa
    from starlette.applications import Starlette
    from starlette.routing import Mount
    begun_by = []

    @contextlib.asynccontextmanager
    async def lifespan(app):
        """Of each worker."""
        begun_by.append(os.getpid())
        _note("begins")
        yield
        _note("ends")

    app = fa.FastAPI()

    @app.get("/")
    async def index():
        """Whose lifespan the request is in."""
        return {"pid": os.getpid(), "begun_by": begun_by}

    @app.get("/thread")
    def thread():
        """No coroutine: a thread is made for it, in the mold as well."""
        _note("thread")
        return {}
    return Starlette(lifespan=lifespan, routes=[Mount("/", app)])
