"""Where instances should live. Pure."""
