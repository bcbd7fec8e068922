"""Virtual machines on one machine."""
