"""What is between the machine and the inside of a guest: seed, ready report, console."""
