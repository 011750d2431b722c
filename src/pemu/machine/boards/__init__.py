"""Boards, one file each; docs/adding-a-board.md says how to add one."""
