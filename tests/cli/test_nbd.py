"""pemu-nbd as a command: other programs as its clients, its messages beside qemu-nbd's."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pemu.block.graph import Graph
from pemu.block.nbd.tls import find_authorization
from pemu.block.objects import add_object
from pemu.cli.nbd import USAGE
from tests.cli.nbdserver import nbdsh, need, pemu_nbd, process, run, serving
from tests.cli.sidebyside import command
from tests.patience import LONG, until

SIZE = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """A raw image with data, zeros and a hole."""
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.write(os.urandom(200_000) + bytes(56_000))
        file.truncate(SIZE)
    return path


def test_list_is_as_qemu_nbds(tmp_path: Path, disk: Path) -> None:
    qemu_nbd = need("qemu-nbd")
    for words in (
        ["-x", "name", "-D", "a disk", "-A"],
        ["-r"],
        ["-e", "4"],
        ["-r", "-e", "0"],
        ["-o", "0x10000"],
        ["-o", "1000"],
    ):
        socket = tmp_path / "other"
        theirs = [qemu_nbd, "-t", "-f", "raw", "-k", str(socket), *words, str(disk)]
        with process(theirs, socket):
            expected = run(qemu_nbd, "-L", "-k", str(socket))
            assert pemu_nbd("-L", "-k", str(socket)) == expected
        socket.unlink(missing_ok=True)
        with serving(tmp_path, "-f", "raw", *words, str(disk)):
            assert run(qemu_nbd, "-L", "-k", str(tmp_path / "nbd")) == expected


def test_list_of_a_server_that_refuses(tmp_path: Path) -> None:
    socket = tmp_path / "kit"
    for words, reason in (
        (["--mask-handshake=0", "null"], "Server does not support export lists"),
        (
            ["eval", "list_exports=exit 1", "get_size=echo 1"],
            "Failed to list the exports: the server refuses, its platform cannot do it",
        ),
    ):
        with process([need("nbdkit"), "-f", "-U", str(socket), *words], socket):
            text = pemu_nbd("-L", "-k", str(socket), status=1)
        assert text == f"pemu-nbd: '{socket}': {reason}\n"
        socket.unlink(missing_ok=True)


def test_qemu_img_reads_it_all(tmp_path: Path, disk: Path) -> None:
    qemu_img = need("qemu-img")
    with serving(tmp_path, "-f", "raw", "-r", str(disk)) as uri:
        run(qemu_img, "convert", "-O", "raw", uri, str(tmp_path / "copy"))
        mapped = json.loads(run(qemu_img, "map", "--output=json", "-f", "raw", uri))
    assert (tmp_path / "copy").read_bytes() == disk.read_bytes()
    assert mapped[-1]["zero"]
    assert not mapped[-1]["data"]


def test_qemu_img_writes_a_qcow2_into_it(tmp_path: Path, disk: Path) -> None:
    qemu_img = need("qemu-img")
    (tmp_path / "target").write_bytes(bytes(4 * SIZE))
    with serving(tmp_path, "-f", "raw", "--discard=unmap", str(tmp_path / "target")) as uri:
        run(qemu_img, "create", "-q", "-f", "qcow2", uri, "1M")
        run(qemu_img, "convert", "-n", "-f", "raw", "-O", "qcow2", str(disk), uri)
        run(qemu_img, "check", "-f", "qcow2", uri)
    run(qemu_img, "compare", "-f", "raw", "-F", "qcow2", str(disk), str(tmp_path / "target"))


def test_qemu_io_writes_zeros_and_discards(tmp_path: Path, disk: Path) -> None:
    qemu_io = need("qemu-io")
    commands = ["write -P 7 64k 64k", "write -z 80k 4k", "write -zu 84k 4k", "discard 96k 8k"]
    commands += ["flush", "write -f -P 9 1000 24", "read -P 7 64k 16k", "read -P 0 80k 8k"]
    with serving(tmp_path, "-f", "raw", "--discard=unmap", str(disk)) as uri:
        words = [word for one in commands for word in ("-c", one)]
        assert "failed" not in run(qemu_io, "-f", "raw", *words, uri)
    assert disk.read_bytes()[1000:1024] == b"\x09" * 24


def test_libnbd_copies_through_several_connections(tmp_path: Path, disk: Path) -> None:
    nbdcopy = need("nbdcopy")
    source = disk.read_bytes()
    with serving(tmp_path, "-f", "raw", "-e", "8", str(disk)) as uri:
        info = json.loads(run(need("nbdinfo"), "--no-content", "--json", uri))["exports"][0]
        assert info["can_multi_conn"]
        assert info["contexts"] == ["base:allocation"]
        run(nbdcopy, "--connections=4", "--request-size=65536", uri, str(tmp_path / "copy"))
        assert (tmp_path / "copy").read_bytes() == source
        (tmp_path / "new").write_bytes(source[::-1])
        run(nbdcopy, "--connections=4", "--request-size=32768", str(tmp_path / "new"), uri)
    assert disk.read_bytes() == source[::-1]


def test_nbdsh_asks_for_everything(tmp_path: Path, disk: Path) -> None:
    script = (
        "assert h.can_fast_zero() and h.can_cache() and h.can_fua() and h.can_trim()\n"
        "h.pwrite(b'x' * 1000, 500, nbd.CMD_FLAG_FUA)\n"
        "assert h.pread(1000, 500) == b'x' * 1000\n"
        "h.zero(100, 600, nbd.CMD_FLAG_NO_HOLE)\n"
        "h.cache(4096, 0); h.trim(4096, 8192); h.flush()\n"
        "assert h.pread(1000, 500, nbd.CMD_FLAG_DF)[100:200] == bytes(100)\n"
        "found = []\n"
        "h.block_status(h.get_size(), 0, lambda c, o, e, err: found.append((c, o, e)))\n"
        "assert sum(found[0][2][::2]) == h.get_size()\n"
        "try:\n    h.pread(1, h.get_size())\n    raise AssertionError\n"
        "except nbd.Error:\n    pass\n"
    )
    with serving(tmp_path, "-f", "raw", str(disk)) as uri:
        start = "h.add_meta_context('base:allocation')\nh.set_strict_mode(0)\n"
        nbdsh(f"{start}h.connect_uri('{uri}')\n{script}")


def test_nbdkit_as_server(tmp_path: Path, disk: Path) -> None:
    socket = tmp_path / "kit"
    words = [need("nbdkit"), "-f", "-U", str(socket), "--filter=blocksize-policy", "file"]
    words += [str(disk), "blocksize-minimum=4096", "blocksize-error-policy=error"]
    expected = disk.read_bytes()
    with process(words, socket), serving(tmp_path, "-f", "raw", f"nbd:unix:{socket}") as uri:
        script = (
            f"assert h.pread(1000, 500) == open({str(disk)!r}, 'rb').read()[500:1500]\n"
            "h.pwrite(b'y' * 10, 5000)\n"
        )
        nbdsh(script, "-u", uri)
    assert disk.read_bytes() == expected[:5000] + b"y" * 10 + expected[5010:]


def test_server_whose_last_sector_is_not_whole(tmp_path: Path) -> None:
    socket = tmp_path / "kit"
    with process([need("nbdkit"), "-f", "-U", str(socket), "memory", "1025"], socket):
        image = Graph().open_name(f"nbd:unix:{socket}", format="raw")
        try:
            assert image.size == 1536
            image.write(1000, b"x" * 25)
            assert image.read(1000, 536) == b"x" * 25 + bytes(511)
            assert image.status(0, 1536).length == 1536
        finally:
            image.close()


def test_qemu_nbd_as_server_of_a_chain(tmp_path: Path, disk: Path) -> None:
    socket = tmp_path / "other"
    words = [need("qemu-nbd"), "-t", "-f", "raw", "-k", str(socket), "-x", "base", str(disk)]
    top = tmp_path / "top.qcow2"
    uri = f"nbd+unix:///base?socket={socket}"
    with process(words, socket):
        need("qemu-img")
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", uri, "-F", "raw", str(top), "1M")
        run("qemu-io", "-f", "qcow2", "-c", "write -P 1 64k 64k", str(top))
        with serving(tmp_path, "-f", "qcow2", "-A", str(top)) as ours:
            run("qemu-img", "convert", "-O", "raw", ours, str(tmp_path / "copy"))
            found = run("nbdinfo", "--map=qemu:allocation-depth", ours) if _nbdinfo() else ""
    expected = disk.read_bytes()
    data = (tmp_path / "copy").read_bytes()
    assert data == expected[:65536] + b"\1" * 65536 + expected[131072:]
    if found:
        rows = [line.split()[:3] for line in found.splitlines()]
        assert rows[:2] == [["0", "65536", "2"], ["65536", "65536", "1"]]


def _nbdinfo() -> bool:
    return bool(need("nbdinfo"))


def test_snapshot_leaves_the_image_alone(tmp_path: Path, disk: Path) -> None:
    qemu_io = need("qemu-io")
    before = disk.read_bytes()
    with serving(tmp_path, "-f", "raw", "-s", str(disk)) as uri:
        run(qemu_io, "-f", "raw", "-c", "write -P 7 0 64k", "-c", "read -P 7 0 64k", uri)
    assert disk.read_bytes() == before


def test_internal_snapshot_is_served(tmp_path: Path) -> None:
    need("qemu-img")
    name = str(tmp_path / "disk.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", name, "1M")
    run("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 64k", name)
    run("qemu-img", "snapshot", "-c", "then", name)
    run("qemu-img", "snapshot", "-c", "a=b", name)
    run("qemu-io", "-f", "qcow2", "-c", "write -P 2 0 64k", name)
    for which in ("then", "snapshot.name=then", "1", "a=b"):
        with serving(tmp_path, "-f", "qcow2", "-l", which, name) as uri:
            run("qemu-io", "-r", "-f", "raw", "-c", "read -P 1 0 64k", uri)
    text = pemu_nbd("-f", "qcow2", "-l", "none", "-k", str(tmp_path / "x"), name, status=1)
    assert text == "pemu-nbd: Failed to load snapshot: Can't find snapshot\n"


def test_partitions_are_read_through_it(tmp_path: Path) -> None:
    """A file system inside a partition table inside qcow2, at the partition's offset."""
    need("qemu-img")
    raw, name = tmp_path / "raw", str(tmp_path / "disk.qcow2")
    entry = bytes(4) + b"\x83" + bytes(3) + (2048).to_bytes(4, "little") + b"\0\x10\0\0"
    content = os.urandom(4096 * 512)
    raw.write_bytes((bytes(446) + entry + bytes(48) + b"\x55\xaa").ljust(SIZE, b"\0") + content)
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(raw), name)
    with serving(tmp_path, "-f", "qcow2", "-r", "-o", str(SIZE), name) as uri:
        run("qemu-img", "convert", "-f", "raw", "-O", "raw", uri, str(tmp_path / "copy"))
    assert (tmp_path / "copy").read_bytes() == content


