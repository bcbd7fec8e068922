"""One suite for every storage template: each sentence of host/storage/protocol.py is a claim here."""
