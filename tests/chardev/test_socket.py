"""Sockets: servers and clients, TCP and Unix, telnet, and peers that vanish."""

from __future__ import annotations

import os
import re
import socket
import threading
from pathlib import Path

import pytest

from pemu.chardev.interface import Chardev, Event
from pemu.options.error import OptionError
from tests.chardev.conftest import Front, World
from tests.patience import LONG, free_port, until

IAC = 255
GREETING = bytes.fromhex("fffb01fffb03fffb00fffd00")  # the options that qemu-system-mips 7.2 sends


def port_of(chardev: Chardev) -> int:
    """The port in a `filename` like `disconnected:tcp:127.0.0.1:1234,server=on`."""
    found = re.search(r":(\d+),server", chardev.filename)
    assert found
    return int(found[1])


def dial(chardev: Chardev) -> socket.socket:
    """Connect to a TCP server."""
    return socket.create_connection(("127.0.0.1", port_of(chardev)), timeout=LONG)


def receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := sock.recv(size - len(data))):
        data += more
    return data


def listener(number: int = 0) -> socket.socket:
    sock = socket.create_server(("127.0.0.1", number))
    sock.settimeout(LONG)
    return sock


def serve(world: World, options: str = "") -> tuple[Chardev, Front]:
    return world.connect(f"socket,id=s,host=127.0.0.1,port=0,server=on,wait=off{options}")


def test_server_carries_both_directions(world: World) -> None:
    port, front = serve(world)
    with dial(port) as peer:
        front.expect_event(Event.OPENED)
        port.write(b"from the guest")
        assert receive(peer, 14) == b"from the guest"
        peer.sendall(bytes(range(256)))
        front.expect(bytes(range(256)))


def test_output_without_a_client_is_lost(world: World) -> None:
    port, front = serve(world)
    assert port.write(b"x" * 200000) == 200000
    with dial(port) as peer:
        front.expect_event(Event.OPENED)
        port.write(b"seen")
        assert receive(peer, 4) == b"seen"


def test_server_takes_one_client_after_the_other(world: World) -> None:
    port, front = serve(world)
    number = port_of(port)
    with dial(port) as first:
        front.expect_event(Event.OPENED)
        second = socket.create_connection(("127.0.0.1", number), timeout=LONG)
        second.sendall(b"two")
        first.sendall(b"one")
        front.expect(b"one")
    front.expect_event(Event.CLOSED)
    front.expect_event(Event.OPENED)
    front.expect(b"two")
    second.close()


def test_filenames_are_those_of_the_reference(world: World) -> None:
    port, front = serve(world)
    number = port_of(port)
    assert port.filename == f"disconnected:tcp:127.0.0.1:{number},server=on"
    with dial(port) as peer:
        front.expect_event(Event.OPENED)
        own = peer.getsockname()[1]
        assert port.filename == f"tcp:127.0.0.1:{number},server=on <-> 127.0.0.1:{own}"


def test_server_with_wait_starts_with_its_first_client(world: World, tmp_path: Path) -> None:
    path = f"{tmp_path}/s"
    made: list[Chardev] = []
    maker = threading.Thread(
        target=lambda: made.append(world.chardevs.create(f"socket,id=s,path={path},server=on"))
    )
    maker.start()
    until(lambda: world.warned, "the note that it waits")
    assert world.warned == [f"info: waiting for a connection on disconnected:unix:{path},server=on"]
    assert not made
    with socket.socket(socket.AF_UNIX) as peer:
        peer.settimeout(LONG)
        until(lambda: os.path.exists(path))
        peer.connect(path)
        maker.join()
        front = Front()
        made[0].attach(front)
        world.start()
        peer.sendall(b"hello")
        front.expect(b"hello")
        assert made[0].filename == f"unix:{path},server=on"
    world.stop()
    assert not os.path.exists(path)


