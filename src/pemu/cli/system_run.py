"""From options to a machine that runs: the steps in order, and how it ends."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from pemu import fdsets
from pemu.block.objects import add_object
from pemu.chardev.interface import Chardev, Host
from pemu.chardev.registry import Chardevs
from pemu.cli import background, outcome
from pemu.cli.privileges import give_up
from pemu.cli.system_cpu import code_cache, maker
from pemu.cli.system_defaults import drives as given_drives
from pemu.cli.system_defaults import ports
from pemu.cli.system_machine import general_properties, machine_option
from pemu.cli.system_options import SystemOptions
from pemu.cli.tracelog import open_log
from pemu.devices import DRIVERS, catalogue
from pemu.machine import board as boards
from pemu.machine.board import Board
from pemu.machine.clock import InstructionCount
from pemu.machine.configuration import Configuration
from pemu.machine.control import Vcpu
from pemu.machine.drives import Drive, Drives, open_drive, open_node
from pemu.machine.machine import Machine
from pemu.machine.memory_backend import MemoryBackend, backends, is_memory_backend
from pemu.machine.target import Target
from pemu.machine.wallclock import WallClock
from pemu.monitor.commands import COMMANDS
from pemu.monitor.gdb.front import GdbServers
from pemu.monitor.human import Console
from pemu.monitor.instance import Instance
from pemu.monitor.monitor import Monitor
from pemu.options.error import HelpRequest, OptionError, quoted, unknown

_MCL_CURRENT, _MCL_FUTURE = 1, 2

_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Signals that end the machine."""

SWITCH_INTERVAL = 0.0002
"""Seconds that a Python thread may keep others waiting: a device access is to be prompt."""


def run(target: Target, options: SystemOptions) -> int:
    """Run a machine until it ends; returns the exit status. Raises OptionError."""
    name, properties = machine_option(options)
    if name in ("help", "?"):
        return outcome.show(boards.listing(target.architecture))
    for text in options.device:
        catalogue.answer(text)
    _messages(options)
    general_properties(f"pemu-system-{target.name}", options, properties)
    _check(options)
    board = boards.find(name, target.architecture)
    if "help" in properties or "?" in properties:
        return outcome.show(board.usage())
    _take_descriptors(options)
    session = Session(target, options, board)
    launcher = background.leave_terminal(umask=0o027) if options.daemonize else None
    try:
        session.build({key: text or "on" for key, text in properties.items()})
        if any(given["mem-lock"] for given in options.overcommit):
            _lock_memory()
        session.heed_signals()
        with background.pid_file(options.pidfile):
            give_up(options.root, options.user, options.sandbox, session.cache)
            if launcher:
                launcher.ready()
            return session.run()
    finally:
        session.close()


