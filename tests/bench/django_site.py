# SPDX-License-Identifier: MIT
"""Django below each of the servers, its database, and clients that ask for its pages in turn."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading

import servers

# The application has to be named before its module can be imported, for which it needs Django.
PATHS = ("/", "/rights/", "/admin/login/")
APP = "bench_django"


@contextlib.contextmanager
def database():
    """Makes the database of all servers that run meanwhile. Raises Trouble without Django."""
    folder = tempfile.mkdtemp(prefix="bench-django-")
    try:
        os.environ["BENCH_DJANGO_DB"] = os.path.join(folder, "db.sqlite3")
        done = subprocess.run([servers.PYTHON, "-B", os.path.join(servers.HERE, APP + ".py")],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, universal_newlines=True)
        if done.returncode:
            raise servers.Trouble("no Django application: %s" % done.stdout[-300:])
        yield
    finally:
        os.environ.pop("BENCH_DJANGO_DB", None)
        shutil.rmtree(folder, ignore_errors=True)


def preforkd(worker_class, workers, **settings):
    """preforkd with the application."""
    return servers.Preforkd(worker_class, workers, wsgi=APP + ":wsgi", log_level="warning",
                            **settings)


def gunicorn(worker_class, workers, *arguments):
    """gunicorn with the application."""
    return servers.Gunicorn(worker_class, workers, *arguments, app=APP)


def uwsgi(workers, *arguments):
    """uWSGI with the application."""
    return servers.Uwsgi(workers, *arguments, app=APP)


def ask(server, requests, clients=8):
    """So many requests, page after page, each on a connection of its own.

    Raises Trouble unless every answer is a complete page.
    """
    turn, lock, wrong = iter(range(requests)), threading.Lock(), []

    def client():
        """One client, until all was asked or something went wrong."""
        while not wrong:
            with lock:
                number = next(turn, None)
            if number is None:
                return
            answer = _page(server.port, PATHS[number % len(PATHS)])
            if not answer.startswith(b"HTTP/1.1 200 ") or len(answer) < 100:
                wrong.append(answer[:200])

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if wrong:
        raise servers.Trouble("%s answers: %r" % (server.name, wrong[0]))


def _page(port, path):
    """The whole answer, or the text of an error."""
    try:
        with socket.create_connection(("127.0.0.1", port), 30) as sock:
            sock.sendall(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                         % path.encode())
            parts = []
            while True:
                part = sock.recv(65536)
                if not part:
                    return b"".join(parts)
                parts.append(part)
    except OSError as exc:
        return str(exc).encode()
