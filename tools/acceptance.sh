#!/bin/sh
# The tests that prove what must work, and docs/acceptance.md from their results. Usage: tools/acceptance.sh BIN
set -u
cd "$(dirname "$0")/.."
results=$(mktemp)
trap 'rm -f "$results"' EXIT
"$1/python" -m pvdrace.lab "$1/python" -m pytest -n 4 -m row --junitxml="$results"
status=$?
# A run that failed has its results too; one that could not start has none.
PYTHONPATH=tests "$1/python" -m acceptance "$results" || exit 1
exit $status
