"""Make the Debian packages: `covey` (controller, agent, command line) and `covey-node` (a node without controller).

Each holds all of its Python packages, as locked, in an environment for Debian's own Python below /usr/lib/covey: installing needs no
network but Debian's. Run by `make deb`; the same commit gives the same packages, bit by bit, on the same Debian.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
PYTHON = "/usr/bin/python3.11"  # Debian 12's; what is compiled is compiled for it
HOME = Path("usr/lib/covey")
SITE = HOME / "lib/python3.11/site-packages"
BUILD_ONLY = {"python3", "python3-venv", "python3-dev", "gcc", "pkg-config", "libvirt-dev"}  # of packages.txt
ALWAYS = ("python3 (>= 3.11)", "python3 (<< 3.12)", "libvirt0 (>= 9.0)", "init-system-helpers (>= 1.54)")
COMPLETION = {
    "bash": "usr/share/bash-completion/completions/covey",
    "zsh": "usr/share/zsh/vendor-completions/_covey",
    "fish": "usr/share/fish/vendor_completions.d/covey.fish",
}
LIMIT_S = 900


@dataclass(frozen=True)
class Package:
    """What is in one of them. `parts_left_out` are packages below src/covey, `requires` names of Python packages (those that these
    require come by themselves)."""

    name: str
    summary: str
    description: str
    other: str
    units: tuple[str, ...]
    parts_left_out: tuple[str, ...]
    requires: frozenset[str]
    programs: tuple[str, ...]


def packages() -> tuple[Package, Package]:
    project = {name_of(line) for line in metadata.requires("covey") or () if "extra ==" not in line}
    whole = Package(
        "covey",
        "virtual servers on a handful of ordinary machines",
        "Controller, agent and command line. One of these leads a cluster; a single machine needs nothing else.",
        "covey-node",
        ("covey-libvirtd", "covey-guests", "covey-agent", "covey-controller", "covey-etcd"),
        (),
        frozenset(project),
        (
            "covey.main.agent",
            "covey.main.controller",
            "covey.main.etcd",
            "covey.main.guests",
            "covey.main.libvirtd",
            "covey.cli.main",
            "covey.lab.lab",
        ),
    )
    node = Package(
        "covey-node",
        "virtual servers on a handful of ordinary machines: a node without controller",
        "Agent and command line, for a machine that carries virtual servers and leaves the leading to others.",
        "covey",
        ("covey-libvirtd", "covey-guests", "covey-agent"),
        ("lab", "api", "service", "controller", "engine", "planner", "placement", "store"),
        frozenset(project - {"fastapi", "grpcio"} | {"starlette"}),
        ("covey.main.agent", "covey.main.guests", "covey.main.libvirtd", "covey.cli.main"),
    )
    return whole, node


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--version", default="", help="of the packages [that of the code]")
    parser.add_argument("--only", default="", help="make this one [both]")
    parser.add_argument("--output", type=Path, default=ROOT / "build", help="where they go [build]")
    given = parser.parse_args()
    version = given.version or metadata.version("covey")
    if "SOURCE_DATE_EPOCH" not in os.environ:
        os.environ["SOURCE_DATE_EPOCH"] = told("git", "-C", str(ROOT), "log", "-1", "--format=%ct").strip()
    given.output.mkdir(parents=True, exist_ok=True)
    for package in [each for each in packages() if given.only in ("", each.name)]:
        print(make(package, version, given.output))


def make(package: Package, version: str, output: Path) -> Path:
    """Lay the package out and pack it."""
    root = ROOT / "build/deb" / package.name
    shutil.rmtree(root, ignore_errors=True)
    lay_environment(package, version, root)
    lay_system_files(package, root)
    check_programs(package, root)
    write_control(package, version, root)
    made = output / f"{package.name}_{version}_amd64.deb"
    # zstd: unpacked several times as fast as xz, which counts on machines that are upgraded while they work.
    told("dpkg-deb", "--root-owner-group", "-Zzstd", "--build", str(root), str(made))
    return made


# --- Python ------------------------------------------------------------------------------------------------------------------------
def lay_environment(package: Package, version: str, root: Path) -> None:
    """A virtual environment as `python -m venv` would make it, at its final place."""
    home, site = root / HOME, root / SITE
    (home / "bin").mkdir(parents=True)
    (home / "bin/python").symlink_to(PYTHON)
    (home / "pyvenv.cfg").write_text(f"home = {Path(PYTHON).parent}\ninclude-system-site-packages = false\nversion = 3.11\n")
    shutil.copytree(locked(package.requires), site)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "src/covey", site / "covey", ignore=ignored)
    for part in package.parts_left_out:
        shutil.rmtree(site / "covey" / part, ignore_errors=True)
    (site / "covey/__init__.py").write_text(f'"""Covey {version}."""\n\n__version__ = "{version}"\n')
    told(PYTHON, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", "-s", str(root), "-p", "/", str(site))


def locked(names: frozenset[str]) -> Path:
    """A directory with these Python packages and what they require, installed as the lock says. Kept from build to build."""
    lines = "".join(lock_entry(name) for name in sorted(closure(names)))
    directory = ROOT / "build/deb" / f"site-{hashlib.sha256(lines.encode()).hexdigest()[:16]}"
    if not directory.exists():
        making = directory.with_suffix(".making")
        shutil.rmtree(making, ignore_errors=True)
        making.mkdir(parents=True)
        wanted = making.with_suffix(".lock")
        wanted.write_text(lines)
        uv = str(ROOT / ".venv/bin/uv")
        how = ("--python", PYTHON, "--target", str(making), "--no-deps", "--require-hashes", "--link-mode", "copy")
        told(uv, "pip", "install", "--quiet", *how, "-r", str(wanted))
        wanted.unlink()
        for path in (*making.rglob("RECORD"), *making.rglob("direct_url.json"), *making.rglob("INSTALLER"), making / ".lock"):
            path.unlink(missing_ok=True)
        for path in (making / "bin", *making.rglob("__pycache__")):
            shutil.rmtree(path, ignore_errors=True)
        making.rename(directory)
    return directory


def closure(names: frozenset[str]) -> set[str]:
    """These and what they require, as far as it is installed here: a requirement of another system is not."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            required = metadata.requires(name) or ()
        except metadata.PackageNotFoundError:
            continue
        found.add(name)
        waiting += [name_of(line) for line in required if "extra ==" not in line]
    return found


