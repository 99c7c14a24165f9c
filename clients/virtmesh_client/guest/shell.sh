#!/bin/busybox sh
# /sbin/init of a guest, in the initramfs and in images of `virtmesh guest image`. It runs a shell on
# the console. The guest ends when the shell does.
/bin/busybox --install -s /bin
export PATH=/sbin:/bin:/usr/sbin:/usr/bin HOME=/
[ -d /proc/self ] || mount -t proc proc /proc
[ -d /sys/block ] || mount -t sysfs sys /sys
[ -c /dev/console ] || mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
[ -z "$virtmesh_size" ] || stty rows "${virtmesh_size%x*}" columns "${virtmesh_size#*x}"

echo "virtmesh guest: Linux $(uname -r), root on ${virtmesh_root:-RAM}; exit ends the guest"
PS1='guest# ' setsid cttyhack sh
sync
umount -a -r 2>/dev/null
poweroff -f
