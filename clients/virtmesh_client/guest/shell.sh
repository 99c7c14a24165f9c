#!/bin/busybox sh
# /sbin/init of a guest, in the initramfs and in images of `virtmesh guest image`. It runs a shell on
# the console, and the guest ends when the shell does; or, with virtmesh_login, log-ins, one after the
# other. The power button and Ctrl-Alt-Delete end the guest.
/bin/busybox --install -s /bin
export PATH=/sbin:/bin:/usr/sbin:/usr/bin HOME=/
[ -d /proc/self ] || mount -t proc proc /proc
[ -d /sys/block ] || mount -t sysfs sys /sys
[ -c /dev/console ] || mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
[ -z "$virtmesh_size" ] || stty rows "${virtmesh_size%x*}" columns "${virtmesh_size#*x}"

end() {
    sync
    umount -a -r 2>/dev/null
    poweroff -f
}

# The kernel sends SIGINT to this process for Ctrl-Alt-Delete, instead of rebooting at once.
trap end INT
echo 0 >/proc/sys/kernel/ctrl-alt-del
# acpid takes the power button.
if [ -d /sys/firmware/acpi ]; then
    mkdir -p /tmp/acpi/PWRF
    printf '#!/bin/busybox sh\nkill -INT 1\n' >/tmp/acpi/PWRF/00000080
    chmod +x /tmp/acpi/PWRF/00000080
    acpid -c /tmp/acpi -l /dev/null -p /tmp/acpid.pid 2>/dev/null
fi

echo "virtmesh guest: Linux $(uname -r), root on ${virtmesh_root:-RAM}; exit ends the guest"
# A trap waits for a command in the foreground, so these run in the background. Their standard input
# is named, since it would be empty otherwise.
exec 5<&0
if [ -n "$virtmesh_login" ]; then
    hostname virtmesh
    [ -e /etc/passwd ] || echo 'root::0:0:root:/:/bin/sh' >/etc/passwd
    [ -e /etc/group ] || echo 'root:x:0:' >/etc/group
    console=$(cat /sys/class/tty/console/active)
    while :; do
        setsid getty -L 0 "${console##* }" vt100 &
        wait "$!"
    done
fi
PS1='guest# ' setsid cttyhack sh <&5 &
wait "$!"
end
