"""The comma list of -chardev, the short forms, the registry."""

from __future__ import annotations

import pytest

from pemu.chardev.interface import Event
from pemu.chardev.legacy import comma_list
from pemu.chardev.options import BACKENDS, MISSING
from pemu.options.error import HelpRequest, OptionError
from tests.chardev.conftest import Front, World


@pytest.mark.parametrize(
    ("short", "long"),
    [
        ("null", "null,id=x"),
        ("stdio", "stdio,id=x"),
        ("mon:stdio", "stdio,id=x,mux=on,signal=off"),
        ("mon:pty", "pty,id=x,mux=on"),
        ("file:a,b", "file,id=x,path=a,,b"),
        ("pipe:/p", "pipe,id=x,path=/p"),
        ("/dev/ttyS0", "serial,id=x,path=/dev/ttyS0"),
        ("unix:/s,server=on,wait=off", "socket,id=x,path=/s,server=on,wait=off"),
        ("tcp:h:1", "socket,id=x,host=h,port=1"),
        ("tcp::1,server,nowait", "socket,id=x,host=,port=1,server,nowait"),
        ("tcp:[::1]:1", "socket,id=x,host=::1,port=1"),
        ("telnet:h:1,server=on", "socket,id=x,host=h,port=1,telnet=on,server=on"),
        ("udp::1", "udp,id=x,port=1"),
        ("udp:h:1@:2", "udp,id=x,host=h,port=1,localaddr=,localport=2"),
        ("udp:h:1@a:2", "udp,id=x,host=h,port=1,localaddr=a,localport=2"),
    ],
)
def test_short_forms(short: str, long: str) -> None:
    assert comma_list(short, "x") == long


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stdoi", "'stdoi' is not a character device; did you mean 'stdio'?"),
        ("", "'' is not a character device; use stdio, null"),
        ("mon:none", "'none' is not a character device"),
        ("tcp:host", "'tcp:host' has no port; write it as <host>:<port>"),
        ("udp:host", "'udp:host' has no port"),
        ("vc:80Cx24C", "'vc' (a text console on the display) is not supported yet"),
        ("con:", "'console' (a console of Windows) is not supported yet"),
        ("msmouse", "'msmouse' (a serial mouse that the display moves) is not supported yet"),
        ("/dev/parport0", "'parallel' (a parallel port of the host) is not supported yet"),
        ("tn3270:h:1", "'tn3270' is not supported"),
        ("chardev:x", "there is no chardev 'x'; make it with -chardev <backend>,id=x"),
        ("file:", "path: '' is empty"),
    ],
)
def test_mistakes_in_short_forms_are_explained(world: World, text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        world.chardevs.open(text, "serial0")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("null", "'id' is missing; write id=<id>"),
        ("id=a", "'backend' is missing"),
        ("nul,id=a", "backend 'nul' does not exist; did you mean 'null'?"),
        ("null,id=1", "id: '1' is not an id"),
        ("null,id=a,foo=bar", "'foo' is not a key here"),
        ("stdio,id=a,signal=maybe", "signal: 'maybe' is neither on nor off"),
        ("file,id=a", "'path' is missing"),
        ("pipe,id=a", "'path' is missing"),
        ("serial,id=a", "'path' is missing"),
        ("mux,id=a", "'chardev' is missing"),
        ("vc,id=a,width=640", "'vc' (a text console on the display) is not supported yet"),
        ("null,id=a,logfile=/nope/x", "logfile: cannot open '/nope/x': No such file"),
    ],
)
def test_mistakes_in_comma_lists_are_explained(world: World, text: str, message: str) -> None:
    with pytest.raises(OptionError) as caught:
        world.chardevs.create(text)
    assert message in str(caught.value)
    assert not list(world.chardevs)


def test_help_lists_the_back_ends(world: World) -> None:
    with pytest.raises(HelpRequest) as caught:
        world.chardevs.create("help")
    assert [line.strip() for line in str(caught.value).splitlines()[1:] if line] == sorted(BACKENDS)


def test_help_lists_the_keys_of_a_back_end(world: World) -> None:
    with pytest.raises(HelpRequest, match="path=<path> .*\n.*append=<on|off>"):
        world.chardevs.create("file,help")


def test_nothing_is_both_there_and_missing() -> None:
    assert not set(BACKENDS) & set(MISSING)


def test_ids_are_unique(world: World) -> None:
    world.chardevs.create("null,id=a")
    with pytest.raises(OptionError, match="there is a chardev 'a' already"):
        world.chardevs.create("null,id=a")


def test_none_is_no_device(world: World) -> None:
    assert world.chardevs.open("none", "serial0") is None
    assert world.chardevs.info() == ""


def test_chardev_names_one_that_exists(world: World) -> None:
    made = world.chardevs.create("null,id=a")
    assert world.chardevs.open("chardev:a", "serial0") is made


def test_second_front_end_is_refused(world: World) -> None:
    made = world.chardevs.create("null,id=a")
    made.attach(Front())
    with pytest.raises(OptionError, match="'a' is in use; only with mux=on it serves several"):
        made.attach(Front())


def test_unused_device_can_be_removed(world: World) -> None:
    world.chardevs.create("null,id=a,mux=on")
    world.start()
    world.on_loop(lambda: world.chardevs.remove("a"))
    assert world.chardevs.info() == ""


def test_used_device_cannot_be_removed(world: World) -> None:
    world.chardevs.create("null,id=a").attach(Front())
    with pytest.raises(OptionError, match="'a' is in use"):
        world.chardevs.remove("a")


def test_user_can_send_a_break(world: World) -> None:
    _, front = world.connect("null,id=a")
    world.on_loop(lambda: world.chardevs.send_break("a"))
    front.expect_event(Event.BREAK)
