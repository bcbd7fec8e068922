"""What the Debian packages are made of, as far as no machine is needed to tell."""

from __future__ import annotations

import configparser
import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from covey.main.guests import PATIENCE_S

ROOT = Path(__file__).resolve().parent.parent
ALL_UNITS = sorted((ROOT / "packaging/systemd").glob("*.service"))
DAEMONS = [path for path in ALL_UNITS if path.stem != "covey-guests"]


def load_make_deb() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_deb", ROOT / "packaging/deb/make_deb.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_deb"] = module
    spec.loader.exec_module(module)
    return module


make_deb = load_make_deb()
WHOLE, NODE = make_deb.packages()
# Imports as the package has them: what it lacks is not found, though it is installed here.
IMPORTING = """
import sys
class Lacks:
    def find_spec(self, name, path=None, target=None):
        if name in {lacking!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Lacks())
import {programs}
"""


def test_the_node_has_no_controller_and_finds_all_that_it_imports_without_one() -> None:
    assert "controller" in NODE.parts_left_out
    assert "covey-controller" not in NODE.units
    python = make_deb.closure(WHOLE.requires) - make_deb.closure(NODE.requires)
    assert {"fastapi", "pydantic", "grpcio"} <= python
    lacking = {f"covey.{part}" for part in NODE.parts_left_out} | {name.replace("-", "_") for name in python}
    nouns = [f"covey.cli.{path.stem}" for path in (ROOT / "src/covey/cli").iterdir() if not path.name.startswith("__")]
    text = IMPORTING.format(lacking=lacking, programs=", ".join((*NODE.programs, *sorted(nouns))))
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_a_package_holds_every_python_package_that_the_code_requires_as_locked() -> None:
    closure = make_deb.closure(WHOLE.requires)
    assert {"click", "libvirt-python", "starlette", "pydantic-core", "anyio"} <= closure
    assert not closure & {"pytest", "ruff", "mypy"}
    for name in closure:
        assert re.match(rf"{re.escape(name)}==\S+ \\\n +--hash=sha256:", make_deb.lock_entry(name))


def test_a_package_depends_on_what_covey_runs_on_and_not_on_what_builds_it() -> None:
    depends = make_deb.depends()
    assert {"libvirt-daemon-system", "qemu-system-x86", "nftables"} <= set(depends)
    assert not {"gcc", "libvirt-dev", "python3-dev"} & set(depends)


@pytest.mark.parametrize("script", ["postinst", "prerm", "postrm"])
def test_no_script_of_the_package_can_remove_what_covey_keeps(script: str) -> None:
    text = (ROOT / "packaging/deb" / script).read_text()
    commands = [line for line in text.splitlines() if not line.lstrip().startswith(("#", "echo"))]
    assert not [line for line in commands if re.search(r"\brm\b|\brmdir\b|-delete|\bunlink\b", line)]
    subprocess.run(["sh", "-n", str(ROOT / "packaging/deb" / script)], check=True, timeout=20)


@pytest.mark.parametrize("path", DAEMONS, ids=[path.stem for path in DAEMONS])
def test_a_service_starts_with_the_machine_says_when_it_is_ready_and_is_started_again(path: Path) -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None, delimiters=("=",))
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read_string(path.read_text())
    service = unit["Service"]
    assert f"-m covey.main {path.stem.removeprefix('covey-')} " in service["ExecStart"]
    assert service["ExecStart"].startswith(f"/{make_deb.HOME}/bin/python ")
    assert unit["Install"]["WantedBy"] == "multi-user.target"
    assert (service["Type"], service["Restart"]) == ("notify", "on-failure")
    assert int(service["TimeoutStartSec"]) >= 600, "an overloaded machine would never get to its end"
    if path.stem == "covey-libvirtd":
        assert service["KillMode"] == "process", "else its end would be the end of guests"
    else:
        assert int(service["WatchdogSec"]) > 0


def test_guests_have_the_time_to_shut_down_that_they_are_given() -> None:
    unit = (ROOT / "packaging/systemd/covey-guests.service").read_text()
    allowed = int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[0])
    assert allowed >= PATIENCE_S + 30


def test_guests_are_asked_to_shut_down_once_nothing_is_left_that_would_start_them_again() -> None:
    """Units end in the reverse of the order in which they begin."""
    unit = (ROOT / "packaging/systemd/covey-guests.service").read_text()
    before, after = (re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE)[0].split() for key in ("Before", "After"))
    assert {"covey-agent.service", "covey-controller.service"} <= set(before)
    assert "covey-libvirtd.service" in after, "it is needed for asking"


def test_every_service_belongs_to_a_package() -> None:
    assert {path.stem for path in ALL_UNITS} == set(WHOLE.units)
    assert set(NODE.units) < set(WHOLE.units)
