#!/bin/sh
# Every benchmark, one after the other. Usage: tools/bench.sh BIN
set -eu
cd "$(dirname "$0")/.."
for script in benchmarks/bench_*.py; do
    echo "== $script"
    "$1/python" "$script"
done