def test_it_ends_with_the_last_client(tmp_path: Path, disk: Path) -> None:
    need("qemu-img")
    socket = tmp_path / "socket"
    with process([*command("nbd"), "-f", "raw", "-k", str(socket), str(disk)], socket) as server:
        uri = f"nbd+unix:///?socket={socket}"
        run("qemu-nbd", "-L", "-k", str(socket))
        assert server.poll() is None
        run("qemu-img", "info", "-f", "raw", uri)
        assert server.wait(LONG) == 0
    assert not socket.exists()


def test_signal_that_comes_as_soon_as_the_socket_is_there_is_heeded(
    tmp_path: Path, disk: Path
) -> None:
    words = command("nbd")
    words[-1] = words[-1].replace(
        "from pemu",
        "import os, pemu.cli.nbd_serve as serve; real = serve.listen; "
        "serve.listen = lambda place: (real(place), os.kill(os.getpid(), 15))[0]; from pemu",
    )
    socket = tmp_path / "socket"
    run(*words, "-t", "-f", "raw", "-k", str(socket), str(disk))
    assert not socket.exists()


def test_fork_returns_when_clients_can_come(tmp_path: Path, disk: Path) -> None:
    socket, pid = tmp_path / "socket", tmp_path / "pid"
    words = ["--fork", "-t", "--pid-file", str(pid), "-f", "raw", "-k", str(socket), str(disk)]
    mask = os.umask(0)
    try:
        assert pemu_nbd(*words) == ""
    finally:
        os.umask(mask)
    number = int(pid.read_text())
    try:
        assert socket.stat().st_mode & 0o777 == 0o777
        assert "exports available: 1" in pemu_nbd("-L", "-k", str(socket))
    finally:
        os.kill(number, signal.SIGTERM)
    until(lambda: not pid.exists() and not socket.exists(), "the end")


