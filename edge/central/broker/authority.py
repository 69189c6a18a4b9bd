"""Certificates for one broker, its devices and the central service: the only module here that names `cryptography`.

Promises: ECDSA on P-256, keys as PKCS#8 without a passphrase. Every certificate is good from 1970 on: a board without a
battery-backed clock starts there, and must reach its broker all the same.
Leaves out: files (`office`), and who gets a certificate.
Thread: any; pure but for the random numbers of keys and serials.
"""

from __future__ import annotations

import datetime as dt
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = [
    "Pair",
    "certify_client",
    "certify_server",
    "expiry_ms",
    "is_issued_by",
    "names_in",
    "new_authority",
    "revocation_list",
]

_ALWAYS = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A certificate and its private key, PEM; `serial` in hex, by which it can be revoked."""

    certificate: str
    key: str
    serial: str


def new_authority(now_ms: int, days: int) -> Pair:
    """A root that signs for one broker and its devices, and for nobody below them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(
        f"edge {x509.random_serial_number():x}"[:21]
    )  # no two alike: devices may meet more than one in their life
    builder = _builder(name, key, now_ms, days).issuer_name(name)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_usage(is_authority=True), critical=True)
    return _signed(builder, key, key)


def certify_server(authority: Pair, hosts: Sequence[str], now_ms: int, days: int) -> Pair:
    """For a broker that is reached under these names and addresses."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _leaf(_name("edge broker"), key, authority, now_ms, days, ExtendedKeyUsageOID.SERVER_AUTH)
    builder = builder.add_extension(x509.SubjectAlternativeName([_host(each) for each in hosts]), critical=False)
    return _signed(builder, key, _key(authority))


def certify_client(user: str, now_ms: int, days: int, authority: Pair | None = None) -> Pair:
    """For a client that the broker shall know as `user`; without an authority it vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    builder = _leaf(_name(user), key, authority, now_ms, days, ExtendedKeyUsageOID.CLIENT_AUTH)
    return _signed(builder, key, key if authority is None else _key(authority))


def revocation_list(authority: Pair, revoked: Iterable[tuple[str, int]], now_ms: int, days: int) -> str:
    """PEM of the list of serials, each with the time in ms since 1970 at which it ended.

    A broker refuses everybody once the list has run out, so `days` is long; and everybody whose list begins in its own
    future, so it begins a day ago.
    """
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode())
    builder = x509.CertificateRevocationListBuilder().issuer_name(issuer.subject)
    builder = builder.last_update(_when(now_ms - _DAY_MS)).next_update(_when(now_ms + days * _DAY_MS))
    builder = builder.add_extension(x509.CRLNumber(now_ms), critical=False)
    for serial, ms in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(int(serial, 16)).revocation_date(_when(ms))
        builder = builder.add_revoked_certificate(entry.build())
    signed = builder.sign(_key(authority), hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def expiry_ms(certificate: str) -> int:
    """When it ends, in ms since 1970."""
    return int(x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc.timestamp() * 1000)


def is_issued_by(certificate: str, authority: Pair) -> bool:
    """Whether it names that authority; no two have one name."""
    issuer = x509.load_pem_x509_certificate(authority.certificate.encode()).subject
    return x509.load_pem_x509_certificate(certificate.encode()).issuer == issuer


def names_in(certificate: str) -> tuple[str, ...]:
    """The names and addresses that a server's certificate is for, in its order."""
    found = x509.load_pem_x509_certificate(certificate.encode()).extensions
    names = found.get_extension_for_class(x509.SubjectAlternativeName).value
    return tuple(str(each.value) for each in names)


def _leaf(
    name: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    authority: Pair | None,
    now_ms: int,
    days: int,
    use: x509.ObjectIdentifier,
) -> x509.CertificateBuilder:
    issuer = None if authority is None else x509.load_pem_x509_certificate(authority.certificate.encode())
    builder = _builder(name, key, now_ms, days).issuer_name(name if issuer is None else issuer.subject)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    builder = builder.add_extension(_usage(is_authority=False), critical=True)
    builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    if issuer is None:
        return builder
    parent = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return builder.add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(parent), critical=False)


def _builder(name: x509.Name, key: ec.EllipticCurvePrivateKey, now_ms: int, days: int) -> x509.CertificateBuilder:
    builder = x509.CertificateBuilder().subject_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(_ALWAYS).not_valid_after(_when(now_ms + days * _DAY_MS))
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


def _signed(
    builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey, signer: ec.EllipticCurvePrivateKey
) -> Pair:
    certificate = builder.sign(signer, hashes.SHA256())
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Pair(
        certificate=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key=private.decode(),
        serial=f"{certificate.serial_number:x}",
    )


def _key(authority: Pair) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(authority.key.encode(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)  # noqa: S101 - `new_authority` made it
    return key


def _usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _host(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(text))
    except ValueError:
        return x509.DNSName(text)


def _when(ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(ms // 1000, tz=dt.timezone.utc)
