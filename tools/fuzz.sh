#!/bin/sh
# Runs every fuzz target of a fuzz build for SECONDS each, starting from the seeds in tests/fuzz.
#   cmake --preset fuzz && ninja -C build/fuzz && tools/fuzz.sh 60
# What is found lies in BUILD/found; replay it with BUILD/fuzz_NAME FILE.
set -eu

seconds=${1:?usage: tools/fuzz.sh SECONDS [BUILD]}
root=$(cd "$(dirname "$0")/.." && pwd)
build=${2:-$root/build/fuzz}

ran=0
mkdir -p "$build/found"
for target in "$build"/fuzz_*; do
  [ -f "$target" ] && [ -x "$target" ] || continue
  name=${target##*/fuzz_}
  corpus=$build/corpus/$name
  seeds=$root/tests/fuzz/$name
  mkdir -p "$corpus"
  [ -d "$seeds" ] || { echo "fuzz.sh: no seeds for $name in tests/fuzz/$name" >&2; exit 1; }
  echo "== $name, $seconds s"
  # New inputs go to the first folder, the seeds stay as they are.
  "$target" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=1024 \
    -print_final_stats=1 -verbosity=0 -artifact_prefix="$build/found/$name-" "$corpus" "$seeds"
  ran=$((ran + 1))
done
[ "$ran" -gt 0 ] || { echo "fuzz.sh: no fuzz target in $build" >&2; exit 1; }
echo "$ran fuzz targets, $seconds s each, nothing found"
