"""Files that clients on this host hand over, to be copied to disks and from them."""
