"""An ATAPI CD-ROM drive.

ATA/ATAPI-7 (T13 1532D) volume 2, chapter 3 (packets); MMC-5. Left out: audio and whatever writes.
"""

from __future__ import annotations

import errno
from collections.abc import Callable

from pemu.devices.storage import mmc
from pemu.devices.storage.dma import GuestBuffers
from pemu.devices.storage.ide import ABORTED, DEVICE_RESET, ERROR, IDLE, READY, IdeDevice
from pemu.devices.storage.ide_identify import identify_cd
from pemu.devices.storage.mmc import SECTOR, Sense
from pemu.machine import prop, state

PACKET = 12
"""Bytes of a command packet."""

# What COUNT says in a packet command: command or data, and to or from the host
TO_HOST, IS_COMMAND = 2, 1

LARGEST_BYTE_COUNT = 0xFFFE

EVENT_EJECT_REQUESTED, EVENT_NEW_MEDIUM, EVENT_REMOVED = 1, 2, 3


class IdeCd(IdeDevice):
    """The drive."""

    driver = "ide-cd"
    description = "virtual IDE CD-ROM"
    packets = True

    model = prop.text("QEMU DVD-ROM", "model name")

    packet = state.memory(PACKET, help="the command")
    sense = state.array(8, 3, help="why the last command failed")
    tray_open = state.flag(kept=True)
    locked = state.flag(help="the guest keeps the medium in")
    changed = state.flag(help="the medium has been changed, and the guest not been told")
    event = state.uint(8, help="of the medium, for GET EVENT STATUS NOTIFICATION")

    answer = state.buffer(LARGEST_BYTE_COUNT + 2, help="what the command answers")
    source = state.uint(64, help="where in the answer, or on the disc, the next byte is")
    left = state.uint(64, help="bytes that are to go to the host yet")
    from_disc = state.flag()
    uses_dma = state.flag()

    def realize(self) -> None:
        super().realize()
        self.backend.changed.append(self.medium_changed)

    def unplugged(self) -> None:
        super().unplugged()
        if self.drive is not None and self.medium_changed in self.drive.backend.changed:
            self.drive.backend.changed.remove(self.medium_changed)

    @property
    def sectors(self) -> int:
        """Sectors of 2048 bytes on the disc; 0 without one, or with the tray open."""
        return 0 if self.tray_open else self.backend.size // SECTOR

    def medium_changed(self) -> None:
        """The user has put in a disc or taken one out."""
        self.cancel()
        self.changed = True
        self.event = EVENT_NEW_MEDIUM if self.backend.image else EVENT_REMOVED
        self.tray_open = False

    def signature(self) -> tuple[int, int]:
        return 0x14, 0xEB

    def idle_status(self) -> int:
        return 0  # so that programs for disks take it for absent

    # Commands beside packets

    def execute(self, command: int) -> bool:
        if command == DEVICE_RESET:
            select = self.select & 0x10
            self.cancel()
            self.reset_task_file()
            self.select |= select
        elif command == 0xA0:
            self._begin_packet()
        elif command == 0xA1:
            names = (self.serial, self.ver, self.model)
            self.send(identify_cd(names, self.transfer_mode, self.wwn), "answered")
        elif command == 0xEF and self.features[0] == 0x03:
            self.transfer_mode = self.count[0]
            self.succeed()
        elif command in (0x00, 0xE1, 0xE0, 0xE2, 0xE3, 0xE6, 0xEF):
            if command == 0x00:
                return False
            self.succeed()
        elif command == 0xE5:
            self.count[0] = 0xFF
            self.succeed()
        elif command in (0xEC, 0x20):
            self.count[0] = self.lba_low[0] = 1
            self.lba_mid[0], self.lba_high[0] = self.signature()
            return False
        else:
            return False
        return True

    def answered(self) -> None:
        """The host has taken the answer to a command."""

    # Packets

    def _begin_packet(self) -> None:
        if self.features[0] & 2:  # overlapped
            self.abort()
            return
        self.uses_dma = bool(self.features[0] & 1)
        self.count[0] = IS_COMMAND
        self.expect(PACKET, "packet_taken", interrupt=False)

    def packet_taken(self) -> None:
        """The host has brought a packet."""
        self.packet[:] = self.buffer
        command = self.packet[0]
        if self.changed and self.backend.image and command not in _WITHOUT_ATTENTION:
            self.changed = False
            self.fail(mmc.MEDIUM_CHANGED)
            return
        action = _PACKETS.get(command)
        if action is None:
            self.fail(mmc.BAD_COMMAND)
        elif command in _NEED_MEDIUM and not self.sectors:
            self.fail(mmc.NO_MEDIUM)
        else:
            action(self)

    def fail(self, sense: Sense) -> None:
        """End the packet command with CHECK CONDITION."""
        self.stop_transfer()
        self.sense[:] = sense
        self.error = sense.key << 4 | (ABORTED if sense.key == 5 else 0)
        self.count[0] = TO_HOST | IS_COMMAND
        self.status = READY | ERROR
        self.interrupt()

    def good(self) -> None:
        """End the packet command without an error."""
        self.sense[:] = mmc.NO_SENSE
        self.error = 0
        self.count[0] = TO_HOST | IS_COMMAND
        self.succeed()

    def reply(self, data: bytes | None, allowed: int) -> None:
        """Answer with `data`, of which the host takes `allowed` bytes; None for a bad field."""
        if data is None:
            self.fail(mmc.BAD_FIELD)
            return
        self.answer = bytearray(data[:allowed])
        self._answer(False, 0, len(self.answer))

    def _answer(self, from_disc: bool, source: int, length: int) -> None:
        self.from_disc = from_disc
        self.source = source
        self.left = length
        if not length:
            self.good()
        elif self.uses_dma:
            self.count[0] = TO_HOST
            self.dma("in", length)
        else:
            self.next_block()

    def next_block(self) -> None:
        """Let the host read as much as it wants at a time."""
        if not self.left:
            self.good()
            return
        limit = self.lba_high[0] << 8 | self.lba_mid[0]
        limit = min(limit or LARGEST_BYTE_COUNT, LARGEST_BYTE_COUNT)
        if limit & 1 and limit < self.left:
            limit = max(limit - 1, 2)
        length = min(limit, self.left)
        data = bytearray(length)

        def done(error: int) -> None:
            if error:
                self._failed(error)
                return
            self.source += length
            self.left -= length
            self.lba_mid[0], self.lba_high[0] = length & 0xFF, length >> 8
            self.count[0] = TO_HOST
            self.send(data, "next_block")

        if self.from_disc:
            view = memoryview(data)
            self.start(lambda end: self.backend.read(self.source, [view], end), done)
        else:
            data[:] = self.answer[self.source : self.source + length]
            done(0)

    def transfer(self, memory: GuestBuffers) -> None:
        enough = memory.length == self.left

        def done(error: int) -> None:
            if error:
                self.dma_direction = ""
                self.bus.master.dma_ended(self)
                self._failed(error)
                return
            memory.finish()
            self.end_dma()
            self.left = 0
            if enough:
                self.good()
            else:
                self.status = IDLE  # the host's table was too short; no interrupt tells of that

        if self.from_disc:
            self.start(lambda end: self.backend.read(self.source, memory.buffers, end), done)
        else:
            at = 0
            for view in memory.buffers:
                view[:] = self.answer[at : at + len(view)]
                at += len(view)
            done(0)

    def _failed(self, error: int) -> None:
        self.fail(mmc.NO_MEDIUM if error == errno.ENOMEDIUM else mmc.READ_ERROR)

    # Packet commands

    def _number(self, at: int, length: int) -> int:
        return int.from_bytes(self.packet[at : at + length], "big")

    def _test_ready(self) -> None:
        self.good()

    def _request_sense(self) -> None:
        data = mmc.sense_data(Sense(*self.sense))
        if not self.sense[0] and self.changed and self.backend.image:
            self.changed = False
            data = mmc.sense_data(mmc.MEDIUM_CHANGED)
        self.reply(data, self.packet[4])

    def _inquiry(self) -> None:
        if self.packet[1] & 1:
            self.reply(mmc.vital_data(self.packet[2], self.serial, self.model), self._number(3, 2))
        else:
            self.reply(mmc.inquiry("QEMU", self.model, self.ver), self._number(3, 2))

    def _read(self) -> None:
        sector = self._number(2, 4)
        count = self._number(6, 4) if self.packet[0] == 0xA8 else self._number(7, 2)
        self._read_sectors(sector, count)

    def _read_cd(self) -> None:
        parts = self.packet[9] & 0xF8
        if not parts or not self._number(6, 3):
            self.good()
        elif parts != 0x10:  # user data only
            self.fail(mmc.BAD_FIELD)
        else:
            self._read_sectors(self._number(2, 4), self._number(6, 3))

    def _read_sectors(self, sector: int, count: int) -> None:
        if sector + count > self.sectors:
            self.fail(mmc.BAD_ADDRESS)
        else:
            self._answer(True, sector * SECTOR, count * SECTOR)

    def _seek(self) -> None:
        if self._number(2, 4) < self.sectors:
            self.good()
        else:
            self.fail(mmc.BAD_ADDRESS)

    def _start_stop(self) -> None:
        start, eject = self.packet[4] & 1, self.packet[4] & 2
        if not eject or bool(self.packet[4] & 0xF0):
            self.good()
        elif not start and self.locked and not self.tray_open:
            self.fail(mmc.REMOVAL_PREVENTED if self.sectors else mmc.NO_MEDIUM)
        else:
            if self.tray_open != (not start):
                self.tray_open = not start
                self.event = EVENT_REMOVED if self.tray_open else EVENT_NEW_MEDIUM
            self.good()

    def _prevent_removal(self) -> None:
        self.locked = bool(self.packet[4] & 1)
        self.good()

    def request_eject(self) -> None:
        """The user wants the disc out, which the guest keeps: tell it."""
        self.event = EVENT_EJECT_REQUESTED

    def _read_contents(self) -> None:
        format = self.packet[2] & 15 or self.packet[9] >> 6
        msf = bool(self.packet[1] & 2)
        data = mmc.contents(self.sectors, msf=msf, format=format, first=self.packet[6])
        self.reply(data, self._number(7, 2))

    def _configuration(self) -> None:
        kind = self.packet[1] & 3
        if kind == 3:
            self.fail(mmc.BAD_FIELD)
            return
        data = mmc.configuration(
            self.sectors, kind=kind, first=self._number(2, 2), locked=self.locked
        )
        self.reply(data, self._number(7, 2))

    def _event_status(self) -> None:
        data = mmc.event_status(
            self.packet[4],
            polled=bool(self.packet[1] & 1),
            present=self.backend.image is not None and not self.tray_open,
            open=self.tray_open,
            event=self.event,
        )
        if not self.packet[1] & 1:
            self.fail(mmc.BAD_FIELD)  # it would have to tell later, when something happens
            return
        if self.packet[4] & 1 << 4:
            self.event = 0
        self.reply(data, self._number(7, 2))

    def _mode_sense(self) -> None:
        control, page = self.packet[2] >> 6, self.packet[2] & 0x3F
        if control == 3:
            self.fail(mmc.CANNOT_SAVE)
            return
        body = mmc.mode_pages(page, locked=self.locked)
        if body is None:
            self.fail(mmc.BAD_FIELD)
            return
        medium = mmc.medium_type(self.sectors, self.tray_open)
        self.reply(mmc.mode_sense(body, medium), self._number(7, 2))

    def _dvd_structure(self) -> None:
        if self.packet[1] & 15 or mmc.profile(self.sectors) != mmc.PROFILE_DVD:
            self.fail(mmc.BAD_FIELD)
            return
        data = mmc.dvd_structure(self.sectors, self.packet[7], self.packet[6])
        self.reply(data, self._number(8, 2))

    def _capacity(self) -> None:
        self.reply(mmc.capacity(self.sectors), 8)

    def _disc_information(self) -> None:
        known = not self.packet[1] & 7
        self.reply(mmc.disc_information() if known else None, self._number(7, 2))

    def _track_information(self) -> None:
        self.reply(mmc.track_information(self.sectors), self._number(7, 2))

    def _mechanism(self) -> None:
        self.reply(mmc.mechanism_status(self.tray_open), self._number(8, 2))


_PACKETS: dict[int, Callable[[IdeCd], None]] = {
    0x00: IdeCd._test_ready,
    0x03: IdeCd._request_sense,
    0x12: IdeCd._inquiry,
    0x1B: IdeCd._start_stop,
    0x1E: IdeCd._prevent_removal,
    0x25: IdeCd._capacity,
    0x28: IdeCd._read,
    0x2B: IdeCd._seek,
    0x43: IdeCd._read_contents,
    0x46: IdeCd._configuration,
    0x4A: IdeCd._event_status,
    0x51: IdeCd._disc_information,
    0x52: IdeCd._track_information,
    0x5A: IdeCd._mode_sense,
    0xA8: IdeCd._read,
    0xAD: IdeCd._dvd_structure,
    0xBB: IdeCd._test_ready,  # SET CD SPEED
    0xBD: IdeCd._mechanism,
    0xBE: IdeCd._read_cd,
}

_NEED_MEDIUM = (0x00, 0x25, 0x28, 0x2B, 0x43, 0x51, 0x52, 0xA8, 0xAD, 0xBE)
_WITHOUT_ATTENTION = (0x03, 0x12, 0x46, 0x4A)
"""Commands that do not tell of a changed medium (MMC-5 section 4.1.4)."""
