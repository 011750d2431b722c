#!/bin/sh
# Runs the shipped MIPS busybox: demo.sh PEMU command|shell. The command is $DEMO, if set.
set -eu
pemu=$1
mode=$2
demo=$(dirname "$0")/../demo
place=$(dirname "$pemu")/../demo

mkdir -p "$place/bin"
if [ ! -x "$place/busybox" ] || [ "$demo/busybox-mips.xz" -nt "$place/busybox" ]; then
    "$(dirname "$pemu")/python" -I -c '
import lzma, os, sys
packed, unpacked = sys.argv[1:]
with lzma.open(packed) as source, open(unpacked + ".new", "wb") as target:
    target.write(source.read())
os.chmod(unpacked + ".new", 0o755)
os.replace(unpacked + ".new", unpacked)
' "$demo/busybox-mips.xz" "$place/busybox"
fi
place=$(cd "$place" && pwd)
if [ ! -e "$place/bin/sh" ]; then
    # Busybox itself, run by Pemu, makes a link for each of its commands.
    "$pemu" "$place/busybox" --install -s "$place/bin"
fi

export PATH="$place/bin:$PATH"
if [ "$mode" = shell ]; then
    if [ ! -t 0 ]; then
        echo "demo-shell: standard input is not a terminal; use make demo DEMO='a command'" >&2
        exit 1
    fi
    echo "A shell of MIPS programs (leave it with exit):"
    exec "$pemu" "$place/bin/sh"
fi
default='
echo "This shell is a $(uname -m) program, big-endian: $(printf "\001\002\003\004" | hexdump -e "1/4 \"%08x\"")"
echo "It was started by process $PPID of the host and is process $$."
echo "Its commands are MIPS programs, too:"
ls -l "$(which sort)"
seq 1 10 | awk "{ sum += \$1 * \$1 } END { print \"sum of squares up to 10:\", sum }"
echo "pemu runs foreign programs" | tr a-z A-Z | md5sum
'
command=${DEMO:-$default}
[ -n "${DEMO:-}" ] || echo "$ pemu-mips busybox sh -c '$command'"
exec "$pemu" "$place/bin/sh" -c "$command"
