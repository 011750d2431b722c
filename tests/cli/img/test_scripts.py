"""Scripts of `pemu-img` and `pemu-io` commands do, step by step, what QEMU's tools do."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.sidebyside import Answer, Pair, command, pemu_tool
from tests.patience import LONG

_VARIES = (
    (re.compile(r"disk size: .*\n"), ""),
    (re.compile(r"\d+ ops; .*"), "OPS"),
    (re.compile(r"[\d.]+ \S+, \d+ ops.*"), "OPS"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"), "DATE"),
)
"""What differs from run to run."""

_OWN = ("actual-size", "filename", "offset", "cid", "parent-cid", "date-sec", "date-nsec")
"""Keys of JSON output whose values are each program's own."""


def normal(answer: Answer) -> tuple[int, object, str]:
    """An answer without what varies; of errors the first line without Pemu's remedy."""
    output: object = answer.output
    if answer.output[:1] in ("[", "{"):
        output = _without_own(json.loads(answer.output))
    else:
        text = answer.output
        for pattern, instead in _VARIES:
            text = pattern.sub(instead, text)
        output = text
    return answer.status, output, answer.error.partition("\n")[0].partition(";")[0]


def _without_own(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_own(one) for key, one in value.items() if key not in _OWN}
    return [_without_own(one) for one in value] if isinstance(value, list) else value


