# SPDX-License-Identifier: MIT
"""members.py - peers of both kinds in one fabric, and what must hold of them after any death.

Who works in here: the scripts beside it. This process is a plain client to the broker; a Devices
is a process that it takes for a QEMU, whose peers are asked by lines. judge() is the oracle: what
everybody was told, against who is there.
"""

import os
import sys
from types import SimpleNamespace

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))

from fabric import PeerProcess, Refused, eventfd_id  # noqa: E402


class Device:
    """A peer in that process. A leave, or a vector that is told twice, is an assertion there."""

    device = True

    def __init__(self, devices, key):
        self.devices = devices
        self.key = key
        self.id = self._ask("id")

    def _ask(self, what):
        return self.devices.process.ask(f"d[{self.key}].{what}")

    def drain(self):
        self._ask("drain()")

    def until_knows(self, *ids):
        self._ask(f"until_knows{tuple(ids)!r}" if len(ids) != 1 else f"until_knows({ids[0]})")

    def known(self):
        """{ID: numbers of its eventfds}, of all peers that it was told of."""
        found = self._ask("peers").keys()
        return {int(i): self._ask(f"bell_ids({i})") for i in found}

    def ring(self, peer, vector):
        self._ask(f"ring({peer}, {vector})")

    def wait(self, vector):
        return self._ask(f"wait({vector})")

    def rung(self, vector):
        return self._ask(f"rung({vector})")

    def leave(self):
        self._ask("leave()")

    def close(self):
        self._ask("close()")


class Devices:
    """A process that the broker takes for a QEMU, at any number of brokers."""

    def __init__(self):
        self.process = PeerProcess(SimpleNamespace(path=""))
        self.process.run(_JOIN)
        self.count = 0

    def join(self, broker):
        """A Device that has read its opening; Refused as RawPeer."""
        self.count += 1
        version = self.process.ask(f"join({broker.path!r}, {self.count}, {broker.vectors})")
        if version:
            raise Refused(version)
        return Device(self, self.count)

    def forget(self):
        """Close all of them."""
        self.process.run("for p in d.values(): p.close()\nd.clear()")

    def close(self):
        self.process.close()


_JOIN = r"""
d = {}

def join(path, key, vectors):
    p = RawPeer(path, vectors, device=True)
    try:
        d[key] = p.open()
        return 0
    except Refused as err:
        p.close()
        return err.args[0]
"""


def until_let_in(broker, join=None):
    """Who leaves is gone from the fabric a moment later: until then a newcomer is refused, if the
    fabric is full."""
    while True:
        try:
            return join(broker) if join else broker.join()
        except Refused as err:
            assert err.args[0] == -1, f"refused with version {err.args[0]}"
            if not join:
                broker.peers.pop().close()


def known_to(peer):
    return peer.known() if peer.device else {i: peer.bell_ids(i) for i in peer.peers}


def settle(broker, members):
    """Wait until these are there, and each has been told all that is due to it."""
    count = len(members)

    def settled():
        for m in members:  # a plain client is told nothing more until it has read of a leave
            m.drain()
        report = broker.report()
        return (report["peers"] == count == len(report.peers)
                and all(int(p["behind"]) == 0 for p in report.peers.values()))
    broker.until(f"{count} peers, and nobody is behind", settled)


def judge(broker, members, server, vector):
    """Everybody's view is exact, through the very eventfds that each calls its own; every doorbell
    between them works, and is counted once. All of `members` must be all who are there."""
    living = {m.id for m in members} | {server}
    settle(broker, members)
    for m in members:
        m.drain()
    views = {m.id: known_to(m) for m in members}
    for m in members:
        view = views[m.id]
        if m.device:  # it may hold more: whom it was told of and who has left
            assert set(view) >= living, f"device {m.id} misses {sorted(living - set(view))}"
        else:
            assert set(view) == living, f"peer {m.id} knows {sorted(view)}, not {sorted(living)}"
        for other, bells in view.items():
            assert len(bells) == broker.vectors, f"peer {m.id} holds {len(bells)} of {other}"
            if other in views:
                assert bells == views[other][other], \
                    f"peer {m.id} holds other eventfds of {other} than itself"
        assert view[server] == views[members[0].id][server], "two eventfds of the server"
    for m in members:
        assert not m.rung(vector), f"peer {m.id} was rung by nobody"
    for m in members:
        for other in members:
            m.ring(other.id, vector)
    for m in members:
        count = m.wait(vector)
        assert count == len(members), f"peer {m.id} was rung {count} times by {len(members)}"


__all__ = ["Device", "Devices", "eventfd_id", "judge", "settle", "until_let_in"]
