"""Certificates: issued once, renewed in time, taken by a real client."""

from __future__ import annotations

import asyncio
import ssl
import stat
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.x509.oid import ExtendedKeyUsageOID

from covey.base.errors import BadInput, Refused
from covey.base.identity import CertificateFiles
from covey.base.tls import ensure_server_certificate, fingerprint, server_context

NAMES = ("n1.example.org", "localhost", "127.0.0.1", "::1")
DAY = 86400.0


@dataclass(slots=True)
class Calendar:
    """A clock that stands still until it is moved."""

    seconds: float = 1_800_000_000.0

    def now(self) -> float:
        return self.seconds

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


def load(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def contents(files: CertificateFiles) -> list[bytes]:
    return [path.read_bytes() for path in (*files, files.ca.with_name("ca.key"))]


async def greet(files: CertificateFiles, context: ssl.SSLContext, name: str) -> str | None:
    """Connect to a server with these files as a client that expects `name`; returns the version that was spoken."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0, ssl=server_context(files))
    async with server:
        port = server.sockets[0].getsockname()[1]
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name)
        spoken: ssl.SSLObject = writer.get_extra_info("ssl_object")
        writer.close()
        await writer.wait_closed()
        return spoken.version()


@pytest.mark.parametrize("name", ["n1.example.org", "127.0.0.1", "localhost"])
async def test_a_client_that_trusts_the_authority_speaks_tls_1_3_with_the_server(tmp_path: Path, name: str) -> None:
    files = ensure_server_certificate(tmp_path, NAMES)
    context = ssl.create_default_context(cafile=str(files.ca))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    assert await greet(files, context, name) == "TLSv1.3"


async def test_a_client_that_expects_another_name_hangs_up(tmp_path: Path) -> None:
    files = ensure_server_certificate(tmp_path, NAMES)
    with pytest.raises(ssl.SSLCertVerificationError):
        await greet(files, ssl.create_default_context(cafile=str(files.ca)), "n2.example.org")


async def test_a_client_of_another_site_hangs_up(tmp_path: Path) -> None:
    files = ensure_server_certificate(tmp_path / "one", NAMES)
    other = ensure_server_certificate(tmp_path / "other", NAMES)
    with pytest.raises(ssl.SSLCertVerificationError):
        await greet(files, ssl.create_default_context(cafile=str(other.ca)), "localhost")


async def test_nothing_older_than_tls_1_3_is_spoken(tmp_path: Path) -> None:
    files = ensure_server_certificate(tmp_path, NAMES)
    context = ssl.create_default_context(cafile=str(files.ca))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionResetError)):
        await greet(files, context, "localhost")


def test_ensuring_a_certificate_twice_is_ensuring_it_once(tmp_path: Path) -> None:
    before = contents(ensure_server_certificate(tmp_path, NAMES))
    assert contents(ensure_server_certificate(tmp_path, tuple(reversed(NAMES)))) == before


def test_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    files = ensure_server_certificate(tmp_path / "tls", NAMES)
    assert [stat.S_IMODE(path.stat().st_mode) for path in (files.key, tmp_path / "tls/ca.key")] == [0o600, 0o600]
    assert stat.S_IMODE((tmp_path / "tls").stat().st_mode) == 0o700


def test_a_certificate_lives_825_days_and_serves_both_ends(tmp_path: Path) -> None:
    clock = Calendar()
    certificate = load(ensure_server_certificate(tmp_path, NAMES, clock).certificate)
    assert certificate.not_valid_after_utc.timestamp() == clock.now() + timedelta(days=825).total_seconds()
    uses = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(uses) == {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH}


def test_a_certificate_is_renewed_when_less_than_30_days_are_left(tmp_path: Path) -> None:
    clock = Calendar()
    first = contents(ensure_server_certificate(tmp_path, NAMES, clock))
    clock.seconds += 794 * DAY
    assert contents(ensure_server_certificate(tmp_path, NAMES, clock)) == first
    clock.seconds += 2 * DAY
    renewed = contents(ensure_server_certificate(tmp_path, NAMES, clock))
    assert renewed[:2] != first[:2]
    assert renewed[2:] == first[2:]  # the authority stays


def test_other_names_mean_another_certificate_of_the_same_authority(tmp_path: Path) -> None:
    before = ensure_server_certificate(tmp_path, NAMES)
    serial, trusted = load(before.certificate).serial_number, fingerprint(before.ca)
    after = ensure_server_certificate(tmp_path, (*NAMES, "10.7.0.1"))
    assert load(after.certificate).serial_number != serial
    assert fingerprint(after.ca) == trusted


def test_a_crash_between_key_and_certificate_is_mended(tmp_path: Path) -> None:
    files = ensure_server_certificate(tmp_path / "one", NAMES)
    other = ensure_server_certificate(tmp_path / "other", NAMES)
    files.key.write_bytes(other.key.read_bytes())
    server_context(ensure_server_certificate(tmp_path / "one", NAMES))


def test_a_crash_before_the_authority_had_its_certificate_is_mended(tmp_path: Path) -> None:
    ensure_server_certificate(tmp_path, NAMES).ca.unlink()
    files = ensure_server_certificate(tmp_path, NAMES)
    load(files.certificate).verify_directly_issued_by(load(files.ca))


def test_without_the_authoritys_key_a_good_certificate_stays_and_no_other_is_issued(tmp_path: Path) -> None:
    before = ensure_server_certificate(tmp_path, NAMES)
    (tmp_path / "ca.key").unlink()
    assert ensure_server_certificate(tmp_path, NAMES) == before
    with pytest.raises(Refused, match="key is gone"):
        ensure_server_certificate(tmp_path, ("n2",))


@pytest.mark.parametrize("name", ["ca.pem", "server.pem", "server.key"])
def test_a_damaged_file_is_not_replaced_in_silence(tmp_path: Path, name: str) -> None:
    ensure_server_certificate(tmp_path, NAMES)
    (tmp_path / name).write_text("not PEM")
    with pytest.raises(Refused, match=name):
        ensure_server_certificate(tmp_path, NAMES)


@pytest.mark.parametrize("names", [(), ("",), ("a b",), ("*",), ("-n1",), ("n1..org",), ("x" * 64,), ("n1\n",)])
def test_what_is_no_name_is_in_no_certificate(tmp_path: Path, names: tuple[str, ...]) -> None:
    with pytest.raises(BadInput):
        ensure_server_certificate(tmp_path, names)


def test_a_fingerprint_is_the_one_that_others_compute(tmp_path: Path) -> None:
    files = ensure_server_certificate(tmp_path, NAMES)
    assert fingerprint(files.ca) == load(files.ca).fingerprint(hashes.SHA256()).hex()
