"""The virtio file system device: a folder of the host, which the guest uses by FUSE.

device.py      the device and its queues
server.py      finds the operation of a request, and answers
protocol.py    the requests and answers of FUSE
nodes.py       the inodes that the guest remembers
handles.py     the files and folders that the guest has open
attributes.py  reads and changes what inodes say of themselves
names.py       makes, moves and removes names in folders
files.py       reads and writes files
folders.py     lists folders

Source: virtio 1.2, 5.11; Linux, include/uapi/linux/fuse.h.
"""
