"""Extended attributes.

Their values are bytes to Pemu: those that the kernel defines are little-endian everywhere.
"""

from __future__ import annotations

from pemu.linux.syscall import passthrough
from pemu.linux.types.base import Fd, Size
from pemu.linux.types.names import Bits
from pemu.linux.types.pointers import InBuf, OutBuf, PlainPath, String

XattrFlags = Bits("xattr flags", "XATTR_CREATE 1 XATTR_REPLACE 2")

passthrough("setxattr", PlainPath, String, InBuf(3), Size, XattrFlags)
passthrough("lsetxattr", PlainPath, String, InBuf(3), Size, XattrFlags)
passthrough("fsetxattr", Fd, String, InBuf(3), Size, XattrFlags)
passthrough("getxattr", PlainPath, String, OutBuf(3), Size)
passthrough("lgetxattr", PlainPath, String, OutBuf(3), Size)
passthrough("fgetxattr", Fd, String, OutBuf(3), Size)
passthrough("listxattr", PlainPath, OutBuf(2), Size)
passthrough("llistxattr", PlainPath, OutBuf(2), Size)
passthrough("flistxattr", Fd, OutBuf(2), Size)
passthrough("removexattr", PlainPath, String)
passthrough("lremovexattr", PlainPath, String)
passthrough("fremovexattr", Fd, String)
