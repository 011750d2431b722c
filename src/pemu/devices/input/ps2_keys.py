"""What a PS/2 keyboard sends for each key.

IBM PS/2 Hardware Interface Technical Reference, Keyboards (101- and 102-key).
"""

from __future__ import annotations

EXTENDED = 0xE000
"""Keys beside the ones of the first keyboards: their codes in sets 1 and 2 come after E0."""

_ROWS = (
    "esc 76 1 16 2 1e 3 26 4 25 5 2e 6 36 7 3d 8 3e 9 46 0 45 minus 4e equal 55 backspace 66",
    "tab 0d q 15 w 1d e 24 r 2d t 2c y 35 u 3c i 43 o 44 p 4d bracket_left 54 bracket_right 5b",
    "ret 5a ctrl 14 a 1c s 1b d 23 f 2b g 34 h 33 j 3b k 42 l 4b semicolon 4c apostrophe 52",
    "grave_accent 0e shift 12 backslash 5d z 1a x 22 c 21 v 2a b 32 n 31 m 3a comma 41 dot 49",
    "slash 4a shift_r 59 asterisk 7c kp_multiply 7c alt 11 spc 29 caps_lock 58 less 61",
    "f1 05 f2 06 f3 04 f4 0c f5 03 f6 0b f7 83 f8 0a f9 01 f10 09 f11 78 f12 07",
    "num_lock 77 scroll_lock 7e kp_7 6c kp_8 75 kp_9 7d kp_subtract 7b kp_4 6b kp_5 73 kp_6 74",
    "kp_add 79 kp_1 69 kp_2 72 kp_3 7a kp_0 70 kp_decimal 71 sysrq 84 hiragana 13 ro 51 yen 6a",
    "henkan 64 muhenkan 67 katakanahiragana 13 kp_comma 6d",
)

_EXTENDED_ROWS = (
    "kp_enter 5a ctrl_r 14 kp_divide 4a print 7c alt_r 11 home 6c up 75 pgup 7d left 6b right 74",
    "end 69 down 72 pgdn 7a insert 70 delete 71 meta_l 1f meta_r 27 menu 2f compose 2f",
    "audionext 4d audioprev 15 audiostop 3b audioplay 34 audiomute 23 volumeup 32 volumedown 21",
    "power 37 sleep 3f wake 5e",
)

_SET3_ROWS = (
    "esc 08 f1 07 f2 0f f3 17 f4 1f f5 27 f6 2f f7 37 f8 3f f9 47 f10 4f f11 56 f12 5e ctrl 11",
    "alt 19 caps_lock 14 alt_r 39 ctrl_r 58 meta_l 8b meta_r 8c menu 8d compose 8d insert 67",
    "delete 64 home 6e end 65 pgup 6f pgdn 6d up 63 left 61 down 60 right 6a num_lock 76",
    "kp_divide 77 asterisk 7e kp_multiply 7e kp_subtract 84 kp_add 7c kp_enter 79 print 57",
    "scroll_lock 5f less 13 backslash 5c",
)


def _parsed(rows: tuple[str, ...], prefix: int = 0) -> dict[str, int]:
    words = " ".join(rows).split()
    return {key: prefix | int(code, 16) for key, code in zip(words[::2], words[1::2], strict=True)}


SET2 = _parsed(_ROWS) | _parsed(_EXTENDED_ROWS, EXTENDED)
"""Key to its code in set 2."""

SET3 = {key: code for key, code in SET2.items() if not code & EXTENDED} | _parsed(_SET3_ROWS)
"""Key to its code in set 3; keys of later keyboards have none."""

_TRANSLATED = bytes.fromhex(
    "ff43413f3d3b3c58644442403e0f295965382a701d10025a66712c1f1e11035b"
    "672e2d201205045c68392f211413065d693130232215075e6a7232241608095f"
    "6b332517180b0a606c34352627190c616d7328741a0d626e3a361c1b752b6376"
    "55567778797a0e7b7c4f7d4b477e7f6f5253504c4d480145574e514a37494654"
)


def translated(code: int) -> int:
    """What a keyboard controller makes of a byte of set 2: the one of set 1."""
    if code < len(_TRANSLATED):
        return _TRANSLATED[code]
    return {0x83: 0x41, 0x84: 0x54}.get(code, code)


_PAUSE = {
    1: b"\xe1\x1d\x45\xe1\x9d\xc5",
    2: b"\xe1\x14\x77\xe1\xf0\x14\xf0\x77",
}


def codes(key: str, down: bool, scan_set: int) -> bytes:
    """What is sent when `key` is pressed or let go; nothing for an unknown key."""
    if key == "pause" and scan_set in _PAUSE:
        return _PAUSE[scan_set] if down else b""
    if scan_set == 3:
        code = SET3.get(key, 0x62 if key == "pause" else None)
        return b"" if code is None else bytes((code,)) if down else bytes((0xF0, code))
    code = SET2.get(key)
    if code is None:
        return b""
    prefix = b"\xe0" if code & EXTENDED else b""
    code &= 0xFF
    if scan_set == 1:
        return prefix + bytes((translated(code) | (0 if down else 0x80),))
    return prefix + (b"" if down else b"\xf0") + bytes((code,))


def by_number(number: int) -> str | None:
    """The key with a code in set 1, to which 0x80 is added if it comes after E0; None for none."""
    for key, code in SET2.items():
        if translated(code & 0xFF) | (0x80 if code & EXTENDED else 0) == number:
            return key
    return None
