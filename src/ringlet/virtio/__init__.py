"""Virtio: the transport, the queues, and the devices that stand on them."""
