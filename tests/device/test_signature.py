"""Signatures of a manifest, and the keys and signatures that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from compress.device.errors import ManifestError
from compress.device.manifest import MANIFEST, SIGNATURE, verify_folder, write_manifest
from compress.device.signature import sign_manifest, verify_signature

serialization = pytest.importorskip("cryptography.hazmat.primitives.serialization", reason="signatures need cryptography")
ec = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ec", reason="signatures need cryptography")
ed25519 = pytest.importorskip("cryptography.hazmat.primitives.asymmetric.ed25519", reason="signatures need cryptography")


def pem(key) -> tuple[bytes, bytes]:
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return private, key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a").write_text("a")
    write_manifest(tmp_path, extra={})
    return tmp_path


def test_signature_verifies_under_its_key(folder: Path) -> None:
    private, public = pem(ed25519.Ed25519PrivateKey.generate())
    sign_manifest(folder, private)
    verify_signature(folder, public)
    assert verify_folder(folder)["files"].keys() == {"a"}  # the signature is no unlisted file


def test_signature_refuses_a_wrong_key(folder: Path) -> None:
    sign_manifest(folder, pem(ed25519.Ed25519PrivateKey.generate())[0])
    with pytest.raises(ManifestError, match="wrong key, or the manifest was changed"):
        verify_signature(folder, pem(ed25519.Ed25519PrivateKey.generate())[1])


def test_signature_refuses_a_changed_manifest(folder: Path) -> None:
    private, public = pem(ed25519.Ed25519PrivateKey.generate())
    sign_manifest(folder, private)
    (folder / "b").write_text("b")
    write_manifest(folder, extra={})
    with pytest.raises(ManifestError, match="does not sign this manifest.json"):
        verify_signature(folder, public)


def test_signature_refuses_an_unsigned_bundle(folder: Path) -> None:
    with pytest.raises(ManifestError, match="the bundle is not signed"):
        verify_signature(folder, pem(ed25519.Ed25519PrivateKey.generate())[1])


def test_signature_refuses_a_broken_signature(folder: Path) -> None:
    (folder / SIGNATURE).write_text("no hex")
    with pytest.raises(ManifestError, match="not a signature in hex"):
        verify_signature(folder, pem(ed25519.Ed25519PrivateKey.generate())[1])


def test_signature_refuses_a_key_of_another_kind(folder: Path) -> None:
    private, public = pem(ec.generate_private_key(ec.SECP256R1()))
    with pytest.raises(ManifestError, match="signed with Ed25519"):
        sign_manifest(folder, private)
    with pytest.raises(ManifestError, match="signed with Ed25519"):
        verify_signature(folder, public)


@pytest.mark.parametrize("key", [b"", b"no key"])
def test_signature_refuses_what_is_no_key(folder: Path, key: bytes) -> None:
    with pytest.raises(ManifestError, match="no unencrypted private key in PEM form"):
        sign_manifest(folder, key)
    with pytest.raises(ManifestError, match="no unencrypted public key in PEM form"):
        verify_signature(folder, key)


def test_signature_refuses_a_folder_without_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()
    with pytest.raises(ManifestError, match="not a bundle"):
        sign_manifest(folder, pem(ed25519.Ed25519PrivateKey.generate())[0])
