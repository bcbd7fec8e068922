"""What tests are made of: builders, virtual time, scripted nodes."""
