"""Disk images: `image.Image` is what everything is that can be read as a disk.

`open.open_image` makes one of what -drive says; `backend.Backend` is what devices use: it carries
out their requests in worker threads and tells when they are done.
"""
