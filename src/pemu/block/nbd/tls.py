"""TLS of NBD: what tls-creds-x509, tls-creds-psk and authz-* objects say, as OpenSSL takes it."""

from __future__ import annotations

import errno
import fnmatch
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pemu.block.error import ImageError
from pemu.block.nbd.channel import Channel, Gone
from pemu.block.tree import from_json, typed
from pemu.options.keyval import Group, Key
from pemu.options.types import Bool, Enum, ListOf, Text

if TYPE_CHECKING:
    import ssl


@dataclass(frozen=True)
class Credentials:
    """A credentials object. server: whether it is for the side that listens."""

    server: bool
    context: ssl.SSLContext


@dataclass(frozen=True)
class TlsServer:
    """What a server demands of clients. authorized: rules for their certificates' names."""

    credentials: Credentials
    authorized: Authorization | AuthorizationFile | None = None

    def accept(self, channel: Channel) -> None:
        """Go on in secret. Raises Gone where the client may not or cannot."""
        channel.start_tls(self.credentials.context, server=True)
        if self.authorized is not None and not self.authorized.allows(channel.peer_name()):
            raise Gone(errno.EPERM, f"the client '{channel.peer_name()}' is not authorized")


@dataclass(frozen=True)
class Authorization:
    """Who may come: rules with keys as `_RULE` has them, and the policy else."""

    rules: Sequence[Mapping[str, Any]]
    policy: str = "deny"

    def allows(self, name: str) -> bool:
        """Whether the first rule that is about `name` lets it in."""
        for rule in self.rules:
            is_meant = fnmatch.fnmatchcase if rule["format"] == "glob" else str.__eq__
            if is_meant(name, rule["match"]):
                return bool(rule["policy"] == "allow")
        return self.policy == "allow"


@dataclass(frozen=True)
class AuthorizationFile:
    """Rules in a file that is read for every client; nobody may come while it is of no use."""

    path: str

    def allows(self, name: str) -> bool:
        """As Authorization's."""
        try:
            return _read_rules(self.path).allows(name)
        except ImageError:
            return False


def find_credentials(objects: Mapping[str, Any], name: str, *, server: bool) -> Credentials:
    """The credentials that an option names. Raises ImageError."""
    found = objects.get(name)
    if found is None:
        raise ImageError(f"No TLS credentials with id '{name}'")
    if not isinstance(found, Credentials):
        raise ImageError(f"Object with id '{name}' is not TLS credentials")
    if found.server != server:
        raise ImageError(
            f"Expecting TLS credentials with a {'server' if server else 'client'} endpoint"
        )
    return found


def find_authorization(objects: Mapping[str, Any], name: str) -> Authorization | AuthorizationFile:
    """The rules that an option names. Raises ImageError."""
    found = objects.get(name)
    if not isinstance(found, Authorization | AuthorizationFile):
        raise ImageError(f"No authorization object with id '{name}'")
    return found


_COMMON = (
    Key("dir", Text("path"), "directory that has the keys"),
    Key("endpoint", Enum(("client", "server")), "which side it is for", default="client"),
    Key("priority", Text("str"), "choice of algorithms, as GnuTLS writes it"),
)

X509_KEYS = (
    *_COMMON,
    Key("verify-peer", Bool(), "demand a certificate of the other side", default=True),
    Key("sanity-check", Bool(), "check the certificates before use", default=True),
    Key("passwordid", Text("id"), "secret that opens the private key"),
)

PSK_KEYS = (*_COMMON, Key("username", Text("str"), "name of the client's key", default="qemu"))


