"""Tier 1: hot blocks become regions, which LLVM compiles while the guest goes on in tier 0.

`forming` chooses the blocks, `region` stages them, `compiler` is the thread that does it.
"""
