#!/bin/sh
# Runs what is in demo/: demo.sh DIRECTORY MODE. The directory is that of the pemu commands.
#   program  a shell command in the MIPS busybox, $DEMO if that is set
#   shell    the same busybox as an interactive shell
#   machine  a MIPS machine with Linux: its shell, or a command where nobody is at a terminal
set -eu
commands=$1
mode=$2
demo=$(dirname "$0")/../demo
place=$commands/../demo
mkdir -p "$place/bin"

if [ "$mode" = machine ]; then
    set -- "$commands/pemu-system-mips" -M malta -m 128 -nographic \
        -kernel "$demo/vmlinux-mips.gz" -initrd "$demo/initramfs-mips.cpio.gz"
    words="console=ttyS0 guest.nodhcp"
    echo
    if [ -t 0 ]; then
        echo "A MIPS Malta board boots Linux to a shell; try cat /proc/cpuinfo, cpubench 10, top."
        echo "Leave it with exit, which powers the machine off, or at any time with Ctrl-A x."
        echo "(Ctrl-A c leads to the emulator's monitor and back, Ctrl-A h lists more keys.)"
        echo "$ pemu-system-mips -M malta -kernel vmlinux-mips.gz -initrd initramfs-mips.cpio.gz" \
            "-append '$words' -nographic"
        exec "$@" -append "$words"
    fi
    echo "A MIPS Malta board boots Linux, runs a command and powers off. (At a terminal, it gives"
    echo "a shell instead.)"
    command="uname -a; grep -e system -e model /proc/cpuinfo; cpubench 2"
    encoded=$(printf %s "$command" | sed 's/ /%20/g')
    "$@" -append "$words quiet guest.cmd=$encoded" </dev/null 2>&1 | tee "$place/log"
    tr -d '\r' <"$place/log" | grep -q '^guest: cmd end 0$' || {
        echo "demo.sh: the command has not run" >&2
        exit 1
    }
    exit 0
fi

if [ ! -x "$place/busybox" ] || [ "$demo/busybox-mips.xz" -nt "$place/busybox" ]; then
    "$commands/python" -I -c '
import lzma, os, sys
packed, unpacked = sys.argv[1:]
with lzma.open(packed) as source, open(unpacked + ".new", "wb") as target:
    target.write(source.read())
os.chmod(unpacked + ".new", 0o755)
os.replace(unpacked + ".new", unpacked)
' "$demo/busybox-mips.xz" "$place/busybox"
fi
place=$(cd "$place" && pwd)
pemu=$commands/pemu-mips
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