def test_unix_socket_that_was_left_behind_is_replaced(world: World, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(f"{tmp_path}/s")
    _, front = world.connect(f"socket,id=s,path={tmp_path}/s,server=on,wait=off")
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(f"{tmp_path}/s")
        front.expect_event(Event.OPENED)


def test_file_at_the_path_of_a_unix_socket_is_kept(world: World, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("precious")
    with pytest.raises(OptionError, match="cannot listen at '.*': Address already in use"):
        world.chardevs.create(f"socket,id=s,path={tmp_path}/s,server=on,wait=off")
    assert (tmp_path / "s").read_text() == "precious"


@pytest.mark.parametrize("tight", ["on", "off"])
def test_abstract_unix_socket(world: World, tight: str) -> None:
    name = f"pemu-test-{os.getpid()}-{tight}"
    port, front = world.connect(
        f"socket,id=s,path={name},abstract=on,tight={tight},server=on,wait=off"
    )
    address = b"\0" + name.encode()
    with socket.socket(socket.AF_UNIX) as peer:
        peer.connect(address if tight == "on" else address.ljust(108, b"\0"))
        front.expect_event(Event.OPENED)
        assert port.filename == f"unix:{name},abstract=on,tight={tight},server=on"


def test_client_connects_at_once(world: World) -> None:
    with listener() as server:
        number = server.getsockname()[1]
        port, front = world.connect(f"socket,id=s,host=127.0.0.1,port={number}")
        peer = server.accept()[0]
        front.expect_event(Event.OPENED)
        peer.sendall(b"in")
        front.expect(b"in")
        assert port.filename.endswith(f" <-> 127.0.0.1:{number}")
        peer.close()
        front.expect_event(Event.CLOSED)
        assert port.write(b"lost") == 4
        assert port.filename == f"disconnected:tcp:127.0.0.1:{number}"


def test_client_without_a_server_is_refused(world: World) -> None:
    number = free_port()
    with pytest.raises(
        OptionError, match=f"cannot connect to '127.0.0.1:{number}': Connection refused"
    ):
        world.chardevs.create(f"socket,id=s,host=127.0.0.1,port={number}")


def test_client_connects_again_after_its_peer_has_vanished(world: World) -> None:
    number = free_port()
    server = listener(number)
    port, front = world.connect(f"socket,id=s,host=127.0.0.1,port={number},reconnect=1")
    peer = server.accept()[0]
    front.expect_event(Event.OPENED)
    server.close()
    peer.close()
    front.expect_event(Event.CLOSED)
    until(lambda: world.warned, "the first attempt that fails")
    again = listener(number)
    peer = again.accept()[0]
    front.expect_event(Event.OPENED)
    port.write(b"here I am")
    assert receive(peer, 9) == b"here I am"
    assert world.warned == [
        f"s: cannot connect to '127.0.0.1:{number}': Connection refused; trying again every 1 s"
    ]
    peer.close()
    again.close()


def test_reset_connection_is_a_closed_one(world: World) -> None:
    port, front = serve(world)
    peer = dial(port)
    front.expect_event(Event.OPENED)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    peer.close()
    front.expect_event(Event.CLOSED)


def test_vanished_peer_is_noticed_while_the_front_end_takes_nothing(world: World) -> None:
    port, front = serve(world)
    with dial(port):
        front.expect_event(Event.OPENED)
        front.room = 0
        while port.write(b"x" * 100000):
            pass
    front.expect_event(Event.CLOSED)
    assert front.writable_again.wait(LONG)
    assert port.write(b"x") == 1


def test_megabytes_reach_a_slow_reader_in_order(world: World) -> None:
    port, front = serve(world)
    data = os.urandom(1 << 20) * 8
    with dial(port) as peer:
        front.expect_event(Event.OPENED)
        got = bytearray()

        def read() -> None:
            while len(got) < len(data):
                got.extend(peer.recv(7001))

        reader = threading.Thread(target=read)
        reader.start()
        sent = 0
        while sent < len(data):
            front.writable_again.clear()
            taken = port.write(data[sent : sent + 100000])
            sent += taken
            if taken == 0:
                assert port.backlog <= 64 * 1024
                assert front.writable_again.wait(LONG)
        reader.join()
    assert got == data


def test_writes_of_several_threads_are_not_mixed_up(world: World) -> None:
    port, front = serve(world)
    count, lines = 4, 5000
    with dial(port) as peer:
        front.expect_event(Event.OPENED)

        def write(letter: str) -> None:
            for number in range(lines):
                port.send(f"{letter}{number:06}\n".encode())

        writers = [threading.Thread(target=write, args=("abcd"[i],)) for i in range(count)]
        for writer in writers:
            writer.start()
        text = receive(peer, count * lines * 8).decode()
        for writer in writers:
            writer.join()
    every = text.splitlines()
    for letter in "abcd":
        assert [w for w in every if w[0] == letter] == [f"{letter}{n:06}" for n in range(lines)]


def test_output_under_way_is_written_at_the_end(world: World) -> None:
    port, front = serve(world)
    with dial(port) as peer:
        front.expect_event(Event.OPENED)
        port.send(b"x" * 3_000_000)
        got = bytearray()

        def read() -> None:
            while data := peer.recv(1 << 16):
                got.extend(data)

        reader = threading.Thread(target=read)
        reader.start()
        world.stop()
        reader.join()
    assert len(got) == 3_000_000


def test_inherited_socket_is_used(world: World) -> None:
    ours, theirs = socket.socketpair()
    port, front = world.connect(f"socket,id=s,fd={ours.detach()}")
    front.expect_event(Event.OPENED)
    port.write(b"out")
    assert receive(theirs, 3) == b"out"
    theirs.close()


def test_inherited_listener_is_used(world: World) -> None:
    server = listener()
    port, front = world.connect(f"socket,id=s,fd={server.detach()},server=on,wait=off")
    with dial(port) as peer:
        peer.sendall(b"in")
        front.expect(b"in")


def test_server_takes_the_next_free_port(world: World) -> None:
    with listener() as server:
        number = server.getsockname()[1]
        last = min(number + 20, 65535)
        made = world.chardevs.create(
            f"socket,id=s,host=127.0.0.1,port={number},to={last},server=on,wait=off"
        )
        assert number < port_of(made) <= last


def test_small_pieces_are_sent_at_once_on_demand(world: World) -> None:
    port, front = serve(world, ",nodelay=on")
    with dial(port) as peer:
        front.expect_event(Event.OPENED)
        port.write(b"x")
        assert receive(peer, 1) == b"x"


# Telnet.


def test_telnet_server_greets_and_escapes(world: World) -> None:
    port, front = serve(world, ",telnet=on")
    assert port.filename.startswith("disconnected:telnet:127.0.0.1:")
    with dial(port) as peer:
        front.expect_event(Event.OPENED)
        assert receive(peer, len(GREETING)) == GREETING
        port.write(b"a\xffb")
        assert receive(peer, 4) == b"a\xff\xffb"


@pytest.mark.parametrize(
    ("sent", "stream"),
    [
        (b"\xff\xfd\x01\xff\xfd\x03\xff\xfb\x00\xff\xfd\x00plain", b"plain"),
        (b"a\xff\xffb", b"a\xffb"),
        (b"a\xff\xf1b", b"ab"),
        (b"a\xff\xfa\x1f\x00\x50\x00\xff\xff\xff\xf0b", b"ab"),
    ],
)
def test_telnet_commands_are_not_part_of_the_stream(
    world: World, sent: bytes, stream: bytes
) -> None:
    port, front = serve(world, ",telnet=on")
    with dial(port) as peer:
        for at in range(len(sent)):
            peer.sendall(sent[at : at + 1])
        front.expect(stream)


def test_telnet_break_is_a_break(world: World) -> None:
    port, front = serve(world, ",telnet=on")
    with dial(port) as peer:
        peer.sendall(b"\xff\xf3.")
        front.expect_event(Event.BREAK)
        front.expect(b".")


def test_telnet_escapes_stay_whole_before_a_slow_reader(world: World) -> None:
    port, front = serve(world, ",telnet=on")
    with dial(port) as peer:
        front.expect_event(Event.OPENED)
        sent = 0
        while taken := port.write(b"\xff" * 999):
            assert taken == 999
            sent += taken
        data = receive(peer, len(GREETING) + 2 * sent)
        assert data == GREETING + b"\xff" * (2 * sent)


def test_telnet_client_starts_no_negotiation(world: World) -> None:
    with listener() as server:
        number = server.getsockname()[1]
        port, front = world.connect(f"socket,id=s,host=127.0.0.1,port={number},telnet=on")
        peer = server.accept()[0]
        front.expect_event(Event.OPENED)
        port.write(b"first")
        assert receive(peer, 5) == b"first"
        peer.close()


# Mistakes, with the conditions of qemu-system-mips 7.2.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "a socket has one of 'path', 'fd' and 'host'"),
        ("path=/x,host=y,port=1", "a socket has one of 'path', 'fd' and 'host'"),
        ("port=1", "'host' is missing beside 'port'"),
        ("host=x", "'port' is missing"),
        ("host=x,port=70000", "'70000' is no port"),
        ("host=x,port=1,server=on,reconnect=2", "'reconnect' is for clients"),
        ("host=x,port=1,wait=off", "'wait' is for servers"),
        ("host=x,port=1,delay=on,nodelay=on", "'delay' and 'nodelay' exclude each other"),
        ("host=x,port=1,abstract=on", "'abstract' is for Unix sockets"),
        ("host=127.0.0.1,port=1,ipv4=off,ipv6=off", "leave no address"),
        ("host=127.0.0.1,port=nope", "the address '127.0.0.1:nope' is unknown: "),
        ("fd=x", "fd: 'x' is not the number of a descriptor"),
        ("fd=987", "fd: descriptor '987': Bad file descriptor"),
        ("fd=1,reconnect=1", "'reconnect' cannot be with 'fd'"),
        ("path=/nope/s", "cannot connect to '/nope/s': No such file or directory"),
        (f"path={'0' * 120}", "is too long; it has at most 107 bytes"),
        ("host=x,port=1,websocket=on", "'websocket' is for servers; add server=on"),
        (
            "host=x,port=1,server=on,websocket=on,telnet=on",
            "'websocket' and 'telnet' exclude each other",
        ),
        ("host=x,port=1,tn3270=on", "'tn3270' is not supported"),
        ("host=x,port=1,tls-creds=t", "'tls-creds' is not supported"),
        ("host=x,port=1,servr=on", "'servr' is not a key here; did you mean 'server'?"),
    ],
)
def test_mistakes_are_explained(world: World, options: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        world.chardevs.create(f"socket,id=s,{options}")
    assert message in str(caught.value)


def test_descriptor_that_is_no_socket_is_refused(world: World, tmp_path: Path) -> None:
    with (
        open(tmp_path / "f", "w") as file,
        pytest.raises(OptionError, match=r"fd: descriptor '\d+' is not a socket"),
    ):
        world.chardevs.create(f"socket,id=s,fd={file.fileno()}")
