# SPDX-License-Identifier: MIT
"""Where the next walls stand: measured curves carried on, and limits that others set.

A limit has its source beside it, and a projection its arithmetic. One vector each throughout.
"""

import math

from . import figures, scale_tables

SYSTEM = "famez-1"
GOAL = 60000

# Limits of others, with their sources.
IDS = 65536             # ivshmem-spec, "Doorbell" register: the peer in bits 16 to 31
NR_OPEN = 1048576       # proc(5), fs.nr_open: a process's descriptors, unless raised
LIBVIRT_NOFILE = 8192   # LimitNOFILE= of libvirtd.service in Debian 12
SOFT_NOFILE = 1024      # the usual soft limit (setrlimit(2))
QEMU_OWN = 64           # descriptors of a QEMU besides, as famez-server reckons (--check)
SOCKET_MESSAGES = 278   # that an unread UNIX socket takes (measured; docs/wire.md)
POINTER_BYTES = 8       # of a slot in a process's table of descriptors (struct fdtable)
LANE_BYTES = 4096       # the least lane that --check gives: a page
BAR2_40 = 256 << 30     # the largest that a Linux guest maps with 40 physical bits (measured)
QEMU_ID_BYTES = 48      # of QEMU's array, for each ID, at 4 vectors (hw/misc/ivshmem.c)
TOLD_GOAL_S = 1.0       # a join that takes everyone longer than that is one to complain of


def power_of_two(value):
    return 1 << math.ceil(math.log2(value))


def human(value, unit="B"):
    for prefix in ("", "Ki", "Mi", "Gi", "Ti"):
        if abs(value) < 1024 or prefix == "Ti":
            return f"{value:.3g} {prefix}{unit}"
        value /= 1024
    return None


def seconds(value):
    if value < 1:
        return f"{value * 1e3:.3g} ms"
    return f"{value:.3g} s" if value < 600 else f"{value / 3600:.3g} h"


def notice_us(page):
    """CPU of the broker a notice while the crowd grows to its largest, and how large that is."""
    runs = [run for run in scale_tables.mine(page.runs) if run["system"] == SYSTEM
            and run.get("grow_notices")]
    if not runs:
        return None, 0
    most = max(run["clients"] for run in runs)
    return figures.of([run for run in runs if run["clients"] == most],
                      lambda run: run["grow_cpu_ns"] / run["grow_notices"] / 1e3).median(), most


def last(page, name):
    """(peers, median) of a curve's last point."""
    return max(scale_tables.medians(page.runs, name, SYSTEM), default=(0, None))


def measured(page):
    """Are there two points of each curve, so that there is a line to carry on?"""
    return all(scale_tables.line(page.runs, name, SYSTEM) for name in scale_tables.CURVES)


def curves_beyond(page):
    """What the straight lines say of 10,000 and 60,000 peers."""
    if not measured(page):
        return []
    rows = []
    for name, (title, unit, _, _, design) in scale_tables.CURVES.items():
        if not design:
            continue
        peers, value = last(page, name)
        ahead = [f"{scale_tables.project(page.runs, name, SYSTEM, n):,.4g}"
                 for n in (10000, GOAL)]
        rows.append([f"{title}{', ' + unit if unit else ''}", f"{value:,.4g} at {peers:,}",
                     page.curve(name, SYSTEM, "exponent"), *ahead])
    return figures.table(["curve", "measured", "exponent", "10,000 peers", "60,000 peers"], rows)