def test_socket_that_is_handed_over(tmp_path: Path, disk: Path) -> None:
    """As systemd does it; libnbd plays its part."""
    words = json.dumps([*command("nbd"), "-f", "raw", str(disk)])
    script = f"h.connect_systemd_socket_activation({words})\nassert h.get_size() == {SIZE}\n"
    nbdsh(script)


def _certificates(folder: Path, days: str = "2") -> None:
    openssl = need("openssl")

    def make(*words: str) -> None:
        subprocess.run([openssl, *words], check=True, capture_output=True, cwd=folder)

    key = ("-newkey", "rsa:2048", "-nodes", "-days", "2")
    make("req", "-x509", *key, "-keyout", "ca-key.pem", "-out", "ca-cert.pem", "-subj", "/CN=ca")
    for side, name in (("server", "localhost"), ("client", "someone")):
        subject = f"/O=Example, Ltd/CN={name}"
        make("req", *key[:3], "-keyout", f"{side}-key.pem", "-out", "x.csr", "-subj", subject)
        (folder / "x.ext").write_text(f"subjectAltName=DNS:{name}\n")
        make(
            "x509", "-req", "-in", "x.csr", "-CA", "ca-cert.pem", "-CAkey", "ca-key.pem",
            "-CAcreateserial", "-days", days, "-out", f"{side}-cert.pem", "-extfile", "x.ext",
        )  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "allowed"),
    [
        (r"authz-simple,id=a,identity=O=Example\,, Ltd,,CN=someone", True),
        (r"authz-simple,id=a,identity=CN=someone,,O=Example\,, Ltd", False),
        ("authz-list,id=a,rules.0.match=O=*,rules.0.policy=allow,rules.0.format=glob", True),
        (
            "authz-list,id=a,policy=allow,rules.0.match=*s*,rules.0.policy=deny,rules.0.format=glob",
            False,
        ),
    ],
)
def test_tls_in_both_directions(tmp_path: Path, disk: Path, rules: str, allowed: bool) -> None:
    need("qemu-img")
    _certificates(tmp_path)
    credentials = f"tls-creds-x509,id=t,dir={tmp_path},endpoint="
    server = ("--object", f"{credentials}server", "--tls-creds", "t")
    socket = tmp_path / "other"
    client = (
        "--image-opts",
        f"driver=nbd,server.type=unix,server.path={socket},tls-creds=t,tls-hostname=localhost",
    )
    theirs = [need("qemu-nbd"), "-t", "-f", "raw", "-k", str(socket), *server]
    if allowed:
        theirs += ["--tls-authz", "a", "--object", rules]  # so it is QEMU's opinion, too
    with process([*theirs, str(disk)], socket):
        plain = ["--object", f"{credentials}client", *client, "-r"]
        words = ["--object", f"tls-creds-x509,id=s,dir={tmp_path},endpoint=server"]
        words += ["--tls-creds", "s", "--tls-authz", "a", "--object", rules]
        with serving(tmp_path, *words, *plain) as uri:
            text = f"driver=nbd,server.type=unix,server.path={tmp_path / 'nbd'},tls-creds=t"
            text += ",tls-hostname=localhost"
            run(
                "qemu-img", "convert", "--object", f"{credentials}client", "--image-opts", text,
                "-O", "raw", str(tmp_path / "copy"), status=0 if allowed else 1,
            )  # fmt: skip
            run("qemu-img", "info", uri, status=1)
    assert not allowed or (tmp_path / "copy").read_bytes() == disk.read_bytes()


