# SPDX-License-Identifier: MIT
"""fabric_log.py - a broker's lines, as they come, and its reports. Owns the reading end of its
log; never touches the broker.
"""

import json
import re
import threading

from fabric_base import HANG_SECONDS

_PAIR = re.compile(r'([A-Za-z0-9_.-]+)=("(?:[^"\\]|\\.)*"|[^ ]*)')
_TEXT = re.compile(
    r"^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (error|warning|notice|info|debug) (event=.*)$"
)


def parse_line(line):
    """A log line, text or JSON, as a dict of strings; None if it is neither."""
    if line.startswith("{"):
        try:
            return {k: v if isinstance(v, str) else json.dumps(v) for k, v in
                    json.loads(line).items()}
        except ValueError:
            return None
    match = _TEXT.match(line)
    if not match:
        return None
    fields = {"time": match[1], "level": match[2]}
    for key, value in _PAIR.findall(match[3]):
        if value.startswith('"'):
            value = re.sub(r"\\(.)", r"\1", value[1:-1])
        fields[key] = value
    return fields


def matches(entry, event, fields):
    return (entry is not None and entry.get("event") == event
            and all(entry.get(k) == str(v) for k, v in fields.items()))


class Log:
    """Lines of a pipe, collected by a thread so that the writer never waits."""

    def __init__(self, stream):
        self.lines = []
        self.entries = []
        self.closed = False
        self.changed = threading.Condition()
        self.thread = threading.Thread(target=self._collect, args=(stream,), daemon=True)
        self.thread.start()

    def _collect(self, stream):
        for raw in stream:
            line = raw.decode("utf-8", "replace").rstrip("\n")
            with self.changed:
                self.lines.append(line)
                self.entries.append(parse_line(line))
                self.changed.notify_all()
        with self.changed:
            self.closed = True
            self.changed.notify_all()

    def wait(self, event, start=0, **fields):
        """The index of the first line from `start` on that has the event and the fields."""
        def find():
            for i in range(start, len(self.entries)):
                if matches(self.entries[i], event, fields):
                    return i
            return None

        with self.changed:
            if not self.changed.wait_for(lambda: find() is not None or self.closed, HANG_SECONDS):
                raise AssertionError(f"no event={event} {fields} came; log:\n{self.tail()}")
            found = find()
        if found is None:
            raise AssertionError(f"the log ended without event={event} {fields}:\n{self.tail()}")
        return found

    def wait_any(self, events, start=0):
        """The index of the first line from `start` on that has one of the events."""
        at = start

        def find():
            nonlocal at
            while at < len(self.entries):
                if self.entries[at] and self.entries[at].get("event") in events:
                    return True
                at += 1
            return False

        with self.changed:
            if not self.changed.wait_for(lambda: find() or self.closed, HANG_SECONDS):
                raise AssertionError(f"none of {sorted(events)} came; log:\n{self.tail()}")
            if not find():
                raise AssertionError(f"the log ended without {sorted(events)}:\n{self.tail()}")
        return at

    def find_last(self, event, end):
        """The index of the last line before `end` that has the event, or -1."""
        while end > 0:
            end -= 1
            if matches(self.entries[end], event, {}):
                return end
        return -1

    def tail(self, count=25):
        return "\n".join(self.lines[-count:])


class Report:
    """What SIGUSR1 printed: .totals, .peers (by id), .vectors (by vector), .mail."""

    def __init__(self, entries):
        self.totals = next(e for e in entries if e["event"] == "report")
        self.peers = {int(e["id"]): e for e in entries if e["event"] == "report-peer"}
        self.vectors = {int(e["vector"]): int(e["rung"]) for e in entries
                        if e["event"] == "report-vector"}
        self.mail = {k: int(v) for e in entries if e["event"] == "report-mail"
                     for k, v in e.items() if v.isdigit()}

    def __getitem__(self, name):
        return int(self.totals[name])
