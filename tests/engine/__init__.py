"""Tests of the engine, on scripted nodes in virtual time."""
