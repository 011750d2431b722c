"""Disks, CD-ROM drives, flash chips, and what they are connected to."""
