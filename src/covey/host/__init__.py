"""What one machine can do. Knows no cluster: drivers behind small protocols, each with a fake."""
