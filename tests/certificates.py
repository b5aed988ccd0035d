"""Certificates for tests, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path


def make_certificates(folder: Path) -> None:
    """A CA, and by it a certificate for the server and one for a client."""
    (folder / "san").write_text("subjectAltName=IP:127.0.0.1")
    new = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"
    _openssl(folder, f"req -x509 {new} -days 2 -subj /CN=ca -keyout ca.key -out ca.pem")
    for name in ("server", "client"):
        _openssl(folder, f"req {new} -subj /CN={name} -keyout {name}.key -out {name}.csr")
        signed = f"-CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out {name}.pem"
        _openssl(folder, f"x509 -req -in {name}.csr {signed}")


def _openssl(folder: Path, words: str) -> None:
    subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)
