"""The one way in: who may do what, requests taken in or shown as plans, and everything that can be asked."""