def name_of(requirement: str) -> str:
    match = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def lock_entry(name: str) -> str:
    """The lines of the lock on one package."""
    match = re.search(rf"^{re.escape(name)}==.*\n(?: +.*\n)*", (ROOT / "requirements.lock").read_text(), re.MULTILINE)
    if not match:
        sys.exit(f"make_deb: {name} is not in requirements.lock: make lock")
    return match[0]


def check_programs(package: Package, root: Path) -> None:
    """The programs of the package find all that they import within it, and in Debian's Python."""
    nouns = [f"covey.cli.{path.stem}" for path in (root / SITE / "covey/cli").iterdir() if not path.name.startswith("__")]
    code = f"import sys; sys.path.insert(0, {str(root / SITE)!r}); import {', '.join((*package.programs, *sorted(nouns)))}"
    told(PYTHON, "-I", "-B", "-c", code)


# --- Debian ------------------------------------------------------------------------------------------------------------------------
def lay_system_files(package: Package, root: Path) -> None:
    """The program, its services, settings, manual and completion."""
    program = root / "usr/bin/covey"
    program.parent.mkdir(parents=True)
    program.write_text(f"#!/{HOME}/bin/python -P\nfrom covey.cli.main import main\n\nmain()\n")
    program.chmod(0o755)
    for unit in package.units:
        install(ROOT / f"packaging/systemd/{unit}.service", root / f"lib/systemd/system/{unit}.service")
    install(ROOT / "packaging/covey.toml", root / "etc/covey/covey.toml")
    install(HERE / "copyright", root / f"usr/share/doc/{package.name}/copyright")
    for kind in ("prometheus", "grafana"):
        for path in sorted((ROOT / "packaging" / kind).iterdir()):
            install(path, root / f"usr/share/covey/{kind}/{path.name}")
    help_pages = ROOT / "build/deb/help"
    told(sys.executable, "-m", "docs.man", str(help_pages))
    for shell, place in COMPLETION.items():
        install(help_pages / f"completion/covey.{shell}", root / place)
    for page in sorted((help_pages / "man").iterdir()):
        packed = root / f"usr/share/man/man{page.suffix[1:]}/{page.name}.gz"
        packed.parent.mkdir(parents=True, exist_ok=True)
        packed.write_bytes(gzip.compress(page.read_bytes(), mtime=0))


def install(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    target.chmod(0o644)


def write_control(package: Package, version: str, root: Path) -> None:
    control = root / "DEBIAN"
    control.mkdir()
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink() and control not in path.parents)
    for path in (root, *root.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)  # whatever the umask
        elif not path.is_symlink():
            path.chmod(0o755 if path.stat().st_mode & 0o100 and path.suffix != ".py" else 0o644)
    fields = {
        "Package": package.name,
        "Version": version,
        "Architecture": "amd64",
        "Maintainer": "Covey <root@localhost>",
        "Section": "admin",
        "Priority": "optional",
        "Installed-Size": str(sum(path.stat().st_size for path in files) // 1024),
        "Depends": ", ".join(depends()),
        **({"Recommends": "etcd-server"} if "covey-etcd" in package.units else {}),  # for the records of several machines
        "Conflicts": package.other,
        "Replaces": package.other,
        "Description": f"{package.summary}\n {package.description}",
    }
    (control / "control").write_text("".join(f"{name}: {value}\n" for name, value in fields.items()))
    sums = "".join(
        f"{hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()}  {path.relative_to(root)}\n" for path in files
    )
    (control / "md5sums").write_text(sums)
    (control / "triggers").write_text("interest-noawait /usr/sbin/libvirtd\n")
    conffiles = [path for path in files if path.relative_to(root).parts[0] == "etc"]
    if conffiles:
        (control / "conffiles").write_text("".join(f"/{path.relative_to(root)}\n" for path in conffiles))
    for script in ("postinst", "prerm", "postrm"):
        text = (HERE / script).read_text().replace("@UNITS@", " ".join(f"{unit}.service" for unit in package.units))
        (control / script).write_text(text.replace("@PACKAGE@", package.name))
        (control / script).chmod(0o755)


def depends() -> list[str]:
    """The Debian packages that Covey runs on, without those that only build it."""
    listed = re.sub(r"#.*", "", (ROOT / "packaging/packages.txt").read_text()).split()
    return [*ALWAYS, *(name for name in listed if name not in BUILD_ONLY)]


def told(*argv: str) -> str:
    """What a command prints; its failure ends the build."""
    done = subprocess.run(argv, cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S, check=False)
    if done.returncode:
        sys.exit(f"make_deb: this failed: {' '.join(argv)}")
    return done.stdout


if __name__ == "__main__":
    main()
