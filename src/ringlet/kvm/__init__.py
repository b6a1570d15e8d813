"""What KVM can do: the system, VMs, vCPUs, guest memory, exits. No policy.

Import from the modules: `system`, `vm`, `vcpu`, `memory`, `registers`, `exits`.
"""
