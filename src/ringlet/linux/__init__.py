"""What a Linux guest needs: an initramfs, modules, a command in it, a KVM that can run it."""
