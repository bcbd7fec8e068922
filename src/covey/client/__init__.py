"""The typed HTTP client of the API: the standard library only, because the command line starts with it."""
