# SPDX-License-Identifier: MIT
"""fabric_base.py - what all of fabric.py stands on: how long to wait, what the command line
chose, and how a peer or a test ends.
"""

import os
import re

# Hang guards; nothing is judged by them. A control that must fail may fail sooner.
HANG_SECONDS = int(os.environ.get("FAMEZ_TEST_HANG", "60"))
ID_MAX = 65535
SIOCOUTQ = 0x5411

# A broker sees this process as a device with the one, as a plain client with the other.
AS_DEVICES = ["--device-names", "python3*,qemu-fake"]
AS_PLAIN = ["--leaves", "auto"]

SANITIZER = re.compile(
    r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|UndefinedBehaviorSanitizer|runtime error:"
    r"|Assertion .* failed"
)


class Settings:
    """What the command line of a test script chose."""

    server = os.environ.get("FAMEZ_SERVER", "")
    workers = None  # None: the broker's default
    naive = False  # the server only takes -F -S -l -n


settings = Settings()


class Refused(Exception):
    """The server sent a version other than 0."""


class Gone(Exception):
    """The server closed our connection."""


class Skip(Exception):
    """Raised by a test that cannot run here; the message says why."""


class Hang(BaseException):
    """A test took so long that it can only hang."""
