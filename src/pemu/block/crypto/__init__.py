"""Encryption of images: ciphers of sectors, LUKS headers, secrets."""
