"""How a lab machine's disk is named, and what its kernel starts first."""

from __future__ import annotations

import stat
import subprocess
from dataclasses import replace
from pathlib import Path

from covey.lab.image import MachineRecipe
from covey.lab.initramfs import Entry, archive


def test_a_recipe_names_its_image_and_any_change_of_it_names_another() -> None:
    recipe = MachineRecipe(packages=("python3",))
    assert recipe.digest == MachineRecipe(packages=("python3",)).digest
    others = [replace(recipe, packages=("python3", "nftables")), replace(recipe, suite="trixie"), replace(recipe, size=2**30)]
    assert len({recipe.digest, *(other.digest for other in others)}) == 4


def test_the_archive_is_one_that_cpio_unpacks(tmp_path: Path) -> None:
    entries = [
        Entry("bin", stat.S_IFDIR | 0o755),
        Entry("bin/busybox", stat.S_IFREG | 0o755, b"the program"),
        Entry("bin/sh", stat.S_IFLNK | 0o777, b"busybox"),
    ]
    subprocess.run(
        ["busybox", "cpio", "-i", "-d"], input=archive(entries), cwd=tmp_path, check=True, capture_output=True, timeout=20
    )
    assert (tmp_path / "bin/busybox").read_bytes() == b"the program"
    assert (tmp_path / "bin/busybox").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "bin/sh").readlink() == Path("busybox")
