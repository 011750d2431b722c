#!/bin/sh
# Installs the Debian packages that the tests and benchmarks compare Pemu with: as root on Debian or
# Ubuntu; elsewhere it says what is missing, and the tests that need it are skipped.
set -eu

packages="
qemu-user qemu-system-mips qemu-utils gdb-multiarch
libnbd-bin nbdkit python3-libnbd openssl socat strace user-mode-linux
e2fsprogs xfsprogs ntfs-3g dosfstools mtools genisoimage
gcc libc6-dev binutils-mips-linux-gnu
gcc-mips-linux-gnu g++-mips-linux-gnu libc6-dev-mips-cross
gcc-mipsel-linux-gnu g++-mipsel-linux-gnu libc6-dev-mipsel-cross
gcc-mips64-linux-gnuabi64 libc6-dev-mips64-cross
gcc-mips64el-linux-gnuabi64 libc6-dev-mips64el-cross
"

if ! command -v dpkg-query >/dev/null; then
    echo "not a Debian system: tests that need qemu, gdb-multiarch, tools for disk images or cross" \
        "compilers for MIPS are skipped where those are missing"
    exit 0
fi

# One look at dpkg's list; a name that is neither installed nor known counts as missing.
installed=$(dpkg-query -W -f='${Package} ${db:Status-Status}\n' $packages 2>/dev/null || true)
missing=
for package in $packages; do
    case "$installed" in
    *"$package installed"*) ;;
    *) missing="$missing $package" ;;
    esac
done
[ -z "$missing" ] && exit 0

if [ "$(id -u)" != 0 ]; then
    echo "not installed, so some tests are skipped; as root: apt-get install$missing"
    exit 0
fi
echo "installing$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -q >/dev/null || echo "apt-get update failed; trying with the lists there are"
known=
for package in $missing; do
    if apt-cache show "$package" >/dev/null 2>&1; then
        known="$known $package"
    else
        echo "no package $package here: tests that need it are skipped"
    fi
done
[ -z "$known" ] && exit 0
if ! apt-get install -qy --no-install-recommends -o DPkg::Lock::Timeout=300 $known >/dev/null; then
    echo "apt-get install failed: tests that need what is missing are skipped"
fi