@pytest.mark.parametrize(
    "words",
    [
        ["-L", "file"],
        ["-L", "-r"],
        ["--cache=foo", "file"],
        ["--aio=foo", "file"],
        ["--discard=foo", "file"],
        ["-e", "x", "file"],
        ["-e", "-1", "file"],
        ["-o", "x", "file"],
        ["-n", "--cache=none", "file"],
        ["--detect-zeroes=unmap", "file"],
        ["-f", "raw", "nofile"],
        ["-k", "relative", "file"],
        ["--tls-creds=x", "file"],
        ["--tls-authz=x", "file"],
        ["-d", "/dev/none"],
        ["-d", "/dev/null"],
        ["-k", "", "file"],
        ["-n", "-n", "file"],
        ["--aio=threads", "--aio=threads", "file"],
        ["--discard=on", "--discard=on", "file"],
        ["-e", "99999999999", "file"],
        ["-f", "", "file"],
        ["--cache=", "file"],
        ["--detect-zeroes=foo", "file"],
        ["-L", "-x", "name"],
        ["-L", "-f", "raw"],
        ["-L", "-n"],
        ["-L", "--discard=on"],
        ["-L", "--fork"],
        ["-L", "-d", "/dev/null"],
        ["-L", "--tls-authz=x"],
        ["-L", "-k", "/none/socket"],
    ],
)
def test_mistakes_are_answered_as_qemu_nbd_does(words: list[str]) -> None:
    theirs = subprocess.run(
        [need("qemu-nbd"), *words], capture_output=True, text=True, timeout=LONG, check=False
    )
    ours = pemu_nbd(*words, status=theirs.returncode)
    expected = (theirs.stdout + theirs.stderr).replace("qemu-nbd:", "pemu-nbd:")
    if "connect" not in expected:
        assert ours == expected


