#!/bin/busybox sh
# The first process of a guest, in the initramfs. It loads kernel modules. Then it switches to the
# disk that $virtmesh_root names, or stays in RAM. The kernel passes its parameters as variables.
/bin/busybox --install -s /bin
export PATH=/sbin:/bin:/usr/sbin:/usr/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev

for module in /modules/*.ko; do
    insmod "$module" || echo "virtmesh guest: can't load $module"
done

root=
if [ -n "$virtmesh_root" ]; then
    disk=/dev/$virtmesh_root
    tries=0
    until [ -b "$disk" ] || [ "$tries" -eq 100 ]; do
        tries=$((tries + 1))
        sleep 0.1
    done
    if mount "$disk" /root 2>/dev/null && [ -x /root/sbin/init ]; then
        root=/root
    else
        umount /root 2>/dev/null
        unset virtmesh_root
    fi
fi

[ -z "$virtmesh_script" ] || stty -onlcr
# The runner waits for this line (console.py). Before it, no program reads the console.
echo "virtmesh guest: booted"
if [ -n "$disk" ] && [ -z "$root" ]; then
    echo "virtmesh guest: $disk has no root file system (virtmesh guest image makes one)"
fi
if [ -n "$virtmesh_script" ]; then
    exec /sbin/script "$root"
elif [ -n "$root" ]; then
    umount /dev /sys /proc
    exec switch_root /root /sbin/init
fi
exec /sbin/init
