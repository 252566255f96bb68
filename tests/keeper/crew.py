# SPDX-License-Identifier: MIT
"""crew.py - peers that ring, talk, come and go all the time, in a process of their own.

Who works in here: the threads of a process that load.py starts; it reads what they found. A Crew
notes all that it does: at its end every doorbell has been counted as often as it was rung, every
question was answered once, in order, and what was said to the group was heard once, in order.
An end of the stream of a peer that did not leave is a failure, as is all that RawPeer asserts.
"""

import os
import random
import select
import threading
import traceback

from fabric import Bells, RawPeer, eventfd_id
from lanes import ENTER, GROUP, LINK, Lanes

BELL = 1  # the vector that nobody else rings
GROUP_NUMBER = 5


class Crew:
    """Peers of one kind. `stay` of them are there from begin to end, and ring each other; `roam`
    more come and go."""

    def __init__(self, path, vectors, stay, roam, device, seed):
        self.path, self.vectors, self.device = path, vectors, device
        self.bells = Bells()
        self.dice = random.Random(seed)
        self.stay = [self._join() for _ in range(stay)]
        self.roam = [None] * roam
        self.rang = {p.id: 0 for p in self.stay}
        self.heard = dict(self.rang)
        self.roamed = 0
        self.wanted = True
        self.failure = None
        self.thread = threading.Thread(target=self._guarded, daemon=True)

    def _join(self):
        return RawPeer(self.path, self.vectors, device=self.device, bells=self.bells).open()

    def start(self):
        self.thread.start()

    def _guarded(self):
        try:
            while self.wanted:
                self._turn()
            for peer in filter(None, self.roam):
                peer.leave()
            self.roam = []
        except BaseException:
            self.failure = traceback.format_exc()

    def _turn(self):
        if self.stay:
            for _ in range(20):
                sender, receiver = self.dice.choice(self.stay), self.dice.choice(self.stay)
                if receiver.id in sender.complete():
                    sender.ring(receiver.id, BELL)
                    self.rang[receiver.id] += 1
        poll = select.poll()
        for peer in (*self.stay, *filter(None, self.roam)):
            poll.register(peer.sock, select.POLLIN)
        for peer in self.stay:
            poll.register(peer.peers[peer.id][BELL], select.POLLIN)
        ready = {fd for fd, _ in poll.poll(5)}
        for peer in (*self.stay, *filter(None, self.roam)):
            if peer.sock.fileno() in ready:
                peer.drain()
        self._listen(ready)
        if self.roam:
            self._roam()

    def _listen(self, ready):
        for peer in self.stay:
            bell = peer.peers[peer.id][BELL]
            if bell in ready:
                self.heard[peer.id] += os.eventfd_read(bell)

    def _roam(self):
        at = self.dice.randrange(len(self.roam))
        if self.roam[at] is None:
            self.roam[at] = self._join()
            self.roamed += 1
        elif self.dice.random() < 0.3:
            if self.dice.random() < 0.5:
                self.roam[at].leave()
            else:
                self.roam[at].vanish()
                self.roam[at].close()
            self.roam[at] = None

    # -- its end

    def end(self):
        """Everybody who roams has left. Raises what went wrong."""
        self.wanted = False
        self.thread.join()
        assert not self.failure, self.failure

    def drain(self):
        for peer in self.stay:
            peer.drain()

    def views(self):
        """{ID: {ID that it knows: numbers of its eventfds}} of those who stayed."""
        numbers = {fd: eventfd_id(fd) for fd in self.bells.kept.values()}
        return {p.id: {i: [numbers[fd] for fd in fds] for i, fds in p.peers.items()}
                for p in self.stay}

    def miscounted(self):
        """Those whose doorbell was not heard as often as it was rung: {ID: (rung, heard)}."""
        self._listen({p.peers[p.id][BELL] for p in self.stay if p.rung(BELL)})
        return {i: (n, self.heard[i]) for i, n in self.rang.items() if n != self.heard[i]}

    def sums(self):
        return {"rings": sum(self.rang.values()), "roamed": self.roamed}

    def close(self):
        for peer in self.stay:
            peer.close()
        self.bells.close()


class Talkers:
    """One peer asks the server and speaks to a group; the others of `members` hear it."""

    def __init__(self, path, vectors, members, seed):
        self.dice = random.Random(seed)
        self.peers = [RawPeer(path, vectors).open() for _ in range(members + 1)]
        self.asker, *self.members = (Lanes(p) for p in self.peers)
        for m in self.members:
            assert m.send(m.server, b"", ENTER, group=GROUP_NUMBER)
            assert m.ask("ping") == "pong"
        self.asked = self.answered = 1  # a question of number 0 is another one
        self.said = 0
        self.heard = [0] * members
        self.wanted = True
        self.failure = None
        self.thread = threading.Thread(target=self._guarded, daemon=True)

    def start(self):
        self.thread.start()

    def _guarded(self):
        try:
            while self.wanted:
                self._turn()
            self._finish()
        except BaseException:
            self.failure = traceback.format_exc()

    def _turn(self):
        """Some words and questions, and then everything that they lead to."""
        for p in self.peers:
            p.drain()
        for _ in range(self.dice.randint(1, 6)):
            if self.dice.random() < 0.5:
                if self.asker.send(self.asker.server, f"ping!EZT={self.asked}".encode(), LINK):
                    self.asked += 1
            elif self.said - min(self.heard) < 20 and self.asker.send(
                    self.asker.server, str(self.said).encode(), GROUP, group=GROUP_NUMBER):
                self.said += 1
        if self.dice.random() < 0.5 or self.asked - self.answered > 40:  # what a lane holds
            self._finish()

    def _finish(self):
        a = self.asker
        while self.answered < self.asked:
            self._answer(a.receive(a.server))
        for nth, m in enumerate(self.members):
            while self.heard[nth] < self.said:
                self._hear(nth, m.receive(m.server))

    def _answer(self, m):
        want = f"pong!EZT={self.answered + 1}".encode()
        assert m.payload == want, f"{m} in place of {want}"
        self.answered += 1

    def _hear(self, nth, m):
        want = str(self.heard[nth]).encode()
        assert (m.payload, m.type) == (want, GROUP), f"{m} in place of {want}, to the group"
        self.heard[nth] += 1

    def end(self):
        self.wanted = False
        self.thread.join()
        assert not self.failure, self.failure
        for lanes in (self.asker, *self.members):
            more = lanes.take(lanes.server)
            assert more is None, f"{more} came once more"

    def drain(self):
        for p in self.peers:
            p.drain()

    def views(self):
        return {p.id: {i: p.bell_ids(i) for i in p.peers} for p in self.peers}

    def miscounted(self):
        return {}

    def sums(self):
        return {"asked": self.asked, "said": self.said, "heard": sum(self.heard)}

    def close(self):
        for p in self.peers:
            p.close()
