"""The nouns, as frozen values: records, requests, steps, plans and the view. No I/O, no clock, no third-party imports."""
