"""Structures of the kernel's interface: each declared once, layouts for every guest ABI derived."""
