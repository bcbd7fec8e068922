"""Where volumes live: one driver a template, all held by one conformance suite."""
