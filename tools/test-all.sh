#!/bin/sh
# The tests on every Python found, 3.11 to 3.13, each in a virtual environment of its own.
set -eu
cd "$(dirname "$0")/.."
status=0
seen=""
for version in 3.11 3.12 3.13; do
    python=""
    for candidate in "python$version" "$HOME"/.pyenv/versions/"$version".*/bin/python3; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        echo "test-all: Python $version: not found"
        continue
    fi
    seen="$seen $version"
    echo "test-all: Python $version: $python"
    PYTHON=$python tools/setup.sh ".venv-$version" test
    ".venv-$version/bin/python" -m pvdrace.lab ".venv-$version/bin/python" -m pytest -q -n 4 || status=1
done
if [ -z "$seen" ]; then
    echo "test-all: no Python from 3.11 to 3.13 was found, so nothing was tested" >&2
    exit 1
fi
echo "test-all: ran on$seen"
exit $status