def walls(page):
    """Row by row: what runs out, by which arithmetic, where, and what moves it."""
    if not measured(page):
        return []
    us, most = notice_us(page)
    join = scale_tables.line(page.runs, "join-told", SYSTEM)
    kernel = scale_tables.project(page.runs, "kernel", SYSTEM, GOAL) * 2 ** 20
    own = scale_tables.project(page.runs, "memory", SYSTEM, GOAL) * 2 ** 20
    broker = scale_tables.line(page.runs, "descriptors", SYSTEM)
    table = power_of_two(GOAL + QEMU_OWN) * POINTER_BYTES
    lanes = power_of_two(GOAL ** 2 * LANE_BYTES)
    rows = [
        ["descriptors of a QEMU, soft limit", f"{SOFT_NOFILE} - {QEMU_OWN}, one a peer",
         f"{SOFT_NOFILE - QEMU_OWN:,}", "`ulimit -n`; the broker holds back what would not fit"],
        ["a join is heard of by all within a second",
         f"({TOLD_GOAL_S * 1e3:.0f} {-join[0]:+.3g}) / {join[1]:.3g} ms",
         f"{(TOLD_GOAL_S * 1e3 - join[0]) / join[1]:,.0f}", "zones; more workers do not"],
        ["descriptors of a QEMU, libvirt's limit", f"{LIBVIRT_NOFILE} - {QEMU_OWN}",
         f"{LIBVIRT_NOFILE - QEMU_OWN:,}",
         "`LimitNOFILE=`; a shared eventfd for all peers of a zone or host"],
        ["lanes in the memory that a guest with 40 physical bits maps",
         f"sqrt({human(BAR2_40)} / {human(LANE_BYTES)})",
         f"{math.isqrt(BAR2_40 // LANE_BYTES):,}",
         "`-cpu ...,phys-bits=46` (64 times the memory, 8 times the peers); lanes only within "
         "zones"],
        ["IDs", "16 bits of the doorbell register", f"{IDS:,}", "another fabric; a gateway"],
        ["descriptors of the broker, one vector", f"({NR_OPEN:,} - {broker[0]:.0f}) / "
         f"{broker[1]:.2f}", f"{(NR_OPEN - broker[0]) / broker[1]:,.0f}", "`fs.nr_open`"],
        ["... and so many vectors at 60,000", f"({NR_OPEN:,} - 60,000) / 60,000",
         f"{(NR_OPEN - GOAL) // GOAL} vectors", "`fs.nr_open`"],
    ]
    mesh = GOAL ** 2 * us / 1e6
    rows.sort(key=lambda row: float(row[2].split()[0].replace(",", ""))
              if row[0][0] != "." else 1e9)
    yield from figures.table(["what runs out", "arithmetic", "at so many peers", "what moves it"],
                             rows)
    yield ""
    yield "What 60,000 peers would take, where nothing runs out:"
    yield ""
    yield from figures.table(["what", "arithmetic", "at 60,000", "what moves it"], [
        ["announcements until all know all", f"60,000² x {us:.2f} us of CPU a notice (measured "
         f"while growing to {most:,})", seconds(mesh),
         "zones: k zones, 1/k of it; remote peers, below"],
        ["one more join, all told", f"60,000 x {join[1]:.3g} {join[0]:+.3g} ms",
         seconds((join[0] + GOAL * join[1]) / 1e3), "zones"],
        ["the broker's memory", "straight line (performance.md), and 60,000²/8 bytes for who holds whom",
         human(own), "zones, if a zone's bits were all that it kept"],
        ["the kernel's memory for sockets and eventfds", "straight line", human(kernel), "-"],
        ["tables of descriptors of 60,000 QEMUs", f"60,000 x {power_of_two(GOAL + QEMU_OWN):,} "
         f"slots x {POINTER_BYTES} B", human(GOAL * table),
         "shared eventfds: one a zone or host"],
        ["descriptors in flight, if nobody read", f"60,000 x {SOCKET_MESSAGES}",
         f"{GOAL * SOCKET_MESSAGES:,}", f"back-pressure at the sender's limit ({NR_OPEN:,} at "
         "most), no loss; root is not held to it"],
        ["QEMU's table of peers, each QEMU", f"60,000 x {QEMU_ID_BYTES} B",
         human(GOAL * QEMU_ID_BYTES), "-"],
        ["file of lanes, sparse", f"60,000² x {human(LANE_BYTES)}, as a power of two",
         human(lanes), "lanes only within zones"],
    ])


def clusters(page):
    """60,000 peers on several hosts, with one descriptor for each remote host."""
    if not measured(page):
        return []
    us, _ = notice_us(page)
    rows = []
    for hosts in (1, 4, 15, 60):
        local = GOAL // hosts
        rows.append([
            hosts, f"{local:,}", f"{local + hosts - 1:,}", seconds(local ** 2 * us / 1e6),
            seconds(scale_tables.project(page.runs, "join-told", SYSTEM, local) / 1e3),
            human(power_of_two(local ** 2 * LANE_BYTES)),
            human(local * power_of_two(local + hosts + QEMU_OWN) * POINTER_BYTES)])
    return figures.table(["hosts", "peers each", "descriptors of a VM", "all know all, CPU a host",
                          "a join, all told", "lanes, sparse, a host", "tables of descriptors"],
                         rows)
