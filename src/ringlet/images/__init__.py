"""The images that ringlet makes: an initramfs for a Linux guest."""
