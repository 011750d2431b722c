"""The Universal Host Controller Interface, as in the PIIX4.

Universal Host Controller Interface Design Guide, revision 1.1; 82371AB (PIIX4) data sheet, chapter
7. Left out: legacy support for keyboards, single-stepping.
"""

from __future__ import annotations

from pemu.devices.usb.bus import IN, OUT, SETUP, Answer, UsbBus
from pemu.machine import prop, state
from pemu.machine.clock import MILLISECOND
from pemu.machine.declare import timer
from pemu.machine.pci import PciDevice
from pemu.machine.registers import Register, RegisterBank, Registers

PORTS = 2

# Command
RUN, RESET, GLOBAL_RESET, SUSPEND, RESUME = 0x01, 0x02, 0x04, 0x08, 0x10

# Status
DONE, FAILED, RESUMED, SYSTEM_ERROR, PROCESS_ERROR, HALTED = 0x01, 0x02, 0x04, 0x08, 0x10, 0x20

# Interrupts enabled
ON_ERROR, ON_RESUME, ON_COMPLETE, ON_SHORT = 0x01, 0x02, 0x04, 0x08

# Ports
CONNECTED, CONNECT_CHANGED, ENABLED, ENABLE_CHANGED = 0x01, 0x02, 0x04, 0x08
PORT_PRESENT, LOW_SPEED, PORT_RESET = 0x80, 0x100, 0x200

# Links
END, IS_QUEUE, DEPTH_FIRST = 0x01, 0x02, 0x04

# Transfer descriptors: control and status
TIMEOUT, NAKED, BABBLED, STALLED, ACTIVE = 1 << 18, 1 << 19, 1 << 20, 1 << 22, 1 << 23
ON_COMPLETION, SHORT_DETECT = 1 << 24, 1 << 29
_ERRORS = 27  # the counter's first bit

MOST_ELEMENTS = 256
"""Descriptors and queues of one frame: a guest's list may be a circle."""

MOST_BYTES = 1280
"""What a frame has time for."""

MOST_FRAMES = 128
"""Frames that are caught up with at a time."""

LONGEST_PACKET = 1280

EMPTY_PERIOD = 16 * MILLISECOND
"""How often the lists are looked at where no device is there to be talked to."""


