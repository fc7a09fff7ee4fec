"""The store: artifacts by fingerprint, and what a fingerprint is made of."""
