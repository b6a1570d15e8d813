"""What a Linux guest needs: its modules, its initramfs, and a command in it."""
