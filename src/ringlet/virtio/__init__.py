"""Virtio: the transport, the queues, and the devices that use them."""
