"""What our Debian images are made of: packages, files laid into the new root, and where packages come from. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from covey.base.errors import BadInput, check
from covey.model.image import Recipe

PACKAGES = (
    "linux-image-cloud-amd64",
    "systemd-sysv",
    "systemd-resolved",
    "udev",
    "dbus",
    "kmod",
    "cloud-init",
    "cloud-guest-utils",
    "e2fsprogs",
    "fdisk",
    "openssh-server",
    "sudo",
    "iproute2",
    "iputils-ping",
    "locales",
    "netbase",
    "ca-certificates",
    "grub-pc",
    "zstd",
)
CONSOLES = "console=tty0 console=ttyS0,115200"
LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")
LEFT_IN = ("/usr/share/doc/*/copyright",)  # licences ask to be passed on

# Timers and services that do nothing for a young virtual machine but make its boot slow.
_MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "systemd-pstore.service",
    "systemd-networkd-wait-online.service",
)
_FILES = {
    # Modules that any of QEMU's usual machines needs to reach its root disk; the rest comes from the disk.
    "etc/initramfs-tools/conf.d/covey": "MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=3\nRESUME=none\n",
    "etc/initramfs-tools/modules": "virtio_pci\nvirtio_blk\nvirtio_scsi\nnvme\nsd_mod\nata_piix\next4\n",
    "etc/fstab": "LABEL=covey-root / ext4 errors=remount-ro,discard 0 1\n",
    "etc/default/locale": "LANG=C.UTF-8\n",
    "etc/hostname": "localhost\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
    "etc/default/grub.d/covey.cfg": "\n".join(
        (
            "GRUB_TIMEOUT=1",
            'GRUB_CMDLINE_LINUX_DEFAULT=""',
            f'GRUB_CMDLINE_LINUX="{CONSOLES}"',
            'GRUB_TERMINAL="console serial"',
            'GRUB_SERIAL_COMMAND="serial --unit=0 --speed=115200"',
            "GRUB_DISABLE_OS_PROBER=true",
            "",
        )
    ),
    "etc/cloud/cloud.cfg.d/95_covey.cfg": "\n".join(
        (
            "# Only a seed disk is looked for: asking clouds that are not there costs minutes.",
            "datasource_list: [NoCloud, None]",
            "# The sources are in debian.sources already, the locale in /etc/default/locale.",
            "apt: {preserve_sources_list: true}",
            "locale: C.UTF-8",
            "# Older kinds of keys cost seconds each and nobody needs them.",
            "ssh_genkeytypes: [ed25519, ecdsa]",
            "system_info:",
            "  network:",
            "    renderers: [networkd]",
            "",
        )
    ),
    # A machine without network-config gets its address by DHCP; names sort after cloud-init's own (10-).
    "etc/systemd/network/90-dhcp.network": "[Match]\nName=en* eth*\n\n[Network]\nDHCP=yes\n",
}

_SUITE = re.compile(r"[a-z][a-z0-9-]{1,40}", re.ASCII)
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9+.-]{1,100}", re.ASCII)
_ROLLING = ("sid", "unstable")  # suites without updates and security of their own
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

Stanza = dict[str, str]  # one entry of a deb822 sources file


def check_recipe(recipe: Recipe) -> None:
    """Raises BadInput for words that could not be what they say, so that none is taken for an option or a line of its
    own."""
    check(_SUITE.fullmatch(recipe.suite), BadInput(f"{recipe.suite!r} is no suite", "recipe", "such as bookworm"))
    for package in recipe.packages:
        check(_PACKAGE.fullmatch(package), BadInput(f"{package[:80]!r} is no package name", "recipe"))
    if recipe.mirror:
        parts = urlsplit(recipe.mirror)
        check(
            parts.scheme in ("http", "https", "file", "copy") and recipe.mirror.isprintable() and " " not in recipe.mirror,
            BadInput(f"{recipe.mirror[:200]!r} is no mirror", "recipe", "give a URL such as http://mirror.lan/debian"),
        )
    check(
        2**30 <= recipe.size <= 2**44,
        BadInput("an image's disk has between 1 GiB and 16 TiB", "recipe", "2G is enough for most"),
    )


def files() -> dict[str, str]:
    """Files to lay into the root before any package is unpacked, by path within it."""
    return dict(_FILES)


def masked_units() -> tuple[str, ...]:
    return _MASKED


def sources_for(recipe: Recipe, machine: Mapping[str, str], codename: str) -> str:
    """The deb822 sources of a new image: the recipe's mirror, or else the Debian entries among the `machine`'s own
    source files (texts by file name) with their suites changed to the recipe's. `codename` is the machine's own. Raises
    BadInput when the machine has none."""
    if recipe.mirror:
        suites = recipe.suite if recipe.suite in _ROLLING else f"{recipe.suite} {recipe.suite}-updates"
        return _render([{"Types": "deb", "URIs": recipe.mirror, "Suites": suites, "Components": "main", "Signed-By": KEYRING}])
    stanzas = [stanza for name, text in sorted(machine.items()) for stanza in _parse(name, text)]
    fitting = [fitted for stanza in stanzas if _is_debian(stanza) and (fitted := _fit(stanza, codename, recipe.suite))]
    check(
        fitting,
        BadInput(f"this machine has no package sources of Debian {codename}", "recipe", "name a mirror in the recipe"),
    )
    return _render(fitting)


def render_boot_menu(kernel: str, initrd: str, uuid: str) -> str:
    """The first grub.cfg; `update-grub` in the guest replaces it when a kernel comes or goes."""
    return "\n".join(
        (
            "serial --unit=0 --speed=115200",
            "terminal_input console serial",
            "terminal_output console serial",
            "set timeout=1",
            "set default=0",
            'menuentry "Debian GNU/Linux" {',
            f"    search --no-floppy --fs-uuid --set=root {uuid}",
            f"    linux {kernel} root=UUID={uuid} ro {CONSOLES}",
            f"    initrd {initrd}",
            "}",
            "",
        )
    )


def _parse(name: str, text: str) -> list[Stanza]:
    return _parse_deb822(text) if name.endswith(".sources") else _parse_lines(text)


def _parse_deb822(text: str) -> list[Stanza]:
    """Stanzas of fields; a line that begins with a blank goes on with the field before it (sources.list(5))."""
    stanzas: list[Stanza] = [{}]
    field = ""
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        if not line.strip():
            stanzas.append({})
        elif line[0] in " \t":
            stanzas[-1][field] += f"\n{line}"
        else:
            field, _, value = line.partition(":")
            field = field.strip()
            stanzas[-1][field] = value.strip()
    return [stanza for stanza in stanzas if stanza.get("Enabled", "yes").lower() not in ("no", "false", "0") and stanza]


def _parse_lines(text: str) -> list[Stanza]:
    """One-line entries: `deb [options] URI suite components...`."""
    stanzas = []
    for line in text.splitlines():
        match = re.fullmatch(r"\s*deb\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]+?)\s*(?:#.*)?", line)
        if match:
            options, uri, suite, components = match.groups()
            stanza = {"Types": "deb", "URIs": uri, "Suites": suite, "Components": components}
            signed = re.search(r"signed-by=(\S+)", options or "")
            stanzas.append(stanza | {"Signed-By": signed[1] if signed else KEYRING})
    return stanzas


def _is_debian(stanza: Stanza) -> bool:
    """Whether an entry is Debian's own archive: signed by its keyring and named like it, as every mirror is."""
    signed = stanza.get("Signed-By", KEYRING)
    names = {urlsplit(uri).path.rstrip("/").rpartition("/")[2] for uri in stanza.get("URIs", "").split()}
    binary = "deb" in stanza.get("Types", "").split()
    return binary and "debian-archive" in signed and bool(names) and names <= {"debian", "debian-security"}


def _fit(stanza: Stanza, codename: str, suite: str) -> Stanza | None:
    """The entry for another suite; None when nothing of it is left."""
    suites = []
    for own in stanza.get("Suites", "").split():
        base, _, pocket = own.partition("-")
        if base not in (codename, suite) or (suite in _ROLLING and pocket):
            continue
        suites.append(f"{suite}-{pocket}" if pocket else suite)
    if not suites:
        return None
    return {**stanza, "Types": "deb", "Suites": " ".join(suites), "Signed-By": stanza.get("Signed-By", KEYRING)}


def _render(stanzas: list[Stanza]) -> str:
    return "\n".join("".join(f"{field}: {value}\n" for field, value in stanza.items()) for stanza in stanzas)
