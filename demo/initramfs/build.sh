#!/bin/sh
# Makes initramfs-mips.cpio.gz in the current directory, which is empty at first. As root, for the
# device nodes. BUSYBOX is the unpacked source package. On Debian 12 it needs gcc-mips-linux-gnu,
# libc6-dev-mips-cross, qemu-user and cpio.
set -e
: "${BUSYBOX:?}"
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p busybox root
cp "$here/../config-busybox-mips" busybox/.config
make -s -C "$BUSYBOX" O="$PWD/busybox" ARCH=mips CROSS_COMPILE=mips-linux-gnu- oldconfig </dev/null
make -s -C "$BUSYBOX" O="$PWD/busybox" ARCH=mips CROSS_COMPILE=mips-linux-gnu- busybox

cp -a "$here/rootfs/." root/
for directory in bin sbin usr/bin usr/sbin proc sys dev tmp run mnt root opt etc lib var/log \
    var/spool/cron; do
    mkdir -p "root/$directory"
done
chmod 1777 root/tmp
chmod 700 root/root
chmod 600 root/etc/shadow
chmod 755 root/init
ln -sf /run root/var/run
ln -sf /proc/mounts root/etc/mtab
install -m 755 busybox/busybox root/bin/busybox
qemu-mips busybox/busybox --list-full | grep -v -e '^bin/busybox$' -e '^linuxrc$' |
    while read -r applet; do
        mkdir -p "root/$(dirname "$applet")"
        ln -sf /bin/busybox "root/$applet"
    done
for program in cpubench fpbench iobench netbench; do
    mips-linux-gnu-gcc -O2 -Wall -ffp-contract=off -static -s -Wl,-z,noexecstack \
        -o "root/usr/bin/$program" "$here/$program.c" -lm
done
mknod -m 600 root/dev/console c 5 1
mknod -m 666 root/dev/null c 1 3
(cd root && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --reproducible --quiet | gzip -9n) \
    >initramfs-mips.cpio.gz
