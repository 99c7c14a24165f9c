"""vhost-user: front ends such as QEMU and user-mode Linux drive a device."""