SCRIPTS = {
    "new raw files have their first block": """
        img create -f raw a.raw 1M
        img map --output=json a.raw
        img create -f raw small.raw 1000
        img map --output=json small.raw
        img create -f raw -o preallocation=falloc room.raw 1M
        img map --output=json room.raw
        img create -f qcow2 empty.qcow2 1M
        img convert -O raw empty.qcow2 b.raw
        img map --output=json b.raw
    """,
    "sizes at the end of what numbers can say": """
        img create -f qcow2 -o cluster_size=2M big.qcow2 4P
        img map --output=json big.qcow2
        img create -f raw big.raw 9223372036854775808
        img create -f qcow2 zero.qcow2 0
        img info zero.qcow2
        img create -f vdi odd.vdi 511
        img info odd.vdi
    """,
    "formats that cannot be emptied keep what was committed": """
        img create -f qcow2 base.qcow2 1M
        img create -f qed -b base.qcow2 -F qcow2 top.qed
        io -f qed -c 'write -P 7 256k 4k' top.qed
        img commit top.qed
        img map --output=json top.qed
        io -c 'read -P 7 256k 4k' base.qcow2
        img create -f vmdk base.vmdk 1M
        img create -f vmdk -b base.vmdk -F vmdk top.vmdk
        io -f vmdk -c 'write -P 8 256k 4k' top.vmdk
        img commit top.vmdk
        io -f vmdk -c 'read -P 8 256k 4k' base.vmdk
    """,
    "qcow is emptied": """
        img create -f qcow2 base.qcow2 1M
        img create -f qcow -b base.qcow2 -F qcow2 top.qcow
        io -f qcow -c 'write -P 7 256k 4k' top.qcow
        img commit top.qcow
        img map --output=json top.qcow
        io -f qcow -c 'read -P 7 256k 4k' -c 'write -P 8 0 64k' top.qcow
        img map --output=json top.qcow
    """,
    "a raw external data file has all of the disk": """
        img create -f qcow2 -o data_file=data,data_file_raw=on d.qcow2 1M
        img map --output=json d.qcow2
        io -c 'write 64k 64k' -c 'discard 128k 64k' -c 'write -z 256k 64k' -c map d.qcow2
        img map --output=json d.qcow2
        img resize d.qcow2 2M
        img map --output=json d.qcow2
        img check d.qcow2
    """,
    "parts of clusters become zeros": """
        img create -f qcow2 base.qcow2 1M
        io -c 'write -z 1000 512' -c 'write 64k 64k' -c 'write -z 65000 70000' base.qcow2
        io -c 'write -z 512k 60k' -c 'write -zu 768k 100k' -c 'write -P 3 900k 1k' base.qcow2
        img map --output=json base.qcow2
        img create -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
        io -c 'write -z 1000 512' -c 'write -z 65000 70000' -c 'write -zu 890k 6k' top.qcow2
        img map --output=json top.qcow2
        img create -f qcow2 -b base.qcow2 -F qcow2 -o extended_l2=on sub.qcow2
        io -c 'write -z 1000 512' -c 'write -z 65000 70000' -c 'write -z 890k 10k' sub.qcow2
        img map --output=json sub.qcow2
        img check sub.qcow2
    """,
    "an image grows from the middle of a cluster": """
        img create -f qcow2 -o extended_l2=on a.qcow2 100000
        io -c 'write -P 3 90000 9k' a.qcow2
        img resize a.qcow2 2M
        img map --output=json a.qcow2
        io -c 'read -P 0 99216 1M' a.qcow2
    """,
    "what amend and bitmaps refuse": """
        img create -f qcow2 a.qcow2 1M
        img create -f qcow2 -b a.qcow2 -F qcow2 b.qcow2
        img amend -o backing_file=a.qcow2 b.qcow2
        img amend -o backing_fmt=raw b.qcow2
        img create -f qcow2 -o compat=0.10 v2.qcow2 1M
        img convert -O qcow2 --bitmaps v2.qcow2 c.qcow2
        img convert -O qcow2 -o compat=0.10 --bitmaps a.qcow2 c.qcow2
        img convert -O vmdk --bitmaps a.qcow2 c.vmdk
    """,
    "-U is for what is read": """
        img create -q -f qcow2 b 1M
        img create -q -f qcow2 -b b -F qcow2 q
        img rebase -U -u -b b -F qcow2 q
        img rebase -U -b b -F qcow2 q
        img snapshot -U -l q
        img snapshot -U -c s q
        img check -U q
        img check -U -r all q
        img bench -U -w -c 1 q
        img convert -U -O raw q x
        img rebase -U -b '' q
    """,
    "key slots of encrypted images": """
        img create -f luks --object secret,id=s,data=abc -o key-secret=s,iter-time=10 l 1M
        img amend -f luks -o help
        img amend --object secret,id=s,data=abc --object secret,id=t,data=def --image-opts driver=luks,file.filename=l,key-secret=s -o state=active,new-secret=t,iter-time=10
        img amend --object secret,id=s,data=abc --image-opts driver=luks,file.filename=l,key-secret=s -o state=active,new-secret=s,keyslot=1
        img amend --object secret,id=s,data=abc --image-opts driver=luks,file.filename=l,key-secret=s -o state=inactive,old-secret=s
        img amend --object secret,id=t,data=def --image-opts driver=luks,file.filename=l,key-secret=t -o state=inactive
        img amend --object secret,id=t,data=def --image-opts driver=luks,file.filename=l,key-secret=t -o state=inactive,old-secret=t
        img amend --object secret,id=t,data=def --image-opts driver=luks,file.filename=l,key-secret=t -o cipher-alg=aes-256
        img amend --force --object secret,id=t,data=def --image-opts driver=luks,file.filename=l,key-secret=t -o state=active,keyslot=1,new-secret=t,iter-time=10
        img amend --force --object secret,id=t,data=def --image-opts driver=luks,file.filename=l,key-secret=t -o state=inactive,keyslot=1
        img compare --object secret,id=t,data=def --image-opts driver=luks,file.filename=l,key-secret=t driver=null-co,size=1M,read-zeroes=on
        img create -f qcow2 --object secret,id=s,data=abc -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=10 x 1M
        img amend --object secret,id=s,data=abc --image-opts driver=qcow2,file.filename=x,encrypt.key-secret=s -o encrypt.format=luks
        img amend --object secret,id=s,data=abc --image-opts driver=qcow2,file.filename=x,encrypt.key-secret=s -o encrypt.state=inactive,encrypt.keyslot=0
        img amend --force --object secret,id=s,data=abc --image-opts driver=qcow2,file.filename=x,encrypt.key-secret=s -o encrypt.state=inactive,encrypt.keyslot=0
        img map --object secret,id=s,data=abc --image-opts driver=qcow2,file.filename=x,encrypt.key-secret=s
    """,  # noqa: E501
    "names of images": """
        img create -f qcow2 ./a:b.qcow2 1M
        img info file:a:b.qcow2
        img info a:b.qcow2
        img create -f qcow2 -b ./a:b.qcow2 -F qcow2 'c,d é.qcow2'
        img info --backing-chain 'json:{"driver":"qcow2","file.filename":"c,d é.qcow2"}'
        img info 'json:{"file":{"driver":"file","filename":"c,d é.qcow2"}}'
        img info --image-opts 'driver=qcow2,file.filename=c,,d é.qcow2,file.locking=off'
        img info --image-opts nothing
        img map --output=json 'json:{"driver":"qcow2","file.filename":"c,d é.qcow2"}'
        img info /dev/null
        img info --image-opts driver=raw,file.driver=file,file.filename=/dev/null
        img info --image-opts driver=host_device,filename=./a:b.qcow2
        img create -f raw /dev/null 1M
        img convert -n -O raw ./a:b.qcow2 /dev/null
    """,
    "encrypted images": """
        img create -f raw a.raw 1M
        io -f raw -c 'write -P 5 100k 200k' a.raw
        img convert -O luks --object secret,id=s,data=abc -o key-secret=s,iter-time=100 a.raw a.luks
        img compare --object secret,id=s,data=abc --image-opts driver=luks,key-secret=s,file.filename=a.luks driver=raw,file.filename=a.raw
        img convert -O qcow2 --object secret,id=s,data=abc -o encrypt.format=luks,encrypt.key-secret=s,encrypt.iter-time=100 a.raw e.qcow2
        img compare --object secret,id=s,data=abc --image-opts driver=qcow2,encrypt.key-secret=s,file.filename=e.qcow2 driver=raw,file.filename=a.raw
        img create -f qcow2 -b e.qcow2 -F qcow2 top.qcow2
        img create -f qcow2 -b a.luks -F luks top.qcow2
        img convert -O qcow --object secret,id=s,data=abc -o encrypt.format=aes,encrypt.key-secret=s a.raw a.qcow
        img convert -O luks a.raw b.luks
    """,  # noqa: E501
    "what create refuses": """
        img create -f qcow2 -o size=1M b.qcow2 2M
        img create -f qcow2 -F raw b.qcow2 1M
        img create -f qcow2 -o backing_fmt=raw b.qcow2 1M
        img create -f qcow2 -b '' b.qcow2 1M
        img create -f qcow2 -b '' -F '' b.qcow2 1M
    """,
    "snapshots are deleted by name, and not applied where bitmaps would be wrong": """
        img create -f qcow2 a.qcow2 1M
        img snapshot -c one a.qcow2
        img snapshot -c 1 a.qcow2
        img snapshot -c two a.qcow2
        img snapshot -d 3 a.qcow2
        img snapshot -d 1 a.qcow2
        img snapshot -l a.qcow2
        img snapshot -a 3 a.qcow2
        img bitmap --add a.qcow2 b0
        img snapshot -a one a.qcow2
        img snapshot -d one a.qcow2
        img snapshot -l a.qcow2
        img create -f vdi a.vdi 1M
        img snapshot -d one a.vdi
    """,
    "zeros that must be fast": """
        img create -f qcow2 a.qcow2 1M
        io -c 'write -zn 64k 64k' a.qcow2
        img create -f qcow2 -o compat=0.10 old.qcow2 1M
        io -c 'write -zn 64k 64k' old.qcow2
        img create -f vdi a.vdi 1M
        io -c 'write -zn 0 1M' a.vdi
        img create -f raw a.raw 1M
        io -f raw -c 'write -zn 0 64k' a.raw
    """,
    "progress in percent": """
        img create -f qcow2 a.qcow2 1M
        img convert -p -O qcow2 a.qcow2 b.qcow2
    """,
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_runs_as_with_qemu(tmp_path: Path, name: str) -> None:
    pair = Pair("img", tmp_path)
    for line in SCRIPTS[name].strip().splitlines():
        tool, *words = shlex.split(line)
        ours, theirs = pair.both(*words, tool=tool)
        assert normal(ours) == normal(theirs), line


def test_an_image_in_use_gets_another_one_above_it(tmp_path: Path) -> None:
    pair = Pair("img", tmp_path)
    pair.both("create", "-q", "-f", "qcow2", "disk.qcow2", "1M")
    words = [*command("io"), "-c", "sleep 600000", "disk.qcow2"]
    with subprocess.Popen(words, cwd=pair.pemu) as holder:
        try:
            while pair.theirs("info", str(pair.pemu / "disk.qcow2")).status == 0:
                assert holder.poll() is None
            made = pair.ours(
                "create", "-b", "disk.qcow2", "-F", "qcow2", "-f", "qcow2", "top.qcow2"
            )
        finally:
            holder.kill()
    assert (made.status, made.error) == (0, "")


@pytest.mark.parametrize(
    ("tool", "words", "status"),
    [
        ("img", "convert -p -O qcow2 disk.raw new.qcow2 > /dev/full", 0),
        ("io", "-f raw -c 'read -v 0 1M' disk.raw | head -1 > /dev/null", 0),
        ("io", "-f raw disk.raw < lines | head -1 > /dev/null", 0),
        ("img", "info disk.raw > /dev/full", 0),
        ("img", "map disk.raw >&-", 0),
    ],
)
def test_nobody_reads_what_is_printed(tmp_path: Path, tool: str, words: str, status: int) -> None:
    (tmp_path / "disk.raw").write_bytes(bytes(1 << 20))
    (tmp_path / "lines").write_text("read -v 0 64k\n" * 20)
    line = f"{shlex.join(command(tool))} {words}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, capture_output=True, timeout=LONG, text=True
    )
    assert (done.returncode, done.stderr) == (status, "")


