"""Covey: a handful of ordinary Linux machines as one reliable virtual-server cluster."""

__version__ = "0.1.0"
