"""Machines: memory, devices, buses, interrupt lines, clocks; docs/adding-a-device.md is the way in.

The modules of this package know no device and no board. Devices (`pemu.devices`) are built on them,
boards (`pemu.machine.boards`) are built of devices.
"""
