"""The HTTP door: thin, with no rights of its own. OpenAPI describes all of it."""
