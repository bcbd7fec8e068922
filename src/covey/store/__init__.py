"""Where records live: one small protocol, several engines, one conformance suite."""