class Session:
    """One run of a machine, and what belongs to it on the host."""

    def __init__(self, target: Target, options: SystemOptions, board: type[Board]) -> None:
        self.target = target
        self.options = options
        self.board = board
        self.program = f"pemu-system-{target.name}"
        log = open_log(
            self.program,
            options.log_items,
            options.log_file,
            options.trace,
            ranges=options.log_ranges,
        )
        self.machine = Machine(target.order, log)
        control = self.machine.control
        control.reboot = options.reboot
        control.stay = options.stay
        for given in options.action:
            control.reboot = given["reboot"] != "shutdown" if given["reboot"] else control.reboot
            control.stay = given["shutdown"] == "pause" if given["shutdown"] else control.stay
        self.machine.globals = options.globals
        self.cache = code_cache(options)
        self.machine.new_cpu = maker(self.machine, target, options, self.cache)
        self.chardevs: Chardevs | None = None
        self.drives: list[Drive] = []
        self.failure: BaseException | None = None
        self.terminating = False

    def build(self, properties: dict[str, str]) -> None:
        """Make everything that the options name. Raises OptionError."""
        options, machine = self.options, self.machine
        self._set_clocks()
        drives = self._open_drives()
        self.chardevs = chardevs = self._make_chardevs()
        self.instance = Instance(
            machine,
            chardevs,
            name=(options.name or {}).get("guest") or "",
            uuid=options.uuid,
            drives=self.drives,
        )
        self.gdb = GdbServers(self.instance)
        self.instance.debug = self.gdb.open
        machine.backends = {"chardev": chardevs.find, "drive": drives.find}
        for text in options.chardev:
            with _saying(f"-chardev {text}"):
                chardevs.create(text)
        config = self._configuration(*self._ports(chardevs))
        board = boards.build(self.board, machine, config, list(properties.items()))
        self.instance.ram_size = board.ram_size
        if board.nothing_to_start and not (options.frozen or options.gdb or options.device):
            self._warn(f"board {board.name} has nothing to start; {board.nothing_to_start}")
        for text in options.device:
            with _saying(f"-device {text}"):
                catalogue.add_device(machine, text)
        if options.gdb:
            with _saying(f"-gdb {options.gdb}"):
                self.gdb.open(options.gdb)
        self._check_uses()

    def _set_clocks(self) -> None:
        """What -rtc and -icount say of the machine's clocks."""
        options, machine = self.options, self.machine
        if options.rtc or options.icount:
            given = options.rtc or {"base": "utc", "clock": None}
            # A clock of the host would make counted instructions different in each run.
            moved_by = given["clock"] or ("vm" if options.icount else "host")
            machine.rtc = WallClock(machine.clocks, given["base"], moved_by)
        if options.icount:
            given = options.icount
            shift = None if given["shift"] == "auto" else given["shift"]
            machine.icount = InstructionCount(shift, given["sleep"], given["align"])

    def _open_drives(self) -> Drives:
        """Open what -object, -drive and its kin, and -blockdev name. Raises OptionError."""
        options, machine = self.options, self.machine
        drives = given_drives(options, self.board)
        self.drives = drives.drives
        for text in options.object:
            if is_memory_backend(text):
                continue
            with _saying(f"-object {text.partition(',')[0]}"):
                add_object(drives.graph.objects, text)
        for drive in self.drives:
            open_drive(drive, drives, machine)
        for text in options.blockdev:
            with _saying(f"-blockdev {text}"):
                open_node(text, drives, machine)
        return drives

    def _make_chardevs(self) -> Chardevs:
        """The character devices, of which there are none yet."""
        machine, options = self.machine, self.options
        return Chardevs(
            Host(
                machine.iothread.loop,
                machine.lock,
                warn=lambda text: outcome.fail(self.program, text),
                quit=machine.control.quit,
                save=self._save,
                escape=options.escape,
                daemonize=options.daemonize,
            )
        )

    def _configuration(
        self, serials: list[Chardev | None], parallels: list[Chardev | None]
    ) -> Configuration:
        """What the board is given of the user's wishes."""
        options = self.options
        config = Configuration(
            cpu=options.cpu or self.board.default_cpu.get(self.target.name, ""),
            cpus=options.smp["maxcpus"] if options.smp else 1,
            kernel=options.kernel,
            initrd=options.initrd,
            append=options.append or "",
            dtb=options.dtb,
            firmware=options.bios,
            serials=serials,
            parallels=parallels,
            drives=self.drives,
            defaults=options.defaults,
            boot=options.boot or {},
            directories=options.directories,
            uuid=options.uuid,
            name=(options.name or {}).get("guest") or "",
            seed=options.seed,
        )
        for memory in options.memory:
            config.ram_size = memory["size"] or config.ram_size
            config.ram_slots = memory["slots"] or config.ram_slots
            config.ram_maximum = memory["maxmem"] or config.ram_maximum
        self._choose_memory(config)
        return config

    def _choose_memory(self, config: Configuration) -> None:
        """Where on the host the machine's RAM is. Raises OptionError."""
        options = self.options
        made = backends([text for text in options.object if is_memory_backend(text)])
        name = options.memory_backend
        if name and (options.memory_path or options.memory_now):
            raise OptionError(
                "-M memory-backend= has what -mem-path and -mem-prealloc say; drop them"
            )
        if name and name not in made:
            problem = f"-M memory-backend: there is no memory backend {quoted(name)}"
            raise unknown(problem, name, made, f"make it with -object memory-backend-ram,id={name}")
        if name:
            backend = made[name]
            if config.ram_size not in (0, backend.size):
                raise OptionError(
                    f"-m says {config.ram_size} bytes, memory backend {name} has {backend.size}"
                )
            config.ram_size, config.ram_backend = backend.size, backend
        elif options.memory_path or options.memory_now:
            config.ram_backend = MemoryBackend(options.memory_path, prealloc=options.memory_now)

    def _check_uses(self) -> None:
        """Complain of drives and properties that nothing in the machine has taken."""
        for drive in self.drives:
            if drive.interface != "none" and drive.owner is None:
                raise OptionError(
                    f"{drive.said}: machine type does not support if={drive.interface},"
                    f"bus={drive.bus},unit={drive.unit}"
                )
        for driver, key, _ in self.options.globals:
            if driver not in DRIVERS:
                self._warn(f"-global {driver}.{key}: there is no such driver")

    def _warn(self, text: str) -> None:
        outcome.fail(self.program, f"warning: {text}")

    def heed_signals(self) -> None:
        """Have signals end the machine as users do, once it runs."""
        loop = self.machine.iothread.loop
        for number in _ENDING:
            loop.add_signal_handler(number, self._signalled, number)

    def run(self) -> int:
        """Run the machine until it ends; returns the exit status."""
        machine, control = self.machine, self.machine.control
        sys.setswitchinterval(SWITCH_INTERVAL)
        if self.options.name and self.options.name["process"]:
            with open("/proc/self/comm", "w") as file:
                file.write(self.options.name["process"][:15])
        with machine.lock:
            machine.reset("host-qmp-system-reset")
        threads = [
            threading.Thread(target=self._run_cpu, args=(cpu,), name=f"CPU {number}")
            for number, cpu in enumerate(machine.cpus)
        ]
        for thread in threads:
            thread.start()
        if self.options.nographic and os.isatty(0):
            outcome.fail(self.program, f"{self._escape()} x ends the machine, h lists more keys")
        if not self.options.frozen:
            control.resume()
        machine.iothread.run()
        for thread in threads:
            thread.join()
        if self.failure is not None:
            raise self.failure
        return control.status

    def close(self) -> None:
        """Give back what the machine holds of the host, above all the terminal."""
        self.machine.unplug_devices()
        with self.machine.lock:
            for drive in self.drives:
                drive.backend.close()
        if self.chardevs is not None:
            self.gdb.close()
            self._close_chardevs(self.chardevs)
        self.machine.close()

    def _close_chardevs(self, chardevs: Chardevs) -> None:
        """Write what is under way, until the user is tired of waiting for a reader."""

        def hurry(*_: object) -> None:
            chardevs.host.hurried = True

        before = {number: signal.signal(number, hurry) for number in _ENDING}
        chardevs.close()
        for number, handler in before.items():
            signal.signal(number, handler)

    def _run_cpu(self, cpu: Vcpu) -> None:
        try:
            self.machine.control.run_vcpu(cpu)
        except BaseException as error:
            self.failure = error
            with self.machine.lock:
                self.machine.control.abandon(cpu)

    def _escape(self) -> str:
        """What to type before a key for the multiplexer."""
        code = self.options.escape
        return f"Ctrl-{chr(code + 64)}" if 1 <= code <= 26 else f"character {code:#04x}, then"

    def _save(self) -> None:
        """Have images hold what has gone to temporary files: Ctrl-A s."""
        show = partial(outcome.fail, self.program)
        Monitor(self.instance, COMMANDS, show).run("commit all")

    def _signalled(self, number: int) -> None:
        if not self.terminating:  # `timeout` sends its signal twice
            outcome.fail(self.program, f"terminating on signal {int(number)}")
        self.terminating = True
        self.machine.control.quit("host-signal")

    def _ports(self, chardevs: Chardevs) -> tuple[list[Chardev | None], list[Chardev | None]]:
        """The back ends of serial and parallel ports. Raises OptionError."""
        wanted = ports(self.options)
        serials = [
            _open(chardevs, "-serial", text, f"serial{number}")
            for number, text in enumerate(wanted.serials)
        ]
        parallels = [
            _open(chardevs, "-parallel", text, f"parallel{number}")
            for number, text in enumerate(wanted.parallels)
        ]
        self._make_monitors(chardevs, wanted.monitors)
        return serials, parallels

    def _make_monitors(self, chardevs: Chardevs, places: list[str]) -> None:
        """Put monitors where they are wanted. Raises OptionError.

        Before devices are made: on a multiplexer, what comes last has the keyboard.
        """
        for shared in chardevs.monitored:
            Console(self.instance, shared)
        for number, text in enumerate(places):
            chardev = _open(chardevs, "-monitor", text, f"compat_monitor{number}")
            if chardev is not None:
                Console(self.instance, chardev)
        for given in self.options.mon:
            if given["mode"] == "control":
                raise OptionError("-mon mode=control: not supported yet; use mode=readline")
            with _saying("-mon"):
                Console(self.instance, chardevs.find(given["chardev"]))


