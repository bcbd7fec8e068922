"""Certificates of a cluster's nodes, under its authority (base/tls.py).

A node keeps `node.key` (0600, never leaves the machine), `node.pem` and `ca.pem` in one directory.
"""

from __future__ import annotations

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
from covey.base.identity import CertificateFiles, Identity, agent_name, controller_name, files_in, named_identity
from covey.base.tls import builder, ensure_authority, key_usage, load_certificate, load_key, make_key

LIFE = timedelta(days=365)
RENEW_BEFORE = timedelta(days=60)
WARN_BEFORE = timedelta(days=30)
LARGEST_REQUEST = 4096  # bytes of PEM: one of ours has about 350


def ask_for_certificate(directory: Path) -> str:
    """A signing request (PKCS #10, PEM) for this machine's key, which is made when there is none. It proves that we have the key; what the
    certificate says is for the authority to decide."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = files_in(directory).key
    key = load_key(path) if path.exists() else make_key(path)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Covey node")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM).decode()


def keep_certificate(directory: Path, certificate: str, authority: str, node: str) -> None:
    """Put what the authority issued beside the key. Raises BadInput when it is not for this key or the node
    with this id, or not of that authority."""
    files = files_in(directory)
    try:
        issued = x509.load_pem_x509_certificate(certificate.encode())
        issued.verify_directly_issued_by(x509.load_pem_x509_certificate(authority.encode()))
    except (ValueError, TypeError, InvalidSignature) as error:
        raise BadInput("it is no certificate of that authority", "certificate") from error
    check(
        issued.public_key() == load_key(files.key).public_key(),
        BadInput("it is for another machine's key", "certificate", "join again with a new invitation"),
    )
    check(_identity_of(issued).agent == node, BadInput("it names another node", "certificate"))
    write_durably(files.ca, authority.encode(), mode=0o644)
    write_durably(files.certificate, certificate.encode(), mode=0o644)


def issue(authority: Path, request: str, node: str, clock: Clock = SystemClock()) -> str:
    """A certificate (PEM) for the node with this id, signed with the key in the directory `authority`. Raises BadInput for what is no
    signing request, Refused when the authority is damaged."""
    now = datetime.fromtimestamp(clock.now(), UTC)
    root = ensure_authority(authority, now)
    root_key = load_key(authority / "ca.key")
    key = _requested_key(request)
    names = [x509.DNSName(agent_name(node)), x509.DNSName(controller_name(node))]
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Covey node {node}")])
    certificate = (
        builder(subject, root.subject, key, root_key.public_key(), now, min(now + LIFE, root.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(root_key, hashes.SHA256())
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def check_signing_request(request: str) -> None:
    """Raises BadInput for what no certificate can be issued for."""
    _requested_key(request)


def _requested_key(request: str) -> ec.EllipticCurvePublicKey:
    """The key of a signing request, whose sender has proved to have it. Raises BadInput."""
    wrong = BadInput("it is no signing request for a key of the curve P-256", "signing_request")
    check(len(request) <= LARGEST_REQUEST, wrong)
    try:
        wanted = x509.load_pem_x509_csr(request.encode())
        key = wanted.public_key()
        proven = wanted.is_signature_valid
    except (ValueError, TypeError) as error:
        raise wrong from error
    check(proven, wrong)
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise wrong
    return key


def ensure_identity(directory: Path, authority: Path, node: str, clock: Clock = SystemClock()) -> CertificateFiles:
    """The identity of the machine that has the authority's key itself, good for RENEW_BEFORE at least."""
    files = files_in(directory)
    if not (files.certificate.exists() and _lasts(files, authority / "ca.pem", node, clock)):
        certificate = issue(authority, ask_for_certificate(directory), node, clock)
        keep_certificate(directory, certificate, (authority / "ca.pem").read_text(), node)
    return files


def _lasts(files: CertificateFiles, authority: Path, node: str, clock: Clock) -> bool:
    """Whether a node's certificate is that node's, of its key and of that authority, and need not be renewed yet."""
    try:
        found = load_certificate(files.certificate)
        found.verify_directly_issued_by(load_certificate(authority))
        is_ours = found.public_key() == load_key(files.key).public_key() and _identity_of(found).agent == node
    except (Refused, ValueError, TypeError, InvalidSignature):
        return False
    return is_ours and seconds_left(files, clock) > RENEW_BEFORE.total_seconds()


def seconds_left(files: CertificateFiles, clock: Clock = SystemClock()) -> float:
    """How long a node's certificate is still good. Raises Refused when it is damaged."""
    return load_certificate(files.certificate).not_valid_after_utc.timestamp() - clock.now()


def _identity_of(certificate: x509.Certificate) -> Identity:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return Identity()
    return named_identity(names.get_values_for_type(x509.DNSName))
