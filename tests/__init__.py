"""Tests, one package a floor (T1)."""
