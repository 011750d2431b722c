"""Boards, one file each; docs/adding-a-board.md says how to add one.

`BOARDS` says which boards there are for an architecture, and where: "module:class", the module in
this package. `DEFAULTS` has the one that is taken without -M.
"""

BOARDS: dict[str, dict[str, str]] = {
    "mips": {
        "malta": "malta:Malta",
        "mipssim": "mipssim:Mipssim",
        "none": "none:Empty",
    },
}

DEFAULTS: dict[str, str] = {"mips": "malta"}
