#!/bin/bash
# SPDX-License-Identifier: MIT
#
# tidy.sh BUILD_DIR - clang-tidy over every C file that BUILD_DIR compiles, on all cores.
#
# It takes minutes: how far it is goes to descriptor 3, if that is open.

set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
{ true >&3; } 2>/dev/null || exec 3>/dev/null

files=() failed=0
while read -r file; do
	if grep -qF "\"file\": \"$PWD/$file\"" "$1/compile_commands.json"; then
		files+=("$file")
	fi
done < <(git ls-files '*.c')
for ((at = 0; at < ${#files[@]}; at += 16)); do
	printf '# clang-tidy: %d of %d files\n' "$at" "${#files[@]}" >&3
	printf '%s\0' "${files[@]:at:16}" |
		xargs -0 -P "$(nproc)" -n 2 clang-tidy --quiet -p "$1" || failed=1
done
((${#files[@]} > 0 && failed == 0))
