"""pemu-nbd as a server: opens the image, listens, and goes on until nobody needs it."""

from __future__ import annotations

import errno
import fnmatch
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue

from pemu.block.error import ImageError
from pemu.block.filters.overlay import Overlay
from pemu.block.formats.raw import Raw
from pemu.block.graph import Graph
from pemu.block.image import Image
from pemu.block.nbd.device import Device
from pemu.block.nbd.export import Export
from pemu.block.nbd.server import Server
from pemu.block.nbd.tls import TlsServer, find_authorization
from pemu.block.opening import Mode
from pemu.cli import outcome
from pemu.cli.background import leave_terminal, pid_file
from pemu.cli.image_options import AIO, WRITETHROUGH, cached, image_tree, new_graph
from pemu.cli.nbd_connection import PROGRAM, address, tls_credentials
from pemu.cli.switches import Given
from pemu.options.error import OptionError
from pemu.options.keyval import split
from pemu.options.types import Int
from pemu.sockets import Address, listen

SWITCH_INTERVAL = 0.0002
"""Seconds for which a thread may keep others that have a request from running."""

FIRST_INHERITED = 3
"""The descriptor of the first socket that systemd hands over."""

_EVENT = "nbd_request"


def serve(given: Given) -> int:
    """Serve what the command line says. Raises OptionError, ImageError."""
    shared = _number(given.get("e", "1"), "shared device number", (1 << 31) - 1)
    mode = _mode(given)
    offset = _number(given.get("o", "0"), "offset", (1 << 63) - 1)
    graph = new_graph(given.all("object"))
    tls = _tls(given, graph)
    if "help" in given.all("T"):
        return outcome.show(_EVENT)
    trace = _trace(given)
    inherited = _inherited()
    if inherited is not None and any(name in given for name in "pbk"):
        raise OptionError("Cannot use --port, --bind or --socket with socket activation")
    where = address(given)
    background = "fork" in given or ("c" in given and "v" not in given)
    launcher = leave_terminal() if background else None
    sys.setswitchinterval(SWITCH_INTERVAL)
    ends: SimpleQueue[None] = SimpleQueue()  # which signal handlers may use: an Event would block
    with ExitStack() as stack:
        image = _open(given, graph, mode, offset)
        stack.callback(image.close)
        export = _export(given, image, shared)
        stays = "t" in given or "c" in given  # until somebody disconnects the device

        def gone(left: int) -> None:
            if not left and not stays:
                ends.put(None)

        # Before anybody can see the socket, and take it that the server is there.
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: ends.put(None))
        server = Server(
            _sockets(given, inherited, where),
            [export],
            limit=shared,
            tls=tls,
            gone=gone,
            warn=_warn(given),
            failed=_complain,
            trace=trace,
        )
        stack.callback(server.stop)
        stack.enter_context(pid_file(given.get("pid-file"), "--pid-file"))
        if "c" in given:
            stack.enter_context(_connected(given.get("c"), server, export, ends))
            if launcher is None:
                _say(f"NBD device {given.get('c')} is now connected to {given.words[0]}\n")
        server.start()
        if launcher is not None:
            launcher.ready()
        ends.get()
    return 0


def _tls(given: Given, graph: Graph) -> TlsServer | None:
    """What the server wants of clients, None if they come without TLS."""
    credentials = tls_credentials(given, graph, server=True)
    if "tls-hostname" in given:
        raise OptionError("TLS hostname is only supported with export list")
    if credentials is None:
        return None
    if "c" in given:
        raise OptionError("TLS is not supported with a host device")
    rules = given.get("tls-authz")
    return TlsServer(credentials, find_authorization(graph.objects, rules) if rules else None)


def _sockets(given: Given, inherited: socket.socket | None, where: Address) -> list[socket.socket]:
    """What to listen on: nothing if the kernel's device is to be the only client."""
    if inherited is not None:
        return [inherited]
    if "c" in given and "k" not in given:
        return []
    sock = listen(where)
    sock.listen(128)
    return [sock]


def _number(text: str, what: str, most: int) -> int:
    try:
        return Int(maximum=most).parse(text)
    except OptionError:
        raise OptionError(f"Invalid {what} '{text}'") from None


def _mode(given: Given) -> Mode:
    if len(given.all("n") + given.all("cache")) > 1:
        raise OptionError("-n and --cache can only be specified once")
    for once in ("aio", "discard"):
        if len(given.all(once)) > 1:
            raise OptionError(f"--{once} can only be specified once")
    mode = Mode(readonly=any(name in given for name in "rsl"))
    try:
        mode = cached(mode, "none" if "n" in given else given.get("cache", "writeback") or "''")
    except OptionError:
        raise OptionError(f"Invalid cache mode `{given.get('cache')}'") from None
    aio = given.get("aio", "threads")
    if aio not in AIO:
        raise OptionError(f"Invalid aio mode '{aio}'")
    discard = given.get("discard", "ignore")
    if discard not in ("ignore", "off", "unmap", "on"):
        raise OptionError(f"Invalid discard mode `{discard}'")
    unmap = discard in ("unmap", "on")
    zeroes = given.get("detect-zeroes", "off")
    if zeroes not in ("off", "on", "unmap"):
        raise OptionError(f"Failed to parse detect_zeroes mode: invalid parameter value: {zeroes}")
    if zeroes == "unmap" and not unmap:
        raise OptionError(
            "setting detect-zeroes to unmap is not allowed without setting discard operation to "
            "unmap"
        )
    return mode._replace(aio=aio, discard=unmap, zeroes=zeroes)


