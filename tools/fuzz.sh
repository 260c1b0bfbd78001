#!/bin/sh
# Runs every fuzz target of the asan build for SECONDS each, two at a time, starting from the seeds
# in tests/fuzz.
#   cmake --preset asan && ninja -C build/asan fuzzers && tools/fuzz.sh 60
# What is found lies in BUILD/found; replay it with BUILD/fuzz_NAME FILE.
set -eu

seconds=${1:?usage: tools/fuzz.sh SECONDS [BUILD]}
root=$(cd "$(dirname "$0")/.." && pwd)
build=${2:-$root/build/asan}

# One target to its end; what it says goes out in one piece.
if [ "${3:-}" ]; then
  target=$3
  name=${target##*/fuzz_}
  corpus=$build/corpus/$name
  seeds=$root/tests/fuzz/$name
  log=$build/found/$name.log
  mkdir -p "$corpus"
  [ -d "$seeds" ] || { echo "fuzz.sh: no seeds for $name in tests/fuzz/$name" >&2; exit 1; }
  status=0
  # New inputs go to the first folder, the seeds stay as they are.
  "$target" -max_total_time="$seconds" -max_len=4096 -timeout=25 -rss_limit_mb=1024 \
    -print_final_stats=1 -verbosity=0 -artifact_prefix="$build/found/$name-" \
    "$corpus" "$seeds" >"$log" 2>&1 || status=1
  printf '== %s, %s s\n%s\n' "$name" "$seconds" "$(cat "$log")"
  exit "$status"
fi

mkdir -p "$build/found"
targets=$(find "$build" -maxdepth 1 -type f -perm -u+x -name 'fuzz_*' | sort)
[ "$targets" ] || { echo "fuzz.sh: no fuzz target in $build" >&2; exit 1; }
printf '%s\n' "$targets" | xargs -P 2 -I{} "$0" "$seconds" "$build" {}
echo "$(printf '%s\n' "$targets" | wc -l) fuzz targets, $seconds s each, nothing found"
