# SPDX-License-Identifier: MIT
"""Every signal, and the ends that no signal handler sees."""

import os
import signal
import socket
import time

import harness
from harness import is_alive, needs_program, needs_root, wait_until


def takes_care_of(pid, sig):
    """Whether a process blocks or catches a signal: proc(5), SigBlk and SigCgt."""
    with open("/proc/%d/status" % pid) as f:
        masks = [line.split()[1] for line in f if line.startswith(("SigBlk:", "SigCgt:"))]
    return any(int(mask, 16) >> (sig - 1) & 1 for mask in masks)


class Stop(harness.Case):
    """TERM, INT, QUIT, a second TERM."""

    def test_term_is_graceful(self):
        """A request in flight is answered; then the address is free."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        with self.hanging(p, "/sleep?1") as sock:
            p.signal(signal.SIGTERM)
            self.assertEqual(p.wait(), 0)
            self.assertIn(b"slept", sock.makefile("rb").read())
        self.assertFalse(harness.can_connect(p.address()))

    def test_term_waits_at_most_graceful_timeout(self):
        """A request without end is cut off, and that is said."""
        p = self.preforkd(graceful_timeout="700ms")
        p.wait_ready()
        with self.hanging(p):
            self.assertEqual(p.stop(timeout=15), 0)
        self.assertRegex(p.log(), r"WARN.*(has not finished within graceful-timeout"
                         r"|ended: )|the grace is over with 1 request unfinished")

    def hanging(self, p, path="/hang"):
        """A connection with a request that hangs, in a context."""
        sock = socket.create_connection(p.address())
        sock.sendall(b"GET %s HTTP/1.0\r\n\r\n" % path.encode())
        p.wait_status(lambda s: sum(w["in_flight"] for w in s["workers"]) >= 1)
        return sock

    def test_term_term(self):
        """The second one makes it quick."""
        p = self.preforkd(graceful_timeout="60s")
        p.wait_ready()
        with self.hanging(p):
            p.signal(signal.SIGTERM)
            p.wait_log("stopping: workers finish what they have")
            begun = time.monotonic()
            p.signal(signal.SIGTERM)
            self.assertEqual(p.wait(), 0)
            self.assertLess(harness.elapsed(begun), harness.stretched(8))

    def test_int_and_quit_are_quick(self):
        """Both end at once with 0."""
        for sig in (signal.SIGINT, signal.SIGQUIT):
            with self.subTest(sig):
                p = self.preforkd(graceful_timeout="60s")
                p.wait_ready()
                with self.hanging(p):
                    begun = time.monotonic()
                    self.assertEqual(p.stop(sig), 0)
                    self.assertLess(harness.elapsed(begun), harness.stretched(8))
                self.assertIn("stopping quickly", p.log())

    def test_stop_while_starting(self):
        """TERM before anything is ready ends it too."""
        p = self.preforkd(files={"mine.py": "import time\ntime.sleep(60)\n"},
                          wsgi="mine:app", preload="no")
        p.wait_status(lambda s: s["workers"])
        begun = time.monotonic()
        self.assertEqual(p.stop(), 0)
        self.assertLess(harness.elapsed(begun), harness.stretched(8))

    def test_stop_in_backoff(self):
        """TERM while a slot waits for its next attempt."""
        p = self.preforkd(files={"mine.py": "from plain import app\n"}, wsgi="mine:app")
        p.wait_ready()
        p.write("mine.py", "raise OSError\n")
        harness.kill(p.pids()[0])
        p.wait_status(lambda s: s["workers"] and s["workers"][0]["state"] == "backoff")
        self.assertEqual(p.stop(timeout=6), 0)

    def test_stop_at_once(self):
        """TERM is not lost, from the first moment that it does not end the process by default."""
        for delay in (0, 0.002, 0.005, 0.01, 0.02, 0.05):
            with self.subTest(delay):
                p = self.preforkd()
                # How long the libraries take before main() is not preforkd's to say.
                wait_until(lambda: takes_care_of(p.pid, signal.SIGTERM), every=0.0005)
                time.sleep(delay)
                self.assertEqual(p.stop(timeout=8), 0)

    def test_no_worker_left(self):
        """After each way to stop every process is gone."""
        for sig in (signal.SIGTERM, signal.SIGINT):
            p = self.preforkd(workers=3)
            p.wait_ready()
            pids = p.pids()
            p.stop(sig)
            self.assertEqual([pid for pid in pids if is_alive(pid)], [])


class Others(harness.Case):
    """HUP, USR1, USR2, TTIN, TTOU and those that mean nothing."""

    def test_hup(self):
        """A reload: new workers, next generation."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        before = p.pids()
        p.signal(signal.SIGHUP)
        p.wait_log("reload: done, generation 2")
        status = p.wait_ready()
        self.assertEqual(status["generation"], 2)
        self.assertFalse(set(before) & set(p.pids()))

    def test_ttin_ttou(self):
        """One more, one less, never fewer than one; until the next reload."""
        p = self.preforkd(workers=1)
        p.wait_ready()
        first = p.pids()[0]
        p.signal(signal.SIGTTIN)
        p.wait_status(lambda s: s["target_workers"] == 2)
        p.signal(signal.SIGTTIN)
        p.wait_status(lambda s: s["target_workers"] == 3)
        p.wait_ready(3)
        for left in (2, 1):
            p.signal(signal.SIGTTOU)
            p.wait_status(lambda s: s["target_workers"] == left)
        p.wait_ready(1)
        p.signal(signal.SIGTTOU)
        p.signal(signal.SIGUSR2)
        p.wait_log("SIGUSR2")
        self.assertEqual(p.status()["target_workers"], 1)
        self.assertEqual(p.pids(), [first])
        p.signal(signal.SIGTTIN)
        p.wait_ready(2)
        self.assertEqual(p.ctl("reload")[0], 0)
        p.wait_ready(1)

    def test_signals_without_meaning(self):
        """They change nothing, for the master and for its workers."""
        p = self.preforkd()
        p.wait_ready()
        pids = p.pids()
        names = ("SIGUSR1 SIGUSR2 SIGPIPE SIGALRM SIGVTALRM SIGPROF SIGIO SIGXFSZ SIGXCPU "
                 "SIGWINCH SIGURG SIGCONT SIGCHLD SIGPWR").split()
        for name in names:
            p.signal(getattr(signal, name))
        p.signal(signal.SIGRTMIN + 3)
        for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGINT", "SIGQUIT"):
            for pid in pids:
                os.kill(pid, getattr(signal, name))
        self.assertEqual(p.text("/"), "hello")
        self.assertEqual(p.pids(), pids)
        self.assertEqual(p.status()["crashes"], 0)

    def test_term_for_a_worker(self):
        """From outside it is an unasked end: said, and a new one starts."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        p.text("/")
        pid = p.pids()[0]
        os.kill(pid, signal.SIGTERM)
        p.wait_log(r"slot 1 pid %d.*ended" % pid)
        p.wait_ready(2)
        self.assertNotIn(pid, p.pids())


class MasterKilled(harness.Case):
    """kill -9 of the master, SIGSTOP of the master."""

    def gone(self, p, pids, address):
        """Within 2 s no worker and no listener."""
        begun = time.monotonic()
        p.kill()
        # the main thread of a process may be a zombie while others still hold its sockets
        wait_until(lambda: not any(is_alive(pid) for pid in pids), 2, "workers are gone")
        wait_until(lambda: not harness.can_connect(address), 2, "the listener is gone")
        self.assertLess(harness.elapsed(begun), harness.stretched(2))

    def test_idle_workers(self):
        """Neither stdlib ..."""
        p = self.preforkd(workers=3)
        p.wait_ready()
        self.gone(p, p.pids(), p.address())

    def test_busy_and_hung_workers(self):
        """... nor with hung requests, nor a worker that was stopped ..."""
        p = self.preforkd(workers=2)
        p.wait_ready()
        pids = p.pids()
        with socket.create_connection(p.address()) as s, \
                socket.create_connection(p.address()) as t:
            s.sendall(b"GET /hang HTTP/1.0\r\n\r\n")
            t.sendall(b"GET /spin HTTP/1.0\r\n\r\n")
            p.wait_status(lambda s: sum(w["in_flight"] for w in s["workers"]) >= 1)
            self.gone(p, pids, p.address())

    def test_starting_worker(self):
        """... nor one that has not finished its boot ..."""
        p = self.preforkd(files={"mine.py": "import time\ntime.sleep(60)\n"},
                          wsgi="mine:app", preload="no")
        status = p.wait_status(lambda s: s["workers"])
        self.gone(p, [status["workers"][0]["pid"]], p.address())

    def test_commands(self):
        """... nor a plain command that ignores TERM."""
        p = self.preforkd(command=harness.helper("fakeworker") + " ignore-term ready", workers=2)
        p.wait_ready()
        self.gone(p, p.pids(), p.address())

    @needs_root
    def test_other_user(self):
        """... nor workers of another user."""
        p = self.preforkd(user="nobody", workers=2)
        p.wait_ready()
        self.gone(p, p.pids(), p.address())

    def test_restart_at_once(self):
        """The same addresses and paths can be used again right away."""
        port = harness.free_port()
        p = self.preforkd(listen=["127.0.0.1:%d" % port, "unix:run.sock"], pidfile="p.pid")
        p.wait_ready()
        self.gone(p, p.pids(), ("127.0.0.1", port))
        p._address = None
        p.start()
        p.wait_ready()
        self.assertEqual(harness.get(("127.0.0.1", port)).status, 200)
        self.assertEqual(p.read("p.pid"), "%d\n" % p.pid)

    def test_stopped_master_kills_nobody(self):
        """SIGSTOP for 10 s with short timeouts; afterwards the same workers serve."""
        plans = [dict(workers=2, timeout="2s", request_timeout="3s", boot_timeout="3s")]
        if harness.has_module("gunicorn"):
            plans.append(dict(worker_class="sync", workers=2, timeout="2s"))
        if harness.has_module("uvicorn"):
            plans.append(dict(asgi="plain:asgi", workers=2, timeout="2s"))
        running = [self.preforkd(**plan) for plan in plans]
        for p in running:
            p.wait_ready()
        pids = [p.pids() for p in running]
        addresses = [p.address() for p in running]
        for p in running:
            p.signal(signal.SIGSTOP)
        # there is nothing to wait for: this is the time that passes
        time.sleep(4)
        for address in addresses:
            self.assertEqual(harness.get(address).body, "hello")
        time.sleep(6)
        marks = [p.mark() for p in running]
        for p in running:
            p.signal(signal.SIGCONT)
        for p, before, mark in zip(running, pids, marks):
            for _ in range(20):
                p.text("/")
            self.assertEqual(p.pids(), before, p.log(mark))
            self.assertNotRegex(p.log(mark), r"kill|ended")
        # and liveness works again afterwards
        p = running[0]
        with socket.create_connection(p.address()) as s:
            s.sendall(b"GET /freeze HTTP/1.0\r\n\r\n")
            p.wait_log(r"no heartbeat for|request-timeout")

    def test_stopped_master_and_a_boot(self):
        """A worker that became ready meanwhile is not taken for too late."""
        p = self.preforkd(files={"mine.py": (
            "import os, time\nopen('booting', 'w').close()\n"
            "while not os.path.exists('go'):\n    time.sleep(0.01)\nfrom plain import app\n")},
            wsgi="mine:app", boot_timeout="1500ms")
        wait_until(lambda: os.path.exists(p.path("booting")))
        p.signal(signal.SIGSTOP)
        p.write("go", "")
        time.sleep(3)
        p.signal(signal.SIGCONT)
        p.wait_ready()
        self.assertEqual(p.status()["boot_failures"], 0)


@needs_root
@needs_program("unshare")
class PidOne(harness.Case):
    """The master as PID 1 of its own pid namespace, as in a container."""

    def start(self, **kw):
        """Its host pid is that of unshare's child."""
        p = self.preforkd(wrap=["unshare", "--pid", "--fork", "--mount-proc",
                                "--kill-child=SIGKILL"], **kw)
        p.wait_ready()
        self.master = [c for c in harness.children_of(p.pid)][0]
        return p

    def test_serves_and_stops(self):
        """As anywhere else."""
        p = self.start(workers=2)
        status = p.status()
        self.assertEqual(status["pid"], 1)
        self.assertEqual(p.text("/"), "hello")
        self.assertEqual(p.ctl("reload")[0], 0)
        os.kill(self.master, signal.SIGTERM)
        self.assertEqual(p.wait(), 0)

    def test_reaps_foreign_orphans(self):
        """Orphans of anybody become its children; no zombie stays, nobody is blamed.

        What stays are the mold and the worker.
        """
        p = self.start()
        before = p.pids()
        # from outside: a process of the namespace that dies after its parent
        code, out, err = harness.run(
            "nsenter", "-t", str(self.master), "-p", "-m", "/bin/sh", "-c",
            "for i in 1 2 3 4 5; do (sleep 0.1 & ) ; done; exit 0")
        self.assertEqual(code, 0, err)
        # from within: a grandchild that a worker leaves behind
        for _ in range(5):
            p.text("/fork?0.05")

        def zombies():
            """Dead children that nobody has taken."""
            found = []
            for name in os.listdir("/proc"):
                if name.isdigit() and harness.parent_of(int(name)) == self.master and \
                        harness.process_state(int(name)) == "Z":
                    found.append(name)
            return found
        wait_until(lambda: len(harness.children_of(self.master)) == 2 and not zombies())
        self.assertEqual(p.pids(), before)
        self.assertNotRegex(p.log(), r"WARN|ERROR")

    def test_worker_crashes(self):
        """Deaths are attributed as ever, also with low pids."""
        p = self.start(workers=2)
        p.text("/")
        for _ in range(3):
            pid = p.pids()[0]
            mark = p.mark()
            harness.run("nsenter", "-t", str(self.master), "-p", "-m", "kill", "-9", str(pid))
            p.wait_log(r"pid %d.*SIGKILL|pid %d.*signal 9|pid %d.*KILL" % (pid, pid, pid),
                       since=mark)
            p.wait_ready(2)


if __name__ == "__main__":
    harness.main()