def _open(given: Given, graph: Graph, mode: Mode, offset: int) -> Image:
    (name,) = given.words
    try:
        if "f" in given and not given.get("f"):
            raise ImageError("Unknown driver ''")
        if "image-opts" not in given:
            image = graph.open_name(name, format=given.get("f"), mode=mode)
        elif "f" in given:
            raise OptionError("--image-opts and -f are mutually exclusive")
        else:
            image = graph.open_name("", mode=mode, options=image_tree(name))
    except ImageError as error:
        raise OptionError(f"Failed to blk_new_open '{name}': {error}") from None
    try:
        if "l" in given:
            _show_snapshot(image, given.get("l"))
        if "s" in given:
            image = Overlay(image)
            image.unmap = mode.discard
        if offset:
            image = Raw(image, offset=offset)
    except BaseException:
        image.close()
        raise
    return image


def _show_snapshot(image: Image, which: str) -> None:
    exact = which.startswith("snapshot.")
    keys = dict(split(which)) if exact else {"snapshot.id": which, "snapshot.name": which}
    if set(keys) - {"snapshot.id", "snapshot.name"}:
        raise OptionError(f"Invalid snapshot '{which}'; write snapshot.id=..,snapshot.name=..")
    for one in image.snapshots():
        same_id = one.id == keys.get("snapshot.id", one.id)
        same_name = one.name == keys.get("snapshot.name", one.name)
        if (same_id and same_name) if exact else (same_id or same_name):
            image.show_snapshot(one.id)
            return
    raise OptionError("Failed to load snapshot: Can't find snapshot")


def _export(given: Given, image: Image, shared: int) -> Export:
    name, text = given.get("x"), given.get("D")
    for what, value in (("export name", name), ("description", text)):
        if len(value.encode("utf-8", "surrogateescape")) > 4096:
            raise OptionError(f"{what} '{value[:20]}...' is longer than 4096 bytes")
    return Export(
        image,
        name,
        text,
        readonly=any(one in given for one in "rl"),
        bitmaps=given.all("B"),
        depth="A" in given,
        shared=shared != 1,
        writethrough=given.get("cache") in WRITETHROUGH,
    )


def _inherited() -> socket.socket | None:
    """The listening socket that systemd or another supervisor has handed over."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return None
    count = os.environ.get("LISTEN_FDS", "")
    if count != "1":
        raise OptionError(f"LISTEN_FDS is '{count}'; {PROGRAM} takes one socket")
    os.environ.pop("LISTEN_PID")
    os.environ.pop("LISTEN_FDS")
    try:
        sock = socket.socket(fileno=FIRST_INHERITED)
        listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise OptionError(f"the socket that was handed over: {error.strerror}") from None
    if not listens:
        raise OptionError("the socket that was handed over does not listen")
    return sock


def _warn(given: Given) -> Callable[[str], object]:
    if "v" not in given:
        return lambda text: None
    return _complain


def _complain(text: str) -> None:
    _say(f"{PROGRAM}: {text}\n")


def _say(text: str) -> None:
    try:
        os.write(2, text.encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # nobody listens


def _trace(given: Given) -> Callable[[str], object] | None:
    patterns = []
    for text in given.all("T"):
        for key, value in split(text, implied="enable"):
            if key != "enable":
                raise OptionError(f"'{key}' of --trace is not supported yet; write an event's name")
            patterns.append(value or "")
    if not any(fnmatch.fnmatchcase(_EVENT, pattern) for pattern in patterns):
        if patterns:
            _say(f"{PROGRAM}: --trace: there is one event, {_EVENT}\n")
        return None
    return lambda text: _say(f"{_EVENT} {text}\n")


@contextmanager
def _connected(
    path: str, server: Server, export: Export, ends: SimpleQueue[None]
) -> Iterator[None]:
    """While the body runs, a device of the kernel is a client of `server`.

    ends: is told when somebody has disconnected it.
    """
    try:
        device = Device(path)
    except OSError as error:
        missing = error.errno == errno.ENOENT and path.startswith("/dev/nbd")
        remedy = "; the kernel's module makes it, see modprobe nbd" if missing else ""
        raise OptionError(f"Failed to open {path}: {error.strerror}{remedy}") from None
    ours, theirs = socket.socketpair()
    server.serve(theirs)
    try:
        device.connect(ours, export.name, lambda: ends.put(None))
    except OSError as error:
        device.close()
        raise OptionError(f"Failed to set NBD socket of {path}: {error.strerror}") from None
    try:
        yield
    finally:
        device.close()
