"""Images on web and FTP servers."""

from __future__ import annotations

import base64
import contextlib
import random
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from pemu.block.error import ImageError
from pemu.block.graph import Graph
from pemu.block.image import Image
from pemu.block.opening import Mode
from pemu.block.protocols.web import WebFile, WebServer
from tests.patience import LONG

DATA = random.Random(1).randbytes(300_000)

PATIENT = int(LONG)
"""The option `timeout`: a busy host may let a server stand for longer than the usual 5 seconds."""


class Handler(BaseHTTPRequestHandler):
    """Serves DATA in ranges, and some misbehaviour."""

    protocol_version = "HTTP/1.1"
    wbufsize = 1 << 16
    asked: list[dict[str, str]]

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def answer(self, *, body: bool) -> None:
        self.asked.append(dict(self.headers))
        if self.path == "/moved":
            self.send_response(302)
            self.send_header("Location", "/disk")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if self.path == "/none":
            self.send_error(404)
            return
        data, status = DATA, 200
        if body and self.path != "/whole":
            first, _, last = self.headers["Range"].removeprefix("bytes=").partition("-")
            data, status = DATA[int(first) : int(last) + 1], 206
        if body and self.path == "/short":
            data = data[:-1]
        if body and self.path == "/long":
            data += DATA
        self.send_response(status)
        if self.path != "/plain":
            self.send_header("Accept-Ranges", "bytes")
        if self.path != "/unknown" or body:
            self.send_header("Content-Length", str(len(data)))
        if body and self.path == "/other":
            self.send_header("Content-Range", f"bytes 7-{len(data) + 6}/{len(DATA)}")
        self.end_headers()
        if body and self.path == "/slow":
            with contextlib.suppress(OSError):
                for _ in range(300):
                    self.wfile.write(b"x")
                    self.wfile.flush()
                    time.sleep(0.1)
            return
        if body:
            self.wfile.write(data)

    def log_message(self, *words: object) -> None:
        """Nothing is printed."""


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.asked = []
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


@contextmanager
def opened(server: ThreadingHTTPServer, path: str, **options: Any) -> Iterator[Image]:
    url = f"http://127.0.0.1:{server.server_address[1]}{path}"
    graph = Graph()
    graph.objects["s0"] = b"word"
    mode = Mode(readonly=True)
    options = {"timeout": PATIENT, **options}
    image = graph.open_name(url, format="raw", mode=mode, options={"file": options})
    try:
        yield image
    finally:
        image.close()


@pytest.mark.parametrize("path", ["/disk", "/moved"])
def test_pieces_are_read(server: ThreadingHTTPServer, path: str) -> None:
    with opened(server, path, readahead="4k") as image:
        assert image.size == -(-len(DATA) // 512) * 512
        chance = random.Random(2)
        for _ in range(30):
            offset = chance.randrange(len(DATA))
            length = chance.randrange(len(DATA) - offset)
            assert image.read(offset, length) == DATA[offset : offset + length]
        tail = image.read(len(DATA) - 5, 10)
    assert tail == DATA[-5:] + bytes(5)


def test_connection_is_kept_and_pieces_are(server: ThreadingHTTPServer) -> None:
    with opened(server, "/disk") as image:
        for _ in range(10):
            image.read(1000, 1000)
    assert len(Handler.asked) <= 3


def test_user_password_and_cookies_are_sent(server: ThreadingHTTPServer) -> None:
    options = {"username": "me", "password-secret": "s0", "cookie": "a=b"}
    with opened(server, "/disk", **options) as image:
        image.read(0, 10)
    expected = base64.b64encode(b"me:word").decode()
    for asked in Handler.asked:
        assert (asked["authorization"], asked["Cookie"]) == (f"Basic {expected}", "a=b")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/none", "answers 404"),
        ("/plain", "does not support 'range'"),
        ("/unknown", "didn't report file size"),
    ],
)
def test_files_that_cannot_be_opened(server: ThreadingHTTPServer, path: str, message: str) -> None:
    with pytest.raises(ImageError, match=message), opened(server, path):
        pass


@pytest.mark.parametrize("path", ["/whole", "/short", "/long", "/other"])
def test_wrong_answers_are_errors(server: ThreadingHTTPServer, path: str) -> None:
    with opened(server, path) as image, pytest.raises(OSError, match=path[1:]):
        image.read(0, 10)


def test_server_that_sends_too_slowly_is_given_up(server: ThreadingHTTPServer) -> None:
    with opened(server, "/slow") as image:
        file = image.children["file"]
        assert isinstance(file, WebFile)
        assert isinstance(file._server, WebServer)
        file._server._timeout = 1  # only from here on: opening may take its time
        with pytest.raises(OSError, match=r"bytes came in 1 seconds \(timeout\)"):
            image.read(0, 10)