def test_certificate_that_has_expired_is_named(tmp_path: Path, disk: Path) -> None:
    _certificates(tmp_path, days="-1")
    words = ["--object", f"tls-creds-x509,id=t,dir={tmp_path},endpoint=server", "--tls-creds=t"]
    words += ["-f", "raw", "-k", str(tmp_path / "socket"), str(disk)]
    theirs = subprocess.run(
        [need("qemu-nbd"), *words], capture_output=True, text=True, timeout=LONG, check=False
    )
    assert "has expired" in theirs.stderr
    assert pemu_nbd(*words, status=1) == theirs.stderr.replace("qemu-nbd:", "pemu-nbd:")


def test_rules_in_a_file_hold_as_they_are_when_a_client_comes(tmp_path: Path) -> None:
    path = tmp_path / "rules"
    path.write_text('{"rules": [{"match": "CN=a", "policy": "allow"}]}')
    objects: dict[str, Any] = {}
    add_object(objects, f"authz-listfile,id=now,filename={path}")
    add_object(objects, f"authz-listfile,id=then,filename={path},refresh=off")
    found = [find_authorization(objects, name) for name in ("now", "then")]
    assert [one.allows("CN=a") for one in found] == [True, True]
    path.write_text('{"policy": "allow", "rules": [{"match": "CN=a", "policy": "deny"}]}')
    assert [one.allows("CN=a") for one in found] == [False, True]
    path.write_text('{"policy": "allow", "rules": {')
    assert [one.allows("CN=b") for one in found] == [False, False]


def test_device_that_is_missing_and_how_it_comes(disk: Path) -> None:
    assert pemu_nbd("-f", "raw", "-c", "/dev/nbd9999", str(disk), status=1) == (
        "pemu-nbd: Failed to open /dev/nbd9999: No such file or directory; the kernel's module "
        "makes it, see modprobe nbd\n"
    )


def test_help_and_version() -> None:
    assert pemu_nbd("--help") == USAGE
    assert pemu_nbd("-V").startswith("pemu-nbd version ")


@pytest.mark.parametrize("words", [[], ["-r"]])
def test_dirty_bitmap_is_shown_as_qemu_nbd_does(tmp_path: Path, words: list[str]) -> None:
    qemu_nbd, nbdinfo = need("qemu-nbd"), need("nbdinfo")
    name = str(tmp_path / "disk.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", name, "4M")
    run("qemu-img", "bitmap", "--add", "-g", "65536", name, "changes")
    run("qemu-io", "-f", "qcow2", "-c", "write 64k 64k", "-c", "write 1M 200k", name)
    if words:
        run("qemu-img", "bitmap", "--disable", name, "changes")
    context = "--map=qemu:dirty-bitmap:changes"
    socket = tmp_path / "other"
    options = ["-t", "-f", "qcow2", "-B", "changes", *words, name]
    with process([qemu_nbd, "-k", str(socket), *options], socket):
        expected = run(nbdinfo, context, f"nbd+unix:///?socket={socket}")
    with serving(tmp_path, *options[1:]) as uri:
        assert run(nbdinfo, context, uri) == expected
        if not words:
            run("qemu-io", "-f", "raw", "-c", "write 2M 64k", uri)
            assert run(nbdinfo, context, uri) != expected


def test_socket_that_does_not_listen_is_refused(disk: Path) -> None:
    script = (
        "import os, socket, sys; pair = socket.socketpair(); os.dup2(pair[0].fileno(), 3);"
        "os.set_inheritable(3, True);"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1');"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    words = [sys.executable, "-c", script, *command("nbd"), "-f", "raw", str(disk)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LONG, check=False)
    assert done.stderr == "pemu-nbd: the socket that was handed over does not listen\n"
    assert done.returncode == 1
