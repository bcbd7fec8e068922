"""One program per claim: `python -m bench.NAME --json`; the last line is one JSON object. What they measure stands in docs/performance.md."""