def x509(values: Mapping[str, Any], objects: Mapping[str, Any]) -> Credentials:
    """Credentials from PEM files: ca-cert, ca-crl, server-cert, server-key and the client's."""
    import ssl

    directory = _directory(values)
    side = values["endpoint"]
    server = side == "server"
    password = None
    if values["passwordid"] is not None:
        password = objects.get(values["passwordid"])
        if not isinstance(password, bytes):
            raise ImageError(f"No secret with id '{values['passwordid']}'")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if server:
        context.verify_mode = ssl.CERT_REQUIRED if values["verify-peer"] else ssl.CERT_NONE
    elif not values["verify-peer"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    authority = os.path.join(directory, "ca-cert.pem")
    certificate, key = (os.path.join(directory, f"{side}-{one}.pem") for one in ("cert", "key"))
    revoked = os.path.join(directory, "ca-crl.pem")
    needed = [authority, certificate, key] if server else [authority]
    for path in needed:
        if not os.path.exists(path):
            raise ImageError(f"Unable to access credentials {path}: No such file or directory")
    try:
        context.load_verify_locations(authority)
        if os.path.exists(revoked):
            context.load_verify_locations(revoked)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        if os.path.exists(certificate):
            context.load_cert_chain(certificate, key, password=password or b"")
    except (OSError, ValueError) as error:
        raise ImageError(f"the credentials in '{directory}' are of no use: {error}") from None
    if values["sanity-check"]:
        _check_dates(authority, "CA")
        if os.path.exists(certificate):
            _check_dates(certificate, side)
    return Credentials(server, context)


def _check_dates(path: str, what: str) -> None:
    """Raise ImageError where a certificate of a file is not valid now: the peer would only go."""
    from datetime import UTC, datetime

    from cryptography import x509

    now = datetime.now(UTC)
    with open(path, "rb") as file:
        for certificate in x509.load_pem_x509_certificates(file.read()):
            if certificate.not_valid_after_utc < now:
                raise ImageError(f"The {what} certificate {path} has expired")
            if certificate.not_valid_before_utc > now:
                raise ImageError(f"The {what} certificate {path} is not yet active")


def psk(values: Mapping[str, Any], objects: Mapping[str, Any]) -> Credentials:
    """Credentials from the keys that both sides have in keys.psk: lines of name:hex digits."""
    import ssl

    directory = _directory(values)
    server = values["endpoint"] == "server"
    keys = _shared_keys(os.path.join(directory, "keys.psk"))
    context: Any = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    if not hasattr(context, "set_psk_server_callback"):
        raise ImageError("tls-creds-psk needs Python 3.13 or newer; use tls-creds-x509")
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("PSK")
    if server:
        context.set_psk_server_callback(lambda name: keys.get(name or "", b""))
    else:
        user = values["username"]
        if user not in keys:
            raise ImageError(f"'{directory}/keys.psk' has no key of the user '{user}'")
        context.set_psk_client_callback(lambda hint: (user, keys[user]))
    return Credentials(server, context)


def _directory(values: Mapping[str, Any]) -> str:
    if values["priority"] is not None:
        raise ImageError("'priority' of TLS credentials is not supported yet; leave it out")
    if not values["dir"]:
        raise ImageError("'dir' is missing; name the directory that has the keys")
    return str(values["dir"])


def _shared_keys(path: str) -> dict[str, bytes]:
    keys: dict[str, bytes] = {}
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                name, colon, digits = line.strip().partition(":")
                if colon:
                    keys[name] = bytes.fromhex(digits)
    except OSError as error:
        raise ImageError(f"Unable to access credentials {path}: {error.strerror}") from None
    except ValueError:
        raise ImageError(f"'{path}' has a line that is not name:hex digits") from None
    return keys


def authorize_simple(values: Mapping[str, Any], objects: Mapping[str, Any]) -> Authorization:
    """authz-simple: one name."""
    rule = {"match": values["identity"], "policy": "allow", "format": "exact"}
    return Authorization([rule])


def authorize_list(values: Mapping[str, Any], objects: Mapping[str, Any]) -> Authorization:
    """authz-list: rules of the command line."""
    return Authorization(values["rules"] or (), values["policy"])


def authorize_file(
    values: Mapping[str, Any], objects: Mapping[str, Any]
) -> Authorization | AuthorizationFile:
    """authz-listfile: the same in a file of JSON."""
    found = _read_rules(values["filename"])
    return AuthorizationFile(os.path.abspath(values["filename"])) if values["refresh"] else found


def _read_rules(path: str) -> Authorization:
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except OSError as error:
        raise ImageError(f"Unable to read '{path}': {error.strerror}") from None
    except ValueError:
        raise ImageError(f"'{path}' is no text in UTF-8") from None
    try:
        values = typed(from_json(text), LIST_KEYS, "a list of rules")
    except ImageError as error:
        raise ImageError(f"'{path}': {error}") from None
    return Authorization(values["rules"] or (), values["policy"])


SIMPLE_KEYS = (Key("identity", Text("str"), "the name that may come", required=True),)

_POLICY = Enum(("deny", "allow"))

_RULE = Group(
    "rule",
    (
        Key("match", Text("str"), "the name, or a pattern of names", required=True),
        Key("policy", _POLICY, "whether it may come", required=True),
        Key("format", Enum(("exact", "glob")), "which of the two it is", default="exact"),
    ),
)

LIST_KEYS = (
    Key("policy", _POLICY, "what becomes of those whom no rule is about", default="deny"),
    Key("rules", ListOf(_RULE), "of which the first that is about a name holds"),
)

FILE_KEYS = (
    Key("filename", Text("path"), "JSON file of rules", required=True),
    Key("refresh", Bool(), "read it again for every client", default=True),
)

OBJECTS = {
    "tls-creds-x509": (X509_KEYS, x509),
    "tls-creds-psk": (PSK_KEYS, psk),
    "authz-simple": (SIMPLE_KEYS, authorize_simple),
    "authz-list": (LIST_KEYS, authorize_list),
    "authz-listfile": (FILE_KEYS, authorize_file),
}
