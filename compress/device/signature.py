"""Ed25519 signatures of a bundle: `manifest.sig` signs the bytes of `manifest.json`, which names the hash of every other file.

Needs the package cryptography, imported only here and only when a bundle is signed or its signature is checked.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType

from .errors import ManifestError
from .manifest import MANIFEST, SIGNATURE


def sign_manifest(folder: Path, private_key_pem: bytes) -> Path:
    """The path of manifest.sig, written with the 64 bytes of the signature as hex; raises ManifestError for an unusable key."""
    key = _load_key(private_key_pem, private=True)
    path = folder / SIGNATURE
    path.write_text(key.sign(_manifest_bytes(folder)).hex() + "\n", encoding="ascii")
    return path


def verify_signature(folder: Path, public_key_pem: bytes) -> None:
    """Returns when manifest.sig signs manifest.json under this key; raises ManifestError for an absent, broken or foreign signature."""
    key = _load_key(public_key_pem, private=False)
    path = folder / SIGNATURE
    if path.is_symlink():
        raise ManifestError(f"{path}: a symbolic link; a bundle holds plain files only")
    try:
        signature = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except FileNotFoundError:
        raise ManifestError(f"{path}: no such file; the bundle is not signed, so verify it without a key or ask for a signed one") from None
    except ValueError as error:
        raise ManifestError(f"{path}: not a signature in hex; copy the bundle again") from error
    invalid = _cryptography().exceptions.InvalidSignature
    try:
        key.verify(signature, _manifest_bytes(folder))
    except invalid:
        raise ManifestError(f"{path}: does not sign this {MANIFEST} under this key; wrong key, or the manifest was changed") from None


def _manifest_bytes(folder: Path) -> bytes:
    try:
        return (folder / MANIFEST).read_bytes()
    except OSError as error:
        raise ManifestError(f"{folder / MANIFEST}: cannot be read ({error.strerror}); this folder is not a bundle") from error


def _load_key(pem: bytes, *, private: bool):  # type: ignore[no-untyped-def]  # cryptography's types are not imported on a device
    module = _cryptography()
    serialization, ed25519 = module.hazmat.primitives.serialization, module.hazmat.primitives.asymmetric.ed25519
    kind = "private" if private else "public"
    try:
        key = serialization.load_pem_private_key(pem, password=None) if private else serialization.load_pem_public_key(pem)
    except (ValueError, TypeError, module.exceptions.UnsupportedAlgorithm) as error:
        raise ManifestError(f"the key is no unencrypted {kind} key in PEM form: {error}") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey if private else ed25519.Ed25519PublicKey):
        raise ManifestError(f"the key is a {type(key).__name__}; bundles are signed with Ed25519")
    return key


def _cryptography() -> ModuleType:
    try:
        import cryptography
        import cryptography.exceptions
        import cryptography.hazmat.primitives.asymmetric.ed25519
        import cryptography.hazmat.primitives.serialization
    except ImportError as error:
        raise ManifestError(f"signatures need the package cryptography ({error}): pip install cryptography") from error
    return cryptography