@pytest.mark.parametrize(
    ("words", "damaged"),
    [
        ("commit top.qcow2", "base.qcow2"),
        ("convert -O qcow2 top.qcow2 new.qcow2", "new.qcow2"),
        ("convert -O vmdk top.qcow2 new.vmdk", "new.vmdk"),
        ("convert -O vhdx top.qcow2 new.vhdx", "new.vhdx"),
        ("rebase -f qcow2 -b '' upper.qcow2", "upper.qcow2"),
        ("dd -O qcow2 if=top.qcow2 of=new.qcow2", "new.qcow2"),
        ("resize --preallocation=full base.qcow2 64M", "base.qcow2"),
    ],
)
def test_no_room_is_told_and_leaves_leaks_at_most(tmp_path: Path, words: str, damaged: str) -> None:
    pair = Pair("img", tmp_path)
    for line in """
        img create -q -f qcow2 base.qcow2 16M
        io -c 'write -P 3 1M 1M' base.qcow2
        img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2
        io -c 'write -P 7 0 15M' top.qcow2
        img create -q -f qcow2 -b top.qcow2 -F qcow2 upper.qcow2
    """.strip().splitlines():
        tool, *rest = shlex.split(line)
        assert pair.ours(*rest, tool=tool).status == 0
    full = f"trap '' XFSZ; ulimit -f 6000; {shlex.join(command('img'))} {words}"
    done = subprocess.run(
        ["bash", "-c", full], cwd=pair.pemu, capture_output=True, timeout=LONG, text=True
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr
    assert "internal error" not in done.stderr
    checked = pair.theirs("check", str(pair.pemu / damaged))
    assert checked.status in (0, 3, 63), checked
    below = pair.ours("-f", "qcow2", "-c", "read -P 7 0 15M", "upper.qcow2", tool="io")
    assert below.status == 0, below


@pytest.mark.parametrize("mode", ["metadata", "falloc", "full"])
def test_room_that_was_used_before_reads_as_zeros(tmp_path: Path, mode: str) -> None:
    """QEMU 7.2 shows old contents there."""
    node = "driver=qcow2,file.filename=disk.qcow2,discard=unmap,pass-discard-request=off"
    for tool, words in (
        ("img", "create -f qcow2 disk.qcow2 1M"),
        ("io", "-c 'write -P 7 0 1M' disk.qcow2"),
        ("io", f"-c 'discard 0 1M' --image-opts {node}"),
        ("img", f"resize --preallocation={mode} disk.qcow2 3M"),
        ("io", "-c 'read -P 0 0 3M' disk.qcow2"),
        ("img", "check disk.qcow2"),
    ):
        answer = pemu_tool(tool, tmp_path, *shlex.split(words))
        assert answer.status == 0, answer