def test_reopening_for_writing_is_refused(server: ThreadingHTTPServer) -> None:
    with opened(server, "/disk") as image, pytest.raises(ImageError, match="is read only"):
        image.reopen(readonly=False)


@pytest.fixture
def untrusted(tmp_path: Path, server: ThreadingHTTPServer) -> ThreadingHTTPServer:
    """The server with TLS, and a certificate that nobody has signed."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl (package openssl) is not installed")
    key, certificate = str(tmp_path / "key"), str(tmp_path / "certificate")
    made = ["-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=127.0.0.1"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", *made],
        check=True,
        capture_output=True,
        timeout=LONG,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def test_certificates_are_checked_unless_told_otherwise(untrusted: ThreadingHTTPServer) -> None:
    url = f"https://127.0.0.1:{untrusted.server_address[1]}/disk"
    mode = Mode(readonly=True)
    with pytest.raises(ImageError, match="certificate verify failed"):
        Graph().open_name(url, format="raw", mode=mode, options={"file": {"timeout": PATIENT}})
    options = {"file": {"sslverify": "off", "timeout": PATIENT}}
    image = Graph().open_name(url, format="raw", mode=mode, options=options)
    assert image.read(5, 5) == DATA[5:10]
    image.close()


def test_ranges_can_be_forced(server: ThreadingHTTPServer) -> None:
    with opened(server, "/plain", **{"force-range": True}) as image:
        assert image.read(7, 10) == DATA[7:17]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://127.0.0.1:1/x", "refused"),
        ("http://127.0.0.1:99999/x", "[Pp]ort"),
        ("http:///x", "names no host"),
        ("http://127.0.0.1:1/x,readahead=5", "refused"),
    ],
)
def test_addresses_that_cannot_be_used(url: str, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        Graph().open_name(url, format="raw", mode=Mode(readonly=True))


def test_it_is_not_opened_for_writing(server: ThreadingHTTPServer) -> None:
    url = f"http://127.0.0.1:{server.server_address[1]}/disk"
    with pytest.raises(ImageError, match="cannot be written"):
        Graph().open_name(url, format="raw")


class Ftp(threading.Thread):
    """A small FTP server for one connection at a time."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]

    def run(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection: socket.socket) -> None:
        start = 0
        passive: socket.socket | None = None
        with connection, connection.makefile("rwb", buffering=0) as stream:

            def say(text: str) -> None:
                stream.write(f"{text}\r\n".encode())

            say("220 ready")
            while line := stream.readline().decode().strip():
                word, _, rest = line.partition(" ")
                if word in ("USER", "PASS"):
                    say("230 in")
                elif word == "TYPE":
                    say("200 ok")
                elif word == "SIZE":
                    say(f"213 {len(DATA)}" if rest == "dir/disk" else "550 no such file")
                elif word == "EPSV":
                    passive = socket.create_server(("127.0.0.1", 0))
                    say(f"229 Entering (|||{passive.getsockname()[1]}|)")
                elif word == "PASV":
                    passive = socket.create_server(("127.0.0.1", 0))
                    port = passive.getsockname()[1]
                    say(f"227 Entering (127,0,0,1,{port >> 8},{port & 255})")
                elif word == "REST":
                    start = int(rest)
                    say("350 from there")
                elif word == "RETR" and passive is not None:
                    say("150 here it comes")
                    data, _ = passive.accept()
                    passive.close()
                    with data:
                        try:
                            data.sendall(DATA[start:])
                        except OSError:
                            pass
                    start = 0
                    say("226 done")
                else:
                    say("502 what?")


@pytest.fixture
def ftp() -> Iterator[Ftp]:
    server = Ftp()
    server.start()
    yield server
    server.listener.shutdown(socket.SHUT_RDWR)  # wakes the thread, which could take others' clients
    server.join()
    server.listener.close()


def test_pieces_come_by_ftp(ftp: Ftp) -> None:
    url = f"ftp://127.0.0.1:{ftp.port}/dir/disk"
    options = {"file": {"readahead": "64k", "timeout": PATIENT}}
    image = Graph().open_name(url, format="raw", mode=Mode(readonly=True), options=options)
    assert image.read(100_000, 100_000) == DATA[100_000:200_000]
    assert image.read(5, 10) == DATA[5:15]
    image.close()


def test_file_that_the_ftp_server_has_not(ftp: Ftp) -> None:
    with pytest.raises(ImageError, match="550 no such file"):
        Graph().open_name(
            f"ftp://127.0.0.1:{ftp.port}/x",
            mode=Mode(readonly=True),
            options={"file": {"timeout": PATIENT}},
        )
