"""What guests may send and receive on one machine."""
