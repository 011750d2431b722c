"""The translator: runs code of a processor that is declared elsewhere as native code.

From the ground up: `layout`, `host`, `memory`, `staging`, `code`; native functions in `system`,
`syscalls`, `tier0`; compiled regions in `tier1`; on top `engine` and the cpus (`vcpu`,
`machinecpu`). Imports lead downwards in this order.
"""
