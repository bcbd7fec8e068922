"""Disk images that people send: taken in, looked at with suspicion, and kept until they are a disk."""
