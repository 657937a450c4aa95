#!/usr/bin/env bash
# Copyright The offload Authors.
# SPDX-License-Identifier: Apache-2.0
#
# usage: integration/fuzz/run.sh FUZZTIME [ONLY]
#
# Runs every fuzz test of the module in turn, each for FUZZTIME: a duration (30s) or a number of inputs (300x). ONLY is a
# regular expression on "directory FuzzName". Each prints a line; one that fails prints its output too, and the next ones
# run all the same. What fails is written to testdata/fuzz of its package, as go test does, and is a test from then on.
# Inputs that reach new code are kept in build/fuzz and are where the next run begins.
set -euo pipefail
time=${1:?FUZZTIME} only=${2:-}
cd "$(dirname "$0")/../.."
root=$PWD
module=$(go list -m)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# fuzz runs one target of the test binary in the package's directory.
fuzz() {
  local dir=$1 target=$2 began=$SECONDS status=0 last
  (cd "$dir" && "$scratch/test" -test.run '^$' -test.fuzz "^$target\$" -test.fuzztime "$time" \
    -test.fuzzcachedir "$root/build/fuzz/$dir") >"$scratch/out" 2>&1 || status=$?
  last=$(sed -n 's/^fuzz: elapsed: [^,]*, execs: \([0-9]*\) .*new interesting: \([0-9]*\).*/\1 inputs, \2 of them new/p' "$scratch/out" | tail -n 1)
  if [ "$status" -eq 0 ]; then
    printf 'ok    %-32s %-22s %4d s  %s\n' "$dir" "$target" $((SECONDS - began)) "$last"
    return
  fi
  printf 'FAIL  %-32s %-22s %4d s\n' "$dir" "$target" $((SECONDS - began))
  sed 's/^/      /' "$scratch/out"
  failed+=("$dir $target")
}

failed=() ran=0
for dir in $(git grep -lE '^func Fuzz[A-Z]' -- '*_test.go' | xargs -n 1 dirname | sort -u); do
  # The names are known before anything is built, so that ONLY is quick.
  grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | sed "s|^func |$dir |" | grep -E -- "$only" >"$scratch/targets" || continue
  # With -fuzz the binary counts which code an input reaches.
  if ! go test -c -fuzz=. -o "$scratch/test" "$module/$dir" >"$scratch/out" 2>&1; then
    printf 'FAIL  %s does not build\n' "$dir"
    sed 's/^/      /' "$scratch/out"
    failed+=("$dir")
    continue
  fi
  while read -r _ target; do
    ran=$((ran + 1))
    fuzz "$dir" "$target"
  done <"$scratch/targets"
done
if [ "$ran" -eq 0 ]; then
  echo "fuzz: no target matches '$only'" >&2
  exit 1
fi
if [ "${#failed[@]}" -gt 0 ]; then
  printf 'fuzz: of %d targets these failed:\n' "$ran" >&2
  printf '  %s\n' "${failed[@]}" >&2
  exit 1
fi
echo "fuzz: $ran targets, none failed"
