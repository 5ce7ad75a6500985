# SPDX-License-Identifier: MIT
"""A WSGI application that leaks on purpose, and a page that shows what comes of it.

/leak keeps DEMO_LEAK_KB kilobytes of memory for ever; /light keeps nothing; / is the page. Nothing
but the standard library is used.
"""

import html
import os
import resource
import threading

LEAK_BYTES = int(os.environ.get("DEMO_LEAK_KB", "256")) * 1024

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="1">
<title>preforkd: a leak, contained</title>
<style>
body {{ font: 16px/1.5 sans-serif; max-width: 42em; margin: 2em auto; padding: 0 1em }}
td, th {{ text-align: left; padding: .1em 1em .1em 0 }}
meter {{ width: 12em }}
</style>
<h1>A leak, contained</h1>
<p>This application keeps {leak_kb} KiB of memory with every request to <code>/leak</code>, and a
small load generator asks for it all the time. Left alone it would eat the machine. Look at the
numbers of the worker that made this page; it is loaded again each second:</p>
<table>
<tr><th>slot<td>{slot}
<tr><th>process<td>{pid}
<tr><th>requests<td>{requests}
<tr><th>leaked<td>{leaked} MiB
<tr><th>memory<td><meter min="0" max="64" high="48" value="{rss}"></meter> {rss} MiB of 64
</table>
<p>When a worker reaches <code>reload-on-rss = 64M</code> or its <code>max-requests</code>, preforkd
starts a successor, waits until that one serves, and only then lets the old one finish what it has
and end. The process number changes; no request fails. The load generator counts and says so in the
terminal.</p>
<p>Things to try in a second terminal, with the <code>--socket</code> that the first one shows:</p>
<pre>
build/preforkctl --socket SOCKET status         who serves, who is next and why
build/preforkctl --socket SOCKET reload         new code and settings
build/preforkctl --socket SOCKET scale 4        more workers
build/preforkctl --socket SOCKET report 1       what the threads of worker 1 do
kill -9 {pid:<40} a crash: the others serve on
</pre>
"""


class State:
    """What this worker has done; requests come in several threads."""

    def __init__(self):
        """Nothing yet."""
        self.lock = threading.Lock()
        self.requests = 0
        self.leaked = []

    def count(self, leak):
        """One more request."""
        with self.lock:
            self.requests += 1
            if leak:
                # urandom writes to each page, so that it is resident memory and not a promise.
                self.leaked.append(os.urandom(LEAK_BYTES))


STATE = State()


def resident_mib():
    """This process's memory as preforkd sees it."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize() // 2**20


def page():
    """The page as bytes."""
    return PAGE.format(
        leak_kb=LEAK_BYTES // 1024, slot=html.escape(os.environ.get("PREFORKD_SLOT", "-")),
        pid=os.getpid(), requests=STATE.requests,
        leaked=len(STATE.leaked) * LEAK_BYTES // 2**20, rss=resident_mib()).encode()


def app(environ, start_response):
    """The application."""
    path = environ["PATH_INFO"]
    STATE.count(path == "/leak")
    if path == "/":
        status, kind, body = "200 OK", "text/html; charset=utf-8", page()
    elif path in ("/leak", "/light"):
        status, kind, body = "200 OK", "text/plain", b"%d\n" % os.getpid()
    else:
        status, kind, body = "404 Not Found", "text/plain", b"there are /, /leak and /light\n"
    start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
    return [body]
