"""Tier 0: threaded code. A guest block is translated, by native code, into an array of ops.

`modules` puts together what LLVM compiles: handlers, decoder, translator and runtime.
"""
