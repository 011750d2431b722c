"""QEMU's options of system emulation that Pemu does not have yet, so that messages can say so."""

LATER = (
    "audio",
    "audiodev",
    "debugcon",
    "dump-vmstate",
    "fsdev",
    "fw_cfg",
    "incoming",
    "iscsi",
    "loadvm",
    "netdev",
    "numa",
    "plugin",
    "qmp",
    "qmp-pretty",
    "rotate",
    "spice",
    "tpmdev",
    "usbdevice",
    "virtfs",
    "vnc",
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