def _open(chardevs: Chardevs, option: str, text: str, label: str) -> Chardev | None:
    with _saying(f"{option} {text}"):
        return chardevs.open(text, label)


@contextmanager
def _saying(option: str) -> Iterator[None]:
    """A mistake found inside is told as one of `option`."""
    try:
        yield
    except OptionError as error:
        raise error.within(option) from None


def _messages(options: SystemOptions) -> None:
    """Have messages begin as -msg says."""
    wanted = options.messages or {"timestamp": False, "guest-name": False}
    name = (options.name or {}).get("guest") if wanted["guest-name"] else ""

    def prefix() -> str:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        return (f"{now} " if wanted["timestamp"] else "") + (f"{name} " if name else "")

    outcome.prefix = prefix


def _take_descriptors(options: SystemOptions) -> None:
    """Make the sets of -add-fd. Raises OptionError."""
    for given in options.descriptors:
        fd = given["fd"]
        said = f"-add-fd fd={fd},set={given['set']}"
        if fd <= 2:
            raise OptionError(f"{said}: a standard stream cannot be in a set; give 3 or more")
        try:
            if fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC:
                raise OSError(errno.EBADF, "it is Pemu's own")
            fdsets.add(given["set"], fd)
        except (OSError, OverflowError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise OptionError(f"{said}: descriptor {fd} cannot be used ({why})") from None
    for fd in {given["fd"] for given in options.descriptors}:
        os.close(fd)


def _lock_memory() -> None:
    """Keep the memory of this process from being swapped out, now and later."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(_MCL_CURRENT | _MCL_FUTURE):
        why = os.strerror(ctypes.get_errno())
        raise OptionError(
            f"-overcommit mem-lock=on: locking memory failed ({why}); raise the limit (ulimit -l)"
        )


def _check(options: SystemOptions) -> None:
    """Raise OptionError for what cannot be together or is not there yet."""
    for given, name in ((options.append is not None, "append"), (options.initrd, "initrd")):
        if given and not options.kernel:
            raise OptionError(f"-{name} is for kernels; give one with -kernel")
    if options.daemonize and options.nographic:
        raise OptionError("-nographic needs a terminal, which -daemonize leaves; use -display none")
    if options.boot and options.boot["once"]:
        raise OptionError("-boot once: boards of this architecture have no boot order to restore")
    if "help" in options.directories or "?" in options.directories:
        raise HelpRequest("".join(f"{path}\n" for path in options.directories if path != "help"))
