"""A site's own certificate authority, and the certificate of a server under it.

Everything is in one directory: `ca.pem` is what clients trust (people compare its fingerprint), `ca.key` signs,
`server.pem` and `server.key` are what the server shows. Keys are 0600. A crash between two files leaves a pair that
does not match: it is noticed and made again.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from covey.base.clock import Clock, SystemClock
from covey.base.errors import BadInput, Refused, check
from covey.base.files import write_durably
from covey.base.identity import CertificateFiles

CA_LIFE = timedelta(days=20 * 365)
SERVER_LIFE = timedelta(days=825)  # the longest that Apple's clients accept, even of a private authority
RENEW_BEFORE = timedelta(days=30)
CLIENT_LIFE = timedelta(days=3 * 365)
CLIENT_LEFT = timedelta(days=2 * 365)  # a daemon shows the one that it has read when it began, for as long as it runs
_EARLIER = timedelta(hours=1)  # valid from before now: clocks of clients differ
_DNS_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", re.ASCII)


def ensure_server_certificate(directory: Path, names: tuple[str, ...], clock: Clock = SystemClock()) -> CertificateFiles:
    """A certificate for exactly these host names and addresses, good for 30 days at least. It is issued anew when the
    names change, when it runs out, or when it does not belong to its key; the authority is made once and never
    replaced.

    Raises BadInput for a name that cannot be in a certificate, Refused when a file is damaged or the authority's key
    is gone."""
    wanted = _subject_names(names)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    files = CertificateFiles(directory / "server.pem", directory / "server.key", directory / "ca.pem")
    now = datetime.fromtimestamp(clock.now(), UTC)
    authority = ensure_authority(directory, now)
    if not _is_good(files, authority, wanted, now):
        _issue(files, authority, load_key(directory / "ca.key"), wanted, now)
    return files


def ensure_client_certificate(directory: Path, name: str, clock: Clock = SystemClock()) -> CertificateFiles:
    """A certificate for a client called `name`, good for CLIENT_LEFT at least, under the authority in `directory`, which must be there. It
    names no host or address, so it does not matter where its bearer comes from. Raises Refused when a file is damaged or gone."""
    files = CertificateFiles(directory / "client.pem", directory / "client.key", directory / "ca.pem")
    now = datetime.fromtimestamp(clock.now(), UTC)
    authority = load_certificate(files.ca)
    if not _is_good_client(files, authority, now):
        key, root_key = make_key(files.key), load_key(directory / "ca.key")
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = (
            builder(
                subject,
                authority.subject,
                key.public_key(),
                root_key.public_key(),
                now,
                min(now + CLIENT_LIFE, authority.not_valid_after_utc),
            )
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(key_usage(signs_certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
            .sign(root_key, hashes.SHA256())
        )
        write_durably(files.certificate, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
    return files


def _is_good_client(files: CertificateFiles, authority: x509.Certificate, now: datetime) -> bool:
    if not (files.certificate.exists() and files.key.exists()):
        return False
    certificate = load_certificate(files.certificate)
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False  # of another cluster
    lasts = min(now + CLIENT_LEFT, authority.not_valid_after_utc)
    return certificate.public_key() == load_key(files.key).public_key() and certificate.not_valid_after_utc >= lasts


def fingerprint(ca: Path) -> str:
    """The SHA-256 of a certificate (of its DER form, as browsers and openssl show it), 64 hexadecimal digits."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(ca.read_text())).hexdigest()


def server_context(files: CertificateFiles) -> ssl.SSLContext:
    """What a server speaks: TLS 1.3, with this certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(files.certificate, files.key)
    return context


def _subject_names(names: tuple[str, ...]) -> list[x509.GeneralName]:
    check(names, BadInput("a certificate needs at least one name", "certificate", "give the server's host name"))
    return [_subject_name(name) for name in dict.fromkeys(names)]


def _subject_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        lowered = name.lower()
        check(
            _DNS_NAME.fullmatch(lowered),
            BadInput(f"{name[:80]!r} is neither a host name nor an address", "certificate", "write it like n1.example.org"),
        )
        return x509.DNSName(lowered)


def ensure_authority(directory: Path, now: datetime) -> x509.Certificate:
    """The site's authority, made when there is none. Raises Refused when it is damaged."""
    path, key_path = directory / "ca.pem", directory / "ca.key"
    if path.exists():
        return load_certificate(path)
    key = load_key(key_path) if key_path.exists() else make_key(key_path)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Covey authority {x509.random_serial_number():x}"[:32])])
    certificate = (
        builder(name, name, key.public_key(), key.public_key(), now, now + CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs_certificates=True), critical=True)
        .sign(key, hashes.SHA256())
    )
    write_durably(path, certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)
    return certificate


def _issue(
    files: CertificateFiles,
    authority: x509.Certificate,
    authority_key: ec.EllipticCurvePrivateKey,
    names: list[x509.GeneralName],
    now: datetime,
) -> None:
    key = make_key(files.key)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Covey server")])  # names are in the SAN, as RFC 6125 wants
    end = min(now + SERVER_LIFE, authority.not_valid_after_utc)
    certificate = (
        builder(name, authority.subject, key.public_key(), authority_key.public_key(), now, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    chain = [each.public_bytes(serialization.Encoding.PEM) for each in (certificate, authority)]
    write_durably(files.certificate, b"".join(chain), mode=0o644)  # so that who knows its fingerprint can find the authority


def builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    now: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    """The beginning of every certificate of ours."""
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _EARLIER)
        .not_valid_after(end)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def key_usage(signs_certificates: bool) -> x509.KeyUsage:
    """What the key may be used for (RFC 5280, section 4.2.1.3)."""
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _is_good(files: CertificateFiles, authority: x509.Certificate, names: list[x509.GeneralName], now: datetime) -> bool:
    """Whether the certificate is there, of this authority, for exactly these names and this key, and lasts long
    enough."""
    if not (files.certificate.exists() and files.key.exists()):
        return False
    certificate = load_certificate(files.certificate)
    if files.certificate.read_bytes().count(b"BEGIN CERTIFICATE") < 2:
        return False  # of a release that did not send its authority along
    try:
        certificate.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False  # somebody else issued it
    alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    lasts = min(now + RENEW_BEFORE, authority.not_valid_after_utc)
    return (
        set(alternative) == set(names)
        and certificate.public_key() == load_key(files.key).public_key()
        and certificate.not_valid_before_utc <= now
        and certificate.not_valid_after_utc >= lasts
    )


def make_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """A new private key in a file that nobody else may read."""
    key = ec.generate_private_key(ec.SECP256R1())
    text = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_durably(path, text, mode=0o600)
    return key


def load_certificate(path: Path) -> x509.Certificate:
    """Raises Refused when the file is damaged."""
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError as error:
        raise _damaged(path) from error


def load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Raises Refused when the file is gone or damaged."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except FileNotFoundError as error:
        raise Refused("the authority's key is gone", path, "restore it from a backup: clients trust no other") from error
    except (ValueError, TypeError) as error:
        raise _damaged(path) from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise _damaged(path)
    return key


def _damaged(path: Path) -> Refused:
    return Refused("the file holds no certificate or key of ours", path, "restore it from a backup, or move it away")
