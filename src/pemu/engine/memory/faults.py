"""Errors that guest addresses can cause in Python code."""

from __future__ import annotations


class GuestFault(Exception):
    """A guest-virtual address (`address`) that cannot be read or written."""

    def __init__(self, address: int) -> None:
        super().__init__(f"no access to guest address {address:#x}")
        self.address = address
