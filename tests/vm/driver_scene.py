# SPDX-License-Identifier: MIT
"""
driver_scene.py - what one test of the guest driver stands on: a broker, guests that have the driver,
peers on the host written from the documents alone (mailbox_page.py).

At the end of each the console of every guest is searched for what a kernel says of a fault.
"""

from driver_guest import DriverGuest, DriverKit, doorbell
from kit import the_folder
from stage import Stage, until

# noqa: stage knows its folder
from mailbox_page import Peer  # noqa: E402

SERVER = 7  # with --peers 6
LANE_MAX = 32744  # bytes of a message where lanes have 64 KiB


def the_kit():
    return DriverKit(the_folder())


class Scene(Stage):
    """A stage with guests that have the driver. Six peers, lanes of 64 KiB, a vector an ID."""

    def __init__(self, *options, vectors=8, size="8M", **how):
        self.kit = the_kit()
        self.guests = []
        super().__init__("--peers", "6", *options, vectors=vectors, size=size, **how)

    def boot(self, *names, load=True, more=()):
        """Guests with a doorbell device each, and what `more` names; in parallel."""
        new = []
        for name in names:
            guest = DriverGuest(self.run, name, self.kit,
                                [doorbell(self.broker.path, self.vectors), *more])
            self.adopt(guest)
            new.append(guest)
        for guest in new:
            guest.boot(load)
        self.guests += new
        return new

    def host(self, name="host"):
        """A peer on the host, by the documents alone."""
        peer = Peer.join(self.broker.path, name)
        self.things.append(peer)
        return peer

    def raw(self):
        return self.peer(vectors=self.vectors)

    def __exit__(self, kind, value, trace):
        if kind is None:
            try:
                for guest in self.guests:
                    guest.judge()
            except BaseException as err:
                super().__exit__(type(err), err, err.__traceback__)
                raise
        elif isinstance(value, AssertionError):
            for guest in self.guests:
                value.add_note(f"({guest.name}'s console:)\n{guest.console()[-1500:]}")
        return super().__exit__(kind, value, trace)


def echo(guest, to, text, device=0):
    guest.do(f"echo '{to}:{text}' >/dev/famez{device}")


def hears(guest, text, device=0):
    """The next message that a guest reads is this one."""
    said = guest.do(f"timeout 30 head -n 1 </dev/famez{device}")
    assert said == text, f"{guest.name} read {said!r} and not {text!r}"


def host_hears(peer, sender, payload):
    while True:
        m = peer.receive(30)
        assert m, f"nothing came from {sender}, {payload!r} was expected"
        if m.sender == sender:
            assert m.payload == payload, m
            return m


def until_knows(stage, guest, peer):
    peer.until_knows(guest.id)
    until(f"{guest.name} is told of {peer.id}",
          lambda: all(n in guest.eventfds() for n in peer.bell_ids(peer.id)))
