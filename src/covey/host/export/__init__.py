"""What a disk holds, as a stream of bytes."""
