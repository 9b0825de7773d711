"""A private certificate authority and a server certificate for the loopback names."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.servers.process import ServerError, find_program

# Strict verification of Python 3.13 requires basicConstraints, keyUsage and the key identifiers.
_CONFIG = """
[req]
distinguished_name = name
[name]
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[server]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectAltName = DNS:localhost, IP:127.0.0.1
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


@dataclass(frozen=True)
class Certificates:
    """PEM files: the authority that clients trust, and certificate and key of a server at `localhost` and 127.0.0.1."""

    ca_file: Path
    cert_file: Path
    key_file: Path


def make_certificates(folder: Path) -> Certificates:
    """Create an authority and a certificate with `openssl`, valid for ten days."""
    config = folder / "openssl.cnf"
    config.write_text(_CONFIG)
    ca_key, ca_file = _new_key(folder, "ca"), folder / "ca.pem"
    _openssl(
        "req",
        "-x509",
        "-new",
        "-key",
        ca_key,
        "-subj",
        "/CN=casemill tests",
        "-days",
        "10",
        "-config",
        config,
        "-extensions",
        "ca",
        "-out",
        ca_file,
    )
    key, request, cert = _new_key(folder, "server"), folder / "server.csr", folder / "server.pem"
    _openssl("req", "-new", "-key", key, "-subj", "/CN=localhost", "-config", config, "-out", request)
    _openssl(
        "x509",
        "-req",
        "-in",
        request,
        "-CA",
        ca_file,
        "-CAkey",
        ca_key,
        "-set_serial",
        "2",
        "-days",
        "10",
        "-extfile",
        config,
        "-extensions",
        "server",
        "-out",
        cert,
    )
    return Certificates(ca_file, cert, key)


def _new_key(folder: Path, name: str) -> Path:
    path = folder / f"{name}.key"
    _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path)
    return path


def _openssl(*arguments: str | Path) -> None:
    program = find_program("openssl")
    if program is None:
        raise ServerError("openssl is not installed")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, check=False)
    if done.returncode:
        raise ServerError(f"openssl {arguments[0]} failed: {done.stderr.decode(errors='replace')}")
