"""How a qcow2 image is opened, and the driver."""

from __future__ import annotations

from pemu.block.driver import Driver
from pemu.block.error import ImageError
from pemu.block.formats.qcow2.creation import AMENDMENT, CREATION, create_image
from pemu.block.formats.qcow2.header import (
    NO_CRYPT,
    SMALLEST_CLUSTER,
    Header,
    parse_header,
)
from pemu.block.formats.qcow2.image import Qcow2
from pemu.block.formats.qcow2.layout import Layout, check_tables
from pemu.block.formats.qcow2.measuring import measure
from pemu.block.formats.qcow2.settings import KEYS, settings_of
from pemu.block.image import Image
from pemu.block.opening import Opening, resolve


def read_header(file: Image) -> Header:
    """The header of the image in `file`. Raises ImageError, OSError."""
    head = file.read(0, min(1 << SMALLEST_CLUSTER, file.size))
    if len(head) > 23:
        wanted = min(1 << min(int.from_bytes(head[20:24], "big"), 21), file.size)
        head = file.read(0, max(wanted, len(head)))
    return parse_header(head)


def open_image(opening: Opening) -> Image:
    """Open a qcow2 image. Raises ImageError, OSError."""
    options, mode = opening.options, opening.mode
    file = opening.file()
    header = read_header(file)
    check_tables(header, Layout(header), file.size)
    image = Qcow2(
        opening.name,
        file,
        header,
        settings_of(options, 1 << header.fields.cluster_bits, discard=mode.discard),
        readonly=mode.readonly,
        warn=opening.graph.warn,
    )
    if not mode.describe:
        _open_data_file(opening, image)
    image.load_bitmaps()
    _unlock(opening, image)
    below = opening.backing(header.backing_file, header.backing_format)
    if below is not None:
        image.children["backing"] = below
    if not mode.readonly:
        image.begin_writing(repairs=mode.repair)
    return image


def _open_data_file(opening: Opening, image: Qcow2) -> None:
    if not image.layout.external:
        if opening.given("data-file"):
            raise ImageError("'data-file' can only be set for images with an external data file")
        return
    mode = opening.mode.of_file()
    if opening.given("data-file"):
        data = opening.child("data-file", mode)
    elif image.header.data_file:
        name = resolve(image.header.data_file, opening.name)
        try:
            data = opening.own(opening.graph.open_protocol(name, mode))
        except OSError as error:
            raise ImageError(f"Could not open '{name}': {error.strerror or error}") from None
    else:
        raise ImageError("'data-file' is required for this image")
    image.use_data_file(data)


def _unlock(opening: Opening, image: Qcow2) -> None:
    """Get the key of an encrypted image. Raises ImageError."""
    given = opening.options["encrypt"] or {}
    if image.header.fields.crypt_method == NO_CRYPT:
        if given.get("format"):
            raise ImageError(
                f"No encryption in image header, but options specified format '{given['format']}'"
            )
        return
    from pemu.block.formats.qcow2.encryption import unlock

    image.secrets = opening.graph.objects
    image.key_secret = given.get("key-secret") or ""
    unlock(image, given, opening.graph.objects, describe=opening.mode.describe)


DRIVER = Driver(
    "qcow2",
    open_image,
    keys=KEYS,
    children=("file", "backing", "data-file"),
    create=create_image,
    creation=CREATION,
    amendment=AMENDMENT,
    measure=measure,
)
