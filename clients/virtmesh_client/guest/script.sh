#!/bin/busybox sh
# Runs /script in the root file system $1, and ends the guest. The output and the exit status go to
# two serial lines that $virtmesh_script names. Standard error goes to the console.
root=$1 output=/dev/${virtmesh_script%,*} status=/dev/${virtmesh_script#*,}
exec 3>"$output" 4>"$status"
stty raw -F "$output"
stty raw -F "$status"
if [ -n "$root" ]; then
    for folder in proc sys dev; do
        mount -o bind "/$folder" "$root/$folder"
    done
    # An image of `virtmesh guest image` gets its commands at its first boot.
    [ -x "$root/bin/sh" ] || chroot "$root" /bin/busybox --install -s /bin
fi
mount -t tmpfs tmp "$root/tmp"

HOME=/ chroot "$root/" /bin/sh </script >&3 3>&- 4>&-
result=$?
# Closing a line waits until all of its output is sent.
exec 3>&-
echo "$result" >&4
exec 4>&-
sync
# The kernel need not report that it halts.
echo 0 >/proc/sys/kernel/printk
umount -a -r 2>/dev/null
poweroff -f
