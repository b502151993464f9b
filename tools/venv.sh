#!/bin/bash
# Make a virtual environment of the first Python 3.10-3.13 found: tools/venv.sh FOLDER
# PYTHON=... chooses the interpreter.
set -euo pipefail

folder=$1

fail() {
    echo "depth_ros: $*" >&2
    exit 1
}

fits() {
    "$1" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.12 python3.11 python3.13 python3.10}; do
        if fits "$candidate"; then
            command -v "$candidate"
            return
        fi
    done
    fail "no Python 3.10 to 3.13 among: ${PYTHON:-python3 python3.12 python3.11 python3.13 python3.10}." \
        "Install one, or name it: make PYTHON=/path/to/python3.12 ..."
}

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || fail \
    "ROS 2 as Python wheels exists for Linux x86-64 alone, this is $(uname -s) $(uname -m):" \
    "install ROS 2 from its packages and use colcon (README.md)."

if [ -x "$folder/bin/python" ] && fits "$folder/bin/python" && "$folder/bin/python" -m pip --version >/dev/null 2>&1; then
    exit 0
fi

python=$(find_python)
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
rm -rf "$folder"
if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv "$folder"
elif "$python" -m virtualenv --version >/dev/null 2>&1; then
    "$python" -m virtualenv --quiet "$folder"
else
    fail "$python cannot make virtual environments. On Debian and Ubuntu:" \
        "sudo apt install python$version-venv"
fi
echo "depth_ros: made $folder with Python $version ($python)"
