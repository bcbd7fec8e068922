"""Golden images on one machine: fetched or built, then read-only."""
