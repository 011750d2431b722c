"""Machine code as bytes: made by LLVM, linked, placed in memory, and kept on disk between runs."""
