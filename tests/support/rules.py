# SPDX-License-Identifier: MIT
"""rules.py - what tests of admission, zones and bound IDs share: files of rules, and peers that
are other users' and other VMs'.

Needs root, to become somebody else. Owns the files that it makes; never touches the broker but
through fabric.py.
"""

import contextlib
import os
import signal
import tempfile

from fabric import Broker, PeerProcess, Skip

# Users and groups that nobody is.
ALICE, BOB, CAROL = 61001, 61002, 61003
CREW = 61100


def needs_root():
    if os.geteuid() != 0:
        raise Skip("needs root, to become somebody else")


class RuleFile:
    """A file that a broker reads."""

    def __init__(self, text):
        fd, self.path = tempfile.mkstemp(prefix="famez-rules-")
        os.close(fd)
        self.write(text)

    def write(self, text):
        """At once, as editors do: never half of it is there."""
        with open(self.path + ".new", "w", encoding="ascii") as f:
            f.write(text)
        os.rename(self.path + ".new", self.path)

    def remove(self):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()


class OpenBroker(Broker):
    """A broker whose socket everybody may reach, or whom `mode` lets."""

    def __init__(self, *options, mode="0666", **how):
        if mode:
            options += ("--socket-mode", mode)
        super().__init__(*options, start=False, **how)
        os.chmod(self.dir, 0o755)
        self.start()

    def die(self):
        """Kill the process that serves, and wait until another one does."""
        child = self.child
        if child == self.pid:
            raise Skip("without a keeper the broker's death is the end")
        mark = self.mark()
        os.kill(child, signal.SIGKILL)
        self.wait_event("resumed", mark)

    def hup(self):
        """SIGHUP; returns what the log says of the rules."""
        mark = self.mark()
        os.kill(self.pid, signal.SIGHUP)
        self.report()  # read, and told to all workers
        done = [e for e in self.log.entries[mark:]
                if e and e["event"] in ("rules", "rules-wrong")]
        assert len(done) == 1, done
        self.settle()
        return done[0]

    def server_id(self):
        return int(self.wait_event("start")["server_id"])

    def settle(self):
        """Wait until every peer has been told all that is due to it."""
        self.until("nobody is behind",
                   lambda: all(int(p["behind"]) == 0 for p in self.report().peers.values()))

    def refused(self, reason, start=0):
        """Pid and uid of those who were refused for that reason, as the log has them."""
        self.report()  # which comes behind what was logged before
        return [(int(e["pid"]), int(e["uid"]))
                for e in self.events("refuse", start, reason=reason)]


class Peer:
    """A peer in a process of its own: a user's, and a VM's if it has a name."""

    def __init__(self, broker, uid=0, vm=None, uuid=None, device=False, gid=None, groups=(),
                 connect=True, join=True, **how):
        arguments = ["-name", f"guest={vm},debug-threads=on"] if vm else []
        arguments += ["-uuid", uuid] if uuid else []
        device = device or bool(arguments)
        self.broker = broker
        self.process = PeerProcess(
            broker, name="qemu-fake" if device else "client", arguments=arguments, **how)
        self.pid = self.process.pid
        if uid:
            # Not from its start: this Python may be where only root can read it.
            self.process.run(f"os.setgroups({list(groups)}); os.setgid({gid or uid}); "
                             f"os.setuid({uid})")
        self.device = device
        self.id = None
        if connect:
            self.connect()
            if join:
                self.join()

    def connect(self):
        """For one that was only started: its start may take longer than a broker is patient."""
        self.process.run(f"p = RawPeer(path, device={self.device}, vectors={self.broker.vectors})")

    def join(self):
        """Read the opening. Returns the ID."""
        self.process.run("p.open()")
        self.id = self.process.ask("p.id")
        return self.id

    def is_refused(self):
        """Read what came: was it a version of -1?"""
        self.process.run("try:\n    p.open()\n    was = False\nexcept Refused:\n    was = True")
        return self.process.ask("was")

    def knows(self):
        """IDs that it has been told of, once all that is due has been told: its own, the server's
        and its neighbours'."""
        self.broker.settle()
        self.process.run("p.drain()")
        return set(self.process.ask("sorted(p.complete())"))

    def neighbours(self):
        return self.knows() - {self.id, self.broker.server_id()}

    def rings(self, other):
        """Ring another peer, which must be a neighbour, and see that it arrives there."""
        self.process.run(f"p.ring({other.id}, 1)")
        assert other.process.ask("p.wait(1)") >= 1

    def bells(self, ident=None):
        return self.process.ask(f"p.bell_ids({ident or 'p.id'})")

    def close(self):
        self.process.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
