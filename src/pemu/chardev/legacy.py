"""The short forms of `-serial`, `-parallel`, `-monitor`, `-gdb`, turned into comma lists.

    stdio, null, pty, file:PATH, pipe:PATH, /dev/DEVICE, unix:PATH[,...], tcp:HOST:PORT[,...],
    telnet:HOST:PORT[,...], websocket:HOST:PORT[,...], udp:[HOST]:PORT[@[HOST]:PORT], mon:FORM

`none` and `chardev:ID` name no new back end; `pemu.chardev.registry` knows them.
"""

from __future__ import annotations

from pemu.chardev.options import MISSING, not_supported
from pemu.options.error import OptionError, quoted, unknown

PLAIN = ("null", "pty", "stdio")
_STREAMS = {"tcp": "", "telnet": ",telnet=on", "tn3270": ",tn3270=on", "websocket": ",websocket=on"}
_PREFIXES = ("file:", "pipe:", "tcp:", "telnet:", "udp:", "unix:", "mon:", "chardev:")
_FORMS = "use stdio, null, none, pty, file:, pipe:, tcp:, telnet:, udp:, unix:, /dev/ or chardev:"


def comma_list(text: str, label: str) -> str:
    """The value of `-chardev` that stands for the short form `text`, with the id `label`.

    Raises OptionError where there is none.
    """
    start = f"id={label}"
    if text.startswith("mon:"):
        text = text[4:]
        start += ",mux=on"
        if text == "stdio":
            start += ",signal=off"  # the monitor has other means to end the machine
    if text in PLAIN:
        return f"{text},{start}"
    if text.startswith("/dev/"):
        if text.startswith(("/dev/parport", "/dev/ppi")):
            raise not_supported("parallel")
        return f"serial,{start},path={_escaped(text)}"
    head, colon, rest = text.partition(":")
    if colon and head in ("file", "pipe"):
        return f"{head},{start},path={_escaped(rest)}"
    if colon and head == "unix":
        return f"socket,{start},path={rest}"
    if colon and head in _STREAMS:
        place, comma, options = rest.partition(",")
        host, port = _host_and_port(text, place)
        return f"socket,{start},host={host},port={port}{_STREAMS[head]}{comma}{options}"
    if colon and head == "udp":
        return f"udp,{start}{_udp(text, rest)}"
    if head in MISSING or head == "con":
        raise not_supported("console" if head == "con" else head)
    raise unknown(
        f"{quoted(text)} is not a character device", head, (*PLAIN, "none", *_PREFIXES), _FORMS
    )


def _udp(text: str, rest: str) -> str:
    remote, at, local = rest.partition("@")
    host, port = _host_and_port(text, remote)
    options = (f",host={host}" if host else "") + f",port={port}"
    if at:
        host, port = _host_and_port(text, local)
        options += f",localaddr={host},localport={port}"
    return options


def _host_and_port(text: str, place: str) -> tuple[str, str]:
    host, colon, port = place.rpartition(":")
    if not colon or not port:
        raise OptionError(f"{quoted(text)} has no port; write it as <host>:<port>")
    if host[:1] == "[" and host[-1:] == "]":
        host = host[1:-1]
    return host, port


def _escaped(text: str) -> str:
    return text.replace(",", ",,")
