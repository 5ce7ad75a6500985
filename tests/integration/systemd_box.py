"""A real systemd to test in: the machine's own files below an overlay, booted by nspawn.

Box() mounts a tmpfs as the upper layer over `/` in a mount namespace of its own and boots
that with systemd-nspawn, without a download and without a trace on the machine: what is
written inside lies in the tmpfs and is gone with the last process. The network is the
machine's, so that a test can connect from outside. Commands run inside by nsenter, files
are written through /proc/LEADER/root.

Everything is killed by recorded process numbers. Should the test die, the kernel sends
SIGTERM to nspawn, which ends the rest.

SPDX-License-Identifier: MIT
"""

import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from harness import BUILDDIR, PYTHON_DIR, SRCDIR, Late, stretched, wait_until

CGROUP_ROOT = "/sys/fs/cgroup"
PR_SET_PDEATHSIG = 1
PREFIX = "preforkd-box-"
TOOLS = ("systemd-nspawn", "systemctl", "nsenter", "unshare", "mount")
TARGET = """\
[Unit]
Description=What tests need
Requires=basic.target
After=basic.target
AllowIsolate=yes
"""
# Where the files of the build go inside.
SBIN, BIN, LIBEXEC, PYTHON = (
    "/usr/sbin", "/usr/bin", "/usr/libexec/preforkd", "/usr/share/preforkd/python")
UNITS = "/etc/systemd/system"


def cgroup_folders():
    """The folders below which this process may make control groups, by hierarchy."""
    folders = {}
    with open("/proc/self/cgroup", encoding="ascii") as lines:
        for line in lines:
            _, names, path = line.rstrip("\n").split(":", 2)
            if names == "":
                # Only below the root may a group have controllers and a sibling process.
                unified = os.path.join(CGROUP_ROOT, "unified")
                folders["v2"] = unified if os.path.isdir(unified) else CGROUP_ROOT
            elif names in ("memory", "name=systemd"):
                name = names.split("=")[-1]
                # Where the path is one of another namespace, the root is ours.
                own = os.path.join(CGROUP_ROOT, name) + path.rstrip("/")
                folders[name] = own if os.path.isdir(own) else os.path.join(CGROUP_ROOT, name)
    return folders


