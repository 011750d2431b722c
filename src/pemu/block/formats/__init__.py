"""Image formats, one file each; `pemu.block.driver` lists them."""
