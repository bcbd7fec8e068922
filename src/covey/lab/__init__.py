"""Whole machines on this one, to try Covey on: made from Debian packages, booted under QEMU, driven without a terminal."""
