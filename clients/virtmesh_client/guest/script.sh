#!/bin/busybox sh
# Runs /script with the root file system $1, and ends the guest. Output and exit status have serial
# lines of their own, $virtmesh_script names them; the console has the errors.
root=$1 output=/dev/${virtmesh_script%,*} status=/dev/${virtmesh_script#*,}
exec 3>"$output" 4>"$status"
stty raw -F "$output"
stty raw -F "$status"
if [ -n "$root" ]; then
    for folder in proc sys dev; do
        mount -o bind "/$folder" "$root/$folder"
    done
    # An image of `virtmesh guest image` has its commands from its first boot on.
    [ -x "$root/bin/sh" ] || chroot "$root" /bin/busybox --install -s /bin
fi
mount -t tmpfs tmp "$root/tmp"

HOME=/ chroot "$root/" /bin/sh </script >&3 3>&- 4>&-
result=$?
# Closing a line waits until all of it is out.
exec 3>&-
echo "$result" >&4
exec 4>&-
sync
# That it halts is no error.
echo 0 >/proc/sys/kernel/printk
umount -a -r 2>/dev/null
poweroff -f
