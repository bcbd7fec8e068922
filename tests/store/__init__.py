"""The store engines, beyond what the conformance suite asks of all of them."""
