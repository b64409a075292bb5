"""HTTPS with one's own certificate, and certificates that cannot be used."""

from __future__ import annotations

import ssl
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import Outcome
from live_server import serving

Run = Callable[..., Outcome]


def write_certificate(folder: Path, name: str, passphrase: bytes | None = None) -> tuple[Path, Path]:
    """Writes a certificate of the name localhost and its key; returns both files."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject, now = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")]), datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    )
    hidden = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    certificate, private = folder / f"{name}.pem", folder / f"{name}-key.pem"
    certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden))
    return certificate, private


def test_clients_that_trust_the_certificate_are_served(tmp_path: Path) -> None:
    certificate, key = write_certificate(tmp_path, "own")
    trusting = ssl.create_default_context(cafile=str(certificate))
    with serving("--tls-certificate", str(certificate), "--tls-key", str(key)) as server:
        with urllib.request.urlopen(f"https://localhost:{server.port}/v2/health/ready", context=trusting) as response:
            assert response.status == 200
        assert server.lines[-1].startswith("https://")
        assert server.stop() == 0


def test_certificates_that_cannot_be_used_are_refused(tmp_path: Path, mlcycle: Run) -> None:
    certificate, key = write_certificate(tmp_path, "own")
    _, of_another = write_certificate(tmp_path, "other")
    _, hidden = write_certificate(tmp_path, "hidden", b"a passphrase")
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nnothing\n")
    for first, second in ((certificate, of_another), (certificate, hidden), (broken, key), (tmp_path / "no.pem", key)):
        outcome = mlcycle("serve", "--tls-certificate", first, "--tls-key", second)
        assert outcome.code == 3
        assert first.name in outcome.err
        assert "without a passphrase" in outcome.err
    assert mlcycle("serve", "--tls-key", key).code == 2
