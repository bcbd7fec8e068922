"""Whole clusters on one machine, and whole machines.

The namespace lab (`covey lab`: lab.py, and what it is made of) has nodes that are network, mount and process namespaces: there in seconds.
The machine lab (machine.py, image.py) boots whole Debians under QEMU, for what namespaces cannot show: systemd, packages, a kernel's modules.
"""
