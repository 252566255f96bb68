# SPDX-License-Identifier: MIT
"""plan.py - runs famez-server-faults with a plan of failing system calls.

Who works in here: the scripts beside it. A plan is what broker/sys.h tells:
CALL:NTH:ERRNO[:TIMES], several with commas. attempt() starts a server that may
fail to start, and says what became of it; whatever does start is a fabric.Broker.
"""

import os
import re
import shutil
import signal
import socket
import select
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

import fabric  # noqa: E402
from fabric import HANG_SECONDS, SANITIZER, Broker, settings  # noqa: E402

# A clean start with the Nth call failing may be luck (that call's failure does no
# harm): so many in a row mean that the start makes no Nth call.
CLEAN_IN_A_ROW = 5
NTH_MAX = 200

# A line of the log, as against one for the user.
LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z \w+ event=")


def only_with_faults():
    """Fail unless the server under test is the one that takes plans."""
    done = subprocess.run([settings.server, "--version"], capture_output=True, check=False,
                          env=dict(os.environ, FAMEZ_FAULT="no:1:plan"), timeout=HANG_SECONDS)
    assert done.returncode == -signal.SIGABRT, (
        f"{settings.server} takes no plans: pass --server .../famez-server-faults")


def workers():
    return settings.workers or 2


def faulty(plan, *options, **how):
    """A Broker with a plan."""
    return Broker(*options, env={"FAMEZ_FAULT": plan}, workers=workers(), **how)


class Outcome:
    """What became of a start."""

    def __init__(self, ready, status, lines, left):
        self.ready = ready
        self.status = status
        self.lines = lines
        self.left = left

    @property
    def user_lines(self):
        return [line for line in self.lines if line and not LOG_LINE.match(line)]


def _until_ready_or_dead(box, process):
    death = os.pidfd_open(process.pid)
    try:
        poll = select.poll()
        poll.register(death, select.POLLIN)
        poll.register(box, select.POLLIN)
        while True:
            found = dict(poll.poll(HANG_SECONDS * 1000))
            if not found:
                process.kill()
                raise AssertionError("neither ready nor ended: it hangs")
            if box.fileno() in found and b"READY=1" in box.recv(4096):
                return True
            if death in found:
                return False
    finally:
        os.close(death)


def attempt(plan, *options):
    """Start a server, end it if it starts. Options may hold {dir}, a directory of its own."""
    folder = tempfile.mkdtemp(prefix="famez-test-")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as box, \
                tempfile.TemporaryFile("w+") as stderr:
            box.bind(os.path.join(folder, "notify"))
            before = set(os.listdir("/dev/shm"))
            command = [settings.server, "-F", "-S", os.path.join(folder, "sock"), "-l", "1M",
                       "-n", "2", "--peers", "4", "--workers", str(workers()),
                       *(o.format(dir=folder) for o in options)]
            env = dict(os.environ, FAMEZ_FAULT=plan, NOTIFY_SOCKET=os.path.join(folder, "notify"))
            with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=stderr,
                                  stdout=subprocess.DEVNULL, env=env, cwd=folder) as process:
                ready = _until_ready_or_dead(box, process)
                if ready:
                    process.terminate()
                try:
                    status = process.wait(HANG_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    raise AssertionError("it does not end") from None
            stderr.seek(0)
            lines = stderr.read().split("\n")
        left = set(os.listdir(folder)) - {"notify", "log"}
        for name in set(os.listdir("/dev/shm")) - before:
            if name.startswith(f"famez-fault-{os.getpid()}"):
                left.add(name)
                os.unlink(os.path.join("/dev/shm", name))
        return Outcome(ready, status, lines, sorted(left))
    finally:
        shutil.rmtree(folder)


def judge(plan, outcome, may_stay=(), unsure=()):
    """A start has two ways to end: well, or with a status, one line, and nothing left behind.
    `unsure`: names that may stay where the server did start, and the call failed at its end."""
    text = "\n".join(outcome.lines)
    assert not SANITIZER.search(text), f"{plan}: {text}"
    allowed = set(may_stay) | set(unsure if outcome.ready else ())
    assert set(outcome.left) <= allowed, f"{plan}: left behind {outcome.left}"
    if outcome.ready:
        assert outcome.status == 0, f"{plan}: served, and ended with {outcome.status}: {text}"
        return
    assert outcome.status in (1, 3, 4), f"{plan}: ended with {outcome.status}: {text}"
    said = outcome.user_lines
    assert len(said) == 1, f"{plan}: not one line but {said}"
    assert said[0].startswith("famez-server: "), f"{plan}: says {said[0]!r}"
    assert len(said[0]) > len("famez-server: ") + 10, f"{plan}: says {said[0]!r}"


def each_start(call, error, *options, may_stay=(), unsure=()):
    """Fail the 1st, 2nd, ... call of a start until that start makes no such call. Returns
    how many starts ended in failure."""
    clean = failures = 0
    for nth in range(1, NTH_MAX):
        plan = f"{call}:{nth}:{error}"
        outcome = attempt(plan, *options)
        judge(plan, outcome, may_stay, unsure)
        clean = clean + 1 if outcome.ready else 0
        failures += not outcome.ready
        if clean == CLEAN_IN_A_ROW:
            return failures
    raise AssertionError(f"{call}: still failing at the {NTH_MAX}th call")
