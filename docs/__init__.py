"""Documentation; `python -m docs.generate` writes the generated part of docs/reference/."""
