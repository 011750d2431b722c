"""Character devices: what stands behind a guest's serial port, a monitor or a gdb connection.

- `pemu.chardev.interface`: the two sides: `FrontEnd` (a serial port, a monitor) and `Chardev`, the
  back end; `Host`, what back ends share. It says which calls may come from which thread.
- `pemu.chardev.registry`: `Chardevs`, which makes back ends from options, keeps and closes them.
- `pemu.chardev.options`: the comma list of `-chardev`; `pemu.chardev.legacy`: the short forms of
  `-serial`, `-monitor`, `-parallel` and `-gdb`.
- `pemu.chardev.descriptor`, `pemu.chardev.output`: back ends that are file descriptors.
- `pemu.chardev.mux`: several front ends on one back end, with the Ctrl-A keys.
- Every other module is one back end, or a part of one.
"""
