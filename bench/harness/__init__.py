# SPDX-License-Identifier: MIT
"""What bench/compare measures with and bench/report writes with. Nothing but Python's library."""
