"""Runs a command in a machine that QEMU emulates, for hosts without a real KVM.

Where the host has no /dev/kvm, or only one that can't run stock kernels, this is one that can.
QEMU's emulator is slow (a process starts some twenty times slower), but it is exact.

    session.py   a run from start to end
    config.py    what a run is to be
    kernel.py    a Linux kernel with the modules that it takes
    packages.py  fetching such a kernel from the distribution
    qemu.py      QEMU's command line and process
    plan.py      what the init in there is told
    parts.py     what the run polls for: the machine's log, and the lines that it says
"""
