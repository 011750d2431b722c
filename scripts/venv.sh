#!/bin/sh
# Makes .venv with Pemu in it (editable), and with the given extra: venv.sh [test].
# Done again only when pyproject.toml, the place of the tree or the Python under it has changed.
set -eu
cd "$(dirname "$0")/.."

extra=${1:-}
what=".${extra:+[$extra]}"
stamp=".venv/.installed${extra:+-$extra}"
state="$(pwd) $(cksum <pyproject.toml)"

works() { # whether $1 is a Python that Pemu runs on
    "$1" -I -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$state" ] && works .venv/bin/python; then
    exit 0
fi

python=
for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
    if works "$candidate"; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "venv.sh: no Python 3.11 or newer was found; install one, or name it: make PYTHON=..." >&2
    exit 1
fi
if ! "$python" -I -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        apt-get update -q && apt-get install -qy python3-venv
    else
        echo "venv.sh: $python lacks the venv module; install it (Debian: python3-venv)" >&2
        exit 1
    fi
fi

# A tree that was moved has wrong paths in its scripts, so it starts anew.
if ! works .venv/bin/python || [ "$(cat .venv/.place 2>/dev/null)" != "$(pwd)" ]; then
    rm -rf .venv
    "$python" -m venv .venv
    pwd >.venv/.place
fi
echo "installing $what into .venv"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable "$what"
echo "$state" >"$stamp"
