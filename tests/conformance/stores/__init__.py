"""What every engine of the Store protocol promises: each sentence of `store/protocol.py` is a claim here."""
