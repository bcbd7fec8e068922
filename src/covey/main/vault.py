"""Where this machine keeps backups of the records, and what goes into them beside those."""

from __future__ import annotations

from pathlib import Path

from covey.controller.backups import Vault
from covey.main.layout import Choices, node_id

AUTHORITY = ("ca.pem", "ca.key")  # files of the cluster's authority, in the directory `tls`


def vault_of(choices: Choices) -> Vault:
    directory = Path(choices.backup.directory) if choices.backup.directory else choices.layout.backups
    tls = choices.layout.tls

    def authority() -> dict[str, str]:
        return {name: (tls / name).read_text() for name in AUTHORITY if (tls / name).exists()}

    return Vault(directory, node_id(choices.layout), authority, choices.backup.keep, choices.backup.every)
