#!/bin/busybox sh
# /sbin/init of a guest, in the initramfs and in images of `virtmesh guest image`. It runs a shell on
# the console, and the guest ends when the shell does; or, with virtmesh_login, log-ins, one after the
# other. The power button and Ctrl-Alt-Delete end the guest: a second process of this script waits.
end() {
    sync
    umount -a -r 2>/dev/null
    poweroff -f
}

if [ "$1" = await-power ]; then
    trap end INT
    # From now on the kernel sends SIGINT here for Ctrl-Alt-Delete, instead of rebooting at once.
    echo "$$" >/proc/sys/kernel/cad_pid
    echo 0 >/proc/sys/kernel/ctrl-alt-del
    if [ -d /sys/firmware/acpi ]; then
        mkdir -p /tmp/acpi/PWRF
        printf '#!/bin/busybox sh\nkill -INT %s\n' "$$" >/tmp/acpi/PWRF/00000080
        chmod +x /tmp/acpi/PWRF/00000080
        acpid -c /tmp/acpi -l /dev/null -p /tmp/acpid.pid
    fi
    while :; do
        sleep 3600 &
        wait "$!"
    done
fi

/bin/busybox --install -s /bin
export PATH=/sbin:/bin:/usr/sbin:/usr/bin HOME=/
[ -d /proc/self ] || mount -t proc proc /proc
[ -d /sys/block ] || mount -t sysfs sys /sys
[ -c /dev/console ] || mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
[ -z "$virtmesh_size" ] || stty rows "${virtmesh_size%x*}" columns "${virtmesh_size#*x}"
# Not by `&`: a shell ignores SIGINT in what it starts so.
start-stop-daemon -S -b -q -p /tmp/none -x /sbin/init -- await-power

echo "virtmesh guest: Linux $(uname -r), root on ${virtmesh_root:-RAM}; exit ends the guest"
if [ -n "$virtmesh_login" ]; then
    hostname virtmesh
    [ -e /etc/passwd ] || echo 'root::0:0:root:/:/bin/sh' >/etc/passwd
    [ -e /etc/group ] || echo 'root:x:0:' >/etc/group
    console=$(cat /sys/class/tty/console/active)
    while :; do
        setsid getty -L 0 "${console##* }" vt100
    done
fi
PS1='guest# ' setsid cttyhack sh
end
