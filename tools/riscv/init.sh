#!/bin/sh
# /init of the riscv64 guest. It runs in busybox's shell, in the initramfs that initramfs.py makes.
#
# It loads the modules of virtmesh's devices, says what it found on lines that begin with "guest:",
# mounts an ext4 file system that is on /dev/vda on /mnt, and gives a shell on the console. When the
# shell ends, so does the machine, with a power-off.
# Parameters of the kernel: guest.mount=no leaves the disk alone, guest.then=poweroff (or reboot)
# does that instead of the shell.
PATH=/bin
export PATH
/bin/busybox --install -s /bin

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mount -t tmpfs tmpfs /run
mkdir -p /dev/pts
mount -t devpts devpts /dev/pts

say() { echo "guest: $*"; }

parameter() { # NAME: print the value of a parameter of the kernel
    sed -n "s/.*\\<guest\\.$1=\\([a-z]*\\).*/\\1/p" /proc/cmdline
}

leave() { # COMMAND: end the machine cleanly
    sync
    umount -a -r 2>/dev/null
    "$1" -f
}

load() { # LIST: load the modules that a file lists
    while read -r module; do
        insmod "/modules/$module.ko" || say "module $module does not load"
    done <"$1"
}

say "init"
load /modules/order
for device in $(cat /sys/bus/virtio/devices/*/device 2>/dev/null); do
    [ -e "/modules/order.$device" ] && load "/modules/order.$device"
done
say "modules are loaded"

for disk in /sys/block/vd*; do
    [ -e "$disk" ] && say "disk ${disk##*/} of $(cat "$disk/size") sectors"
done
for screen in /sys/class/graphics/fb[0-9]*; do
    [ -e "$screen" ] && say "screen ${screen##*/} of $(cat "$screen/virtual_size")"
done
for event in /sys/class/input/event*; do
    [ -e "$event" ] && say "input ${event##*/} is $(cat "$event/device/name")"
done
if [ "$(parameter mount)" != no ] && [ -b /dev/vda ]; then
    if mount -t ext4 /dev/vda /mnt 2>/dev/null; then
        say "/dev/vda is mounted on /mnt"
    else
        say "/dev/vda has no ext4 file system"
    fi
fi

then=$(parameter then)
say "ready"
if [ -z "$then" ]; then
    export PS1='guest# ' HOME=/root TERM=vt100
    cd /root || :
    # A session of its own, with the console as its terminal: Ctrl-C works.
    setsid -c sh </dev/console >/dev/console 2>&1
    then=poweroff
fi
say "$then"
leave "$then"
