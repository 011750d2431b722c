"""Error numbers of Linux on MIPS and their translation from and to the host's.

Source: the kernel's MIPS `asm/errno.h`; 1 to 34 are the same everywhere.
"""

from __future__ import annotations

import errno

_DIFFERENT = """
35 ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG EUNATCH ENOCSI EL2HLT EDEADLK ENOLCK
50 EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT
59 EBFONT ENOSTR ENODATA ETIME ENOSR ENONET ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO
73 EDOTDOT EMULTIHOP
77 EBADMSG ENAMETOOLONG EOVERFLOW ENOTUNIQ EBADFD EREMCHG ELIBACC ELIBBAD ELIBSCN ELIBMAX
87 ELIBEXEC EILSEQ ENOSYS ELOOP ERESTART ESTRPIPE ENOTEMPTY EUSERS ENOTSOCK EDESTADDRREQ
97 EMSGSIZE EPROTOTYPE ENOPROTOOPT
120 EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE
126 EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN
134 ENOTCONN EUCLEAN
137 ENOTNAM ENAVAIL EISNAM EREMOTEIO
143 ESHUTDOWN ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS
151 ESTALE
158 ECANCELED ENOMEDIUM EMEDIUMTYPE ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD
166 ENOTRECOVERABLE ERFKILL EHWPOISON
1133 EDQUOT
"""

_HOST_NUMBERS = {name: number for number, name in errno.errorcode.items()}
_HOST_NUMBERS["EHWPOISON"] = 133
_HOST_NUMBERS["EDEADLK"] = errno.EDEADLK
_HOST_NUMBERS["EOPNOTSUPP"] = errno.EOPNOTSUPP


def _translations() -> tuple[list[int], dict[int, int], dict[int, str]]:
    to_guest = list(range(134))
    to_host = {number: number for number in range(1, 35)}
    names = {number: errno.errorcode[number] for number in range(1, 35)}
    number = 0
    for token in _DIFFERENT.split():
        if token.isdigit():
            number = int(token)
            continue
        host = _HOST_NUMBERS[token]
        to_guest[host] = number
        to_host[number] = host
        names[number] = token
        number += 1
    to_host[56] = errno.EDEADLK
    names[56] = "EDEADLOCK"
    return to_guest, to_host, names


TO_GUEST, TO_HOST, NAMES = _translations()
"""Guest number by host number (a list: native code uses it too); host by guest; name by guest."""


def to_guest(host_errno: int) -> int:
    """The MIPS number of a host error; what the host does not know stays as it is."""
    return TO_GUEST[host_errno] if 0 <= host_errno < 134 else host_errno


def to_host(guest_errno: int) -> int:
    """The host's number of a MIPS error."""
    return TO_HOST.get(guest_errno, guest_errno)
