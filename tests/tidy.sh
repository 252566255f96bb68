#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tidy.sh BUILD_DIR - clang-tidy over every C file that BUILD_DIR compiles, on all cores.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
git ls-files '*.c' |
	while read -r file; do
		grep -qF "\"file\": \"$PWD/$file\"" "$1/compile_commands.json" && printf '%s\0' "$file"
	done |
	xargs -0 -P "$(nproc)" -n 4 clang-tidy --quiet -p "$1"
