"""Stories: the whole product, by its command line alone, on real processes; most on a real libvirt."""
