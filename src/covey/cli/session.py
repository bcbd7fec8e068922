"""What one command line works with: the client, made when it is first needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from covey.client.client import Client


class Session:
    def __init__(self, environ: Mapping[str, str], options: Mapping[str, str | None]) -> None:
        self.environ = environ
        self.options = options
        self._client: Client | None = None

    @property
    def client(self) -> Client:
        """Raises BadInput or Denied when the environment does not name a server properly."""
        if self._client is None:
            from covey.client.client import Client
            from covey.client.connection import Connection

            self._client = Client(Connection.find(self.environ, self.options))
        return self._client

    def close(self) -> None:
        if self._client:
            self._client.connection.close()
