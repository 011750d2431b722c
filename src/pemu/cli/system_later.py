"""QEMU's options of system emulation that Pemu does not have yet, so that messages can say so."""

LATER = (
    "add-fd",
    "audio",
    "audiodev",
    "chroot",
    "compat",
    "debugcon",
    "dump-vmstate",
    "fsdev",
    "fw_cfg",
    "incoming",
    "iscsi",
    "k",
    "loadvm",
    "netdev",
    "numa",
    "option-rom",
    "plugin",
    "qmp",
    "qmp-pretty",
    "rotate",
    "runas",
    "spice",
    "tpmdev",
    "usbdevice",
    "virtfs",
    "vnc",
    "watchdog-action",
)
"""Options with a value."""

NONE_ONLY = ("net", "nic", "vga")
"""Options of which the value `none` asks for what is the case."""

LATER_SWITCHES = (
    "async-teardown",
    "audio-help",
    "enable-kvm",
    "enable-sync-profile",
    "full-screen",
    "only-migratable",
    "portrait",
    "preconfig",
)
"""Options without a value."""
