"""A host without a KVM."""

# A /dev with the devices that programs expect, and no kvm.
NO_KVM_BUT_THE_REST = """
mount -t tmpfs none /mnt
for name in null zero full random urandom tty; do
    touch /mnt/$name; mount --bind /dev/$name /mnt/$name
done
ln -s /proc/self/fd /mnt/fd; mkdir /mnt/shm /mnt/pts
mount --rbind /mnt /dev"""