def remove_cgroup(folder):
    """Removes an empty group with all below it; True when it is gone."""
    for base, names, _ in os.walk(folder, topdown=False):
        for name in names:
            try:
                os.rmdir(os.path.join(base, name))
            except OSError:
                pass
    try:
        os.rmdir(folder)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def missing():
    """Why no box can be had here, or None."""
    if os.geteuid() != 0:
        return "needs root"
    for tool in TOOLS:
        if shutil.which(tool) is None:
            return "needs %s (Debian: systemd-container, util-linux)" % tool
    for folder in ("/usr", "/etc", "/var"):
        if os.stat(folder).st_dev != os.stat("/").st_dev:
            return "%s is a file system of its own, an overlay of / lacks it" % folder
    for folder in cgroup_folders().values():
        if not os.access(folder, os.W_OK) or os.statvfs(folder).f_flag & os.ST_RDONLY:
            return "%s cannot be written" % folder
    with tempfile.TemporaryDirectory(prefix=PREFIX) as work:
        script = ('mount -t tmpfs tmpfs "$1" && mkdir "$1/u" "$1/w" "$1/r" && '
                  'mount -t overlay overlay -o "lowerdir=/,upperdir=$1/u,workdir=$1/w" "$1/r"')
        done = subprocess.run(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", work],
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        return "no overlay mount: " + done.stderr.strip()
    return None


class Box:
    """A booted system. Context manager."""

    made = 0

    def __init__(self):
        """Nothing runs yet."""
        Box.made += 1
        self.name = "%s%d-%d" % (PREFIX, os.getpid(), Box.made)
        self.work = None
        self.leader = 0
        self.nspawn = None
        self.console = None
        self.cgroups = []

    def __enter__(self):
        """Boots it."""
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *exc):
        """Ends it and removes what was made for it."""
        self.stop()

    # Start and stop.

    def start(self):
        """Boots and returns when systemd says that it is up."""
        self.work = tempfile.mkdtemp(prefix=PREFIX)
        for folder in cgroup_folders().values():
            self._remove_stale(folder)
            group = os.path.join(folder, self.name)
            os.mkdir(group)
            self.cgroups.append(group)
        self.console = os.path.join(self.work, "console.log")
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(os.path.join(self.work, "notify"))
        death = ctypes.CDLL(None, use_errno=True)
        with open(self.console, "wb") as console:
            # Arguments: the overlay's folder, the machine's name, the control groups.
            self.nspawn = subprocess.Popen(
                ["unshare", "--mount", "--propagation", "private", sys.executable,
                 os.path.abspath(__file__), self.work, self.name] + self.cgroups,
                stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8",
                     "NOTIFY_SOCKET": os.path.join(self.work, "notify")},
                preexec_fn=lambda: death.prctl(PR_SET_PDEATHSIG, signal.SIGTERM))
        with notify:
            self._wait_booted(notify)
        self._give_memory_limits()

    def _remove_stale(self, folder):
        """Groups that a killed test has left."""
        for name in os.listdir(folder):
            pid = name[len(PREFIX):].split("-")[0]
            if name.startswith(PREFIX) and pid.isdigit() and not os.path.exists("/proc/" + pid):
                remove_cgroup(os.path.join(folder, name))

    def _wait_booted(self, notify):
        """nspawn tells the leader's number, and READY when the system inside is up."""
        end = time.monotonic() + stretched(60)
        notify.settimeout(0.2)
        while time.monotonic() < end and self.nspawn.poll() is None:
            try:
                lines = notify.recv(4096).decode().split("\n")
            except socket.timeout:
                continue
            for line in lines:
                if line.startswith("X_NSPAWN_LEADER_PID="):
                    self.leader = int(line.split("=")[1])
                if line == "READY=1" and self.leader:
                    return
        with open(self.console, encoding="utf-8", errors="replace") as console:
            raise Late("the system did not boot:\n" + console.read()[-4000:])

    def _give_memory_limits(self):
        """nspawn mounts the memory controller of cgroup v1 read-only."""
        if not os.path.isdir(os.path.join(CGROUP_ROOT, "memory")):
            return
        self.run(["mount", "-o", "remount,rw,bind", "/sys/fs/cgroup/memory"], check=True)
        # It looks for controllers at its start only.
        self.run(["systemctl", "daemon-reexec"], check=True)

    def stop(self):
        """Kills the system inside, by its first process, and cleans up."""
        if self.leader:
            try:
                os.kill(self.leader, signal.SIGKILL)
            except ProcessLookupError:
                pass
        if self.nspawn is not None:
            try:
                self.nspawn.wait(stretched(10) if self.leader else 0)
            except subprocess.TimeoutExpired:
                self.nspawn.kill()
                self.nspawn.wait()
        self.leader = 0
        self.nspawn = None
        for group in self.cgroups:
            wait_until(lambda folder=group: remove_cgroup(folder), 10, "empty " + group)
        self.cgroups = []
        if self.work:
            shutil.rmtree(self.work, ignore_errors=True)
            self.work = None

    # Inside.

    def path(self, inside):
        """A path of the system inside, as this process can open it."""
        return "/proc/%d/root%s" % (self.leader, inside)

    def write(self, inside, text, mode=0o644):
        """Writes a file inside at once, with the folders above it."""
        path = self.path(inside)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + ".new", "w", encoding="utf-8") as new:
            new.write(text)
        os.chmod(path + ".new", mode)
        os.replace(path + ".new", path)

    def command(self, argv):
        """The command line that runs argv inside."""
        return ["nsenter", "--target", str(self.leader), "--mount", "--uts", "--ipc", "--pid",
                "--cgroup", "--root", "--wd", "--"] + list(argv)

    def run(self, argv, timeout=60, check=False):
        """Runs argv inside to its end: subprocess.CompletedProcess with text."""
        done = subprocess.run(
            self.command(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, timeout=stretched(timeout), check=False, text=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8",
                 "SYSTEMD_PAGER": "cat", "SYSTEMD_COLORS": "0"})
        if check and done.returncode != 0:
            raise AssertionError("%s: exit %d\n%s%s" % (
                " ".join(argv), done.returncode, done.stdout, done.stderr))
        return done

    def popen(self, argv):
        """Starts argv inside; the caller waits for it."""
        return subprocess.Popen(
            self.command(argv), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"})

    def systemctl(self, *args, timeout=60, check=True):
        """systemctl inside."""
        return self.run(["systemctl", *args], timeout, check)

    def show(self, unit, *names):
        """Properties of a unit as a dict."""
        lines = self.systemctl("show", "-p", ",".join(names), unit).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def journal(self, *args):
        """Entries of the journal inside, each a dict of its fields."""
        self.run(["journalctl", "--sync"])
        done = self.run(["journalctl", "--no-pager", "-q", "-o", "json", *args], check=True)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def kill(self, inside, number):
        """Sends a signal to a process inside, by its number inside."""
        self.run(["/bin/kill", "-%d" % number, str(inside)], check=True)

    # preforkd inside.

    def install(self):
        """Puts the built programs, the launcher and the units where a package has them."""
        for program, folder in (("preforkd", SBIN), ("preforkctl", BIN),
                                ("preforkd-http", LIBEXEC)):
            os.makedirs(self.path(folder), exist_ok=True)
            shutil.copy(os.path.join(BUILDDIR, program), self.path(folder))
            os.chmod(self.path(os.path.join(folder, program)), 0o755)
        shutil.copytree(os.path.join(PYTHON_DIR, "preforkd"),
                        self.path(PYTHON + "/preforkd"), dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns("__pycache__"))
        units = os.path.join(SRCDIR, "contrib", "systemd")
        for name in os.listdir(units):
            if name.endswith(".in"):
                with open(os.path.join(units, name), encoding="utf-8") as source:
                    text = source.read()
                text = text.replace("@sbindir@", SBIN).replace("@bindir@", BIN)
                self.write(os.path.join(UNITS, name[:-3]), text)
        # The programs know the folders of their configure call only.
        lines = ["[Service]", "Environment=PREFORKD_PYTHON_DIR=" + PYTHON,
                 "Environment=PREFORKD_LIBEXEC_DIR=" + LIBEXEC,
                 # The leak check traces its own process, which the hardening forbids.
                 "Environment=ASAN_OPTIONS=detect_leaks=0"]
        self.write(UNITS + "/preforkd@.service.d/box.conf", "\n".join(lines) + "\n")
        self.systemctl("daemon-reload")


def boot(work, name, cgroups):
    """In a mount namespace of its own: mounts the overlay and becomes nspawn."""
    top = os.path.join(work, "top")
    os.mkdir(top)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0755", "tmpfs", top], check=True)
    for part in ("upper", "work", "root"):
        os.mkdir(os.path.join(top, part))
    root = os.path.join(top, "root")
    subprocess.run(
        ["mount", "-t", "overlay", "overlay", "-o",
         "lowerdir=/,upperdir={0}/upper,workdir={0}/work".format(top), root], check=True)
    # Nothing of what this machine starts at boot.
    for folder in ("etc", "lib", "usr/lib"):
        units = os.path.join(root, folder, "systemd/system")
        for unit in os.listdir(units) if os.path.isdir(units) else ():
            if unit.endswith(".wants") and (folder == "etc" or unit == "timers.target.wants"):
                shutil.rmtree(os.path.join(units, unit))
    with open(os.path.join(root, "etc/systemd/system/box.target"), "w", encoding="ascii") as f:
        f.write(TARGET)
    machine_id = os.path.join(root, "etc/machine-id")
    if os.path.lexists(machine_id):
        os.unlink(machine_id)
    with open(machine_id, "w", encoding="ascii") as f:
        f.write(os.urandom(16).hex() + "\n")
    for group in cgroups:
        with open(os.path.join(group, "cgroup.procs"), "w", encoding="ascii") as procs:
            procs.write("0")
    os.execvp("systemd-nspawn", [
        "systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--link-journal=no",
        "--notify-ready=yes", "--console=pipe", "--machine=" + name, "--directory=" + root,
        "--boot", "systemd.unit=box.target"])


if __name__ == "__main__":
    boot(sys.argv[1], sys.argv[2], sys.argv[3:])