class Uhci(PciDevice):
    """The controller, function 2 of the PIIX4."""

    driver = "piix4-usb-uhci"
    category = "usb"
    vendor = 0x8086
    product = 0x7112
    class_code = 0x0C03
    revision = 1
    pin = 4

    bandwidth = prop.uint(32, MOST_BYTES, "bytes of a frame")
    maxframes = prop.uint(32, MOST_FRAMES, "frames that are caught up with at a time")

    release = Register(0x60, reset=0x10, writable=0, bank="config")
    legacy = Register(0xC0, 16, reset=0x2000, writable=0x20BF, clears=0x8F00, bank="config")

    usb_command = Register(0x00, 16, writable=0xFF)
    usb_status = Register(0x02, 16, reset=HALTED, writable=0, clears=0x1F)
    enabled = Register(0x04, 16, writable=0x0F)
    frame_number = Register(0x06, 16, writable=0x7FF)
    frame_list = Register(0x08, 32, writable=0xFFFFF000)
    start_of_frame = Register(0x0C, reset=0x40, writable=0x7F)
    ports = Registers(
        0x10,
        PORTS,
        bits=16,
        reset=PORT_PRESENT,
        writable=0x1244,
        clears=CONNECT_CHANGED | ENABLE_CHANGED,
    )

    completed = state.flag(help="DONE because a descriptor asked for it")
    was_short = state.flag(help="DONE because of a short packet")
    began = state.uint(64, help="virtual time at which the present frame began")

    registers: RegisterBank
    usb: UsbBus

    def realize(self) -> None:
        self.registers = RegisterBank(self, "uhci", 32)
        self.add_bar(4, self.registers, io=True)
        self.usb = UsbBus(
            self.machine, f"usb-bus.{self.machine.number(self)}", self, PORTS, self._port_changed
        )

    def reset(self) -> None:
        for port in range(PORTS):
            self._port_changed(port)

    # Registers

    def _update(self) -> None:
        status, enabled = self.usb_status, self.enabled
        if not status & DONE:
            self.completed = self.was_short = False
        self.intx.set(
            (self.completed and enabled & ON_COMPLETE)
            or (self.was_short and enabled & ON_SHORT)
            or (status & FAILED and enabled & ON_ERROR)
            or (status & RESUMED and enabled & ON_RESUME)
            or status & (SYSTEM_ERROR | PROCESS_ERROR)
        )

    @usb_command.on_write
    def _usb_command_written(self, written: int, old: int) -> None:
        if written & RESET:
            self._reset_controller()
            return
        if written & GLOBAL_RESET and not old & GLOBAL_RESET:
            for port, device in enumerate(self.usb.ports):
                if device is not None:
                    device.reset_by_port()
                self._port_changed(port)
        if written & RUN and not old & RUN:
            self.usb_status &= ~HALTED
            self.began = self.clocks.virtual.now()
            self._arm()
        elif not written & RUN and old & RUN:
            self.usb_command |= RUN  # until what has passed is done
            self._catch_up()
            self._halt()
        self._update()

    def _reset_controller(self) -> None:
        self.frame.cancel()
        self.usb_command = self.enabled = self.frame_number = self.frame_list = 0
        self.usb_status = HALTED
        self.start_of_frame = 0x40
        self.ports[:] = [PORT_PRESENT] * PORTS
        for port, device in enumerate(self.usb.ports):
            if device is not None:
                device.reset_by_port()
            self._port_changed(port)
        self._update()

    def _halt(self) -> None:
        self.usb_command &= ~RUN
        self.usb_status |= HALTED
        self.frame.cancel()

    @usb_status.on_write
    @enabled.on_write
    def _interrupts_written(self, written: int, old: int) -> None:
        self._update()

    @frame_number.on_read
    def _read_frame_number(self) -> int:
        if self.usb_command & RUN:
            passed = (self.clocks.virtual.now() - self.began) // MILLISECOND
            return self.frame_number + passed & 0x7FF
        return self.frame_number

    @ports.on_write
    def _port_written(self, port: int, written: int, old: int) -> None:
        device = self.usb.ports[port]
        if written & PORT_RESET and not old & PORT_RESET and device is not None:
            device.reset_by_port()
        if not self.ports[port] & CONNECTED:
            self.ports[port] &= ~ENABLED

    def _port_changed(self, port: int) -> None:
        """A device has come or gone."""
        device = self.usb.ports[port]
        value = self.ports[port]
        if bool(value & CONNECTED) == (device is not None):
            return
        value = value & ~(CONNECTED | LOW_SPEED) | CONNECT_CHANGED
        if device is None:
            if value & ENABLED:
                value = value & ~ENABLED | ENABLE_CHANGED
        else:
            value |= CONNECTED | (LOW_SPEED if device.low_speed else 0)
        self.ports[port] = value
        if self.usb_command & SUSPEND:
            self.usb_status |= RESUMED
            self._update()

    # Frames

    def _arm(self) -> None:
        present = any(self.usb.ports)
        self.frame.arm_in(MILLISECOND if present else EMPTY_PERIOD)

    @timer
    def frame(self) -> None:
        """A frame, or several, have passed."""
        self._catch_up()
        if self.usb_command & RUN:
            self._arm()

    def _catch_up(self) -> None:
        """Do what the frames since the last time ask for."""
        passed = (self.clocks.virtual.now() - self.began) // MILLISECOND
        self.began += passed * MILLISECOND
        looked_at = min(passed, self.maxframes)
        self.frame_number = self.frame_number + passed - looked_at & 0x7FF
        for _ in range(looked_at):
            if self.is_master and not self.usb_command & SUSPEND:
                self._run_frame()
            if not self.usb_command & RUN:
                break
            self.frame_number = self.frame_number + 1 & 0x7FF
        self._update()

    def _word(self, address: int) -> int:
        return int.from_bytes(self.dma_read(address & 0xFFFFFFFC, 4), "little")

    def _run_frame(self) -> None:
        """Follow the list of one frame."""
        link = self._word(self.frame_list + (self.frame_number & 1023) * 4)
        seen: set[int] = set()
        budget = self.bandwidth
        for _ in range(MOST_ELEMENTS):
            if link & END or budget <= 0 or not self.usb_command & RUN:
                return
            if not link & IS_QUEUE:
                _, moved, link = self._descriptor(link & ~0xF, in_queue=False)
                budget -= moved
                continue
            queue = link & ~0xF
            if queue in seen:
                return  # round the circle, and nothing has changed
            seen.add(queue)
            link, element = self._word(queue), self._word(queue + 4)
            if element & END:
                continue
            if element & IS_QUEUE:
                link = element
                continue
            finished, moved, following = self._descriptor(element & ~0xF, in_queue=True)
            budget -= moved
            if finished:
                self.dma_write(queue + 4, following.to_bytes(4, "little"))
                seen.clear()
                if following & DEPTH_FIRST:
                    link = queue | IS_QUEUE

    def _descriptor(self, address: int, *, in_queue: bool) -> tuple[bool, int, int]:
        """Carry out a transfer descriptor.

        Returns whether the queue goes on to the next, how many bytes were moved, and the next link.
        """
        data = self.dma_read(address, 16)
        link, control, token, buffer = (
            int.from_bytes(data[at : at + 4], "little") for at in range(0, 16, 4)
        )
        if not control & ACTIVE:
            return False, 0, link
        pid, length = token & 0xFF, (token >> 21) + 1 & 0x7FF
        if pid not in (SETUP, IN, OUT) or length > LONGEST_PACKET:
            self.usb_status |= PROCESS_ERROR
            self._halt()
            return False, 0, link
        device = self.usb.find(token >> 8 & 0x7F, lambda port: bool(self.ports[port] & ENABLED))
        answer: bytes | Answer = Answer.NOTHING
        if device is not None:
            sent = b"" if pid == IN else self.dma_read(buffer, length)
            answer = device.transaction(pid, token >> 15 & 15, sent, length)
        if isinstance(answer, bytes):
            moved = len(answer) if pid == IN else length
            if moved > length:
                answer = Answer.BABBLE
            else:
                if answer:
                    self.dma_write(buffer, answer)
                control = control & ~(0x7FF | ACTIVE | NAKED) | moved - 1 & 0x7FF
        if isinstance(answer, Answer):
            moved = 0
            control = self._refused(control, answer)
        self.dma_write(address + 4, control.to_bytes(4, "little"))
        if control & ACTIVE:
            return False, moved, link
        if control & ON_COMPLETION:
            self.usb_status |= DONE
            self.completed = True
        if control & STALLED:
            return False, moved, link
        if in_queue and pid == IN and moved < length and control & SHORT_DETECT:
            self.usb_status |= DONE
            self.was_short = True
            return False, moved, link
        return True, moved, link

    def _refused(self, control: int, answer: Answer) -> int:
        """The status of a descriptor whose device did not do what was asked."""
        if answer is Answer.NAK:
            return control | NAKED
        if answer is Answer.NOTHING:
            left = control >> _ERRORS & 3
            control |= TIMEOUT
            if left != 1:
                # 0 means to try for ever
                return control - (1 << _ERRORS) if left else control
            control &= ~(1 << _ERRORS)
        elif answer is Answer.BABBLE:
            control |= BABBLED
        self.usb_status |= FAILED
        return control & ~ACTIVE | STALLED | 0x7FF
