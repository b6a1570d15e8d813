"""Runs a command in a machine that QEMU emulates, for hosts without a real KVM.

Some hosts have no /dev/kvm, or a KVM that can't run stock kernels. The emulated machine has a KVM
that can. QEMU's emulator is slow (a process starts about twenty times slower), but it is exact.

    session.py   a run from start to end
    config.py    the configuration of a run
    kernel.py    finds a Linux kernel with the modules that the machine needs
    packages.py  fetches such a kernel from the distribution
    qemu.py      QEMU's command line and process
    plan.py      the plan for the machine's init
    parts.py     the machine's log, and its control connection
"""
