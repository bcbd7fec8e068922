"""Looks at a machine before it becomes a node. Reads only; each file finds one kind of fact and judges it."""
