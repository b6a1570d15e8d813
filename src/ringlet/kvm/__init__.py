"""KVM as it is: the system, virtual machines, vCPUs, guest memory, exits. No policy.

Import from the modules: `system`, `vm`, `vcpu`, `memory`, `registers`, `exits`.
"""
