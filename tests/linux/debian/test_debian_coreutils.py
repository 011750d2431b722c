"""Commands of coreutils and other small tools, one process each, do what they do under QEMU."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest

from tests.linux.debian.sysroot import Debian, outcome

COMMANDS = """
arch
b2sum words bytes
base32 -w 40 bytes
base64 bytes
basename /usr/lib/x.so .so
basenc --z85 -w 0 eights
bc -l sums.bc
bunzip2 -k -c words.bz2
busybox awk '{ n[length($1)]++ } END { for (i = 1; i < 9; i++) print i, n[i] + 0 }' words
busybox dc -e '16 o 255 p'
busybox find tree -type f
busybox md5sum words bytes
busybox nosuchapplet
busybox sed -n '/e$/{s/e$/E/;p}' words
busybox sh -c 'i=0; while [ $i -lt 2000 ]; do i=$((i + 1)); done; echo $i; type test'
busybox sort -n numbers
busybox tar -tvf tree.tar
busybox vi --nosuch
cat words nonexistent bytes
chmod -v u+x,go-r words
chmod -R a-w tree
cksum words bytes
cksum -a sha256 words
cmp words numbers
comm sorted words
cp -a --verbose tree copy
cp words tree/file link copy
csplit -s words 20 '{2}'
cut -c 2-4 words
cut -d : -f 1,7 /etc/passwd
date -d '2001-02-03 04:05:06 UTC' '+%s %A %j'
date -d @86400.5 --rfc-3339=ns
dd if=bytes of=copy bs=1000 count=50 skip=3 conv=swab status=none
dd if=bytes of=copy bs=4k conv=sparse,notrunc oflag=append status=none
diff -u words sorted
diff -r tree words
dircolors -b
dirname a/b/c /d
du -a --apparent-size -b tree
echo -e 'tab\\tbell\\x41'
env -i A=1 B=2
expand -t 4 tabs
expr 12345678 '*' 87654321
expr match hello 'h.*l'
factor 123456789012345678901234567890 97 4294967297
false
file words bytes tree
find tree -printf '%y %m %s %P\\n'
find tree -name 'f*' -size -2 -o -type l
fmt -w 50 words
fold -s -w 33 words
gawk -f report.awk words numbers
gawk 'BEGIN { printf "%.17g %d %s\\n", 0.1, 2 ** 31, substr("hello", 2, 3); print sin(1), exp(1) }'
getent passwd root
grep -n -i 'AB' words
grep -P '(?<=a)b{1,2}' words
grep -rl e tree
gzip -n -9 -c words
head -c 100 bytes
head -n -195 words
hexdump -C eights
id -u
install -m 640 -D words new/place/words
join sorted sorted
kill -l
ln -s words tree/link2
ln -f nonexistent x
ls -lA --time-style=+%s tree
ls -lRnh --time-style=full-iso tree
ls --color=always -F tree nonexistent
ls -U /proc/self/fdinfo/0
md5sum words bytes
md5sum -c sums.md5
mkdir -p -m 700 a/b/c
mkfifo pipe
mktemp -d --tmpdir=. x.XXXXXX.y/z
mv -v words tree link copy
nl -b a words
nproc --ignore=1000
numfmt --to=iec 123456789
od -A x -t x4z -w16 eights
od -t fD eights
paste -s -d , numbers
pathchk -p 'a b'
pr -l 20 -2 words
printenv LANG
printf '%5.2f|%-8s|%x|%q\\n' 3.14159 abc 255 'a b'
ptx -w 60 titles
pwd
readlink -f tree/link
realpath --relative-to=tree words
rm -rv tree
rmdir tree
sed -n '5,10s/\\(.\\)\\(.\\)/\\2\\1/p' words
sed -e '1!G;h;$!d' words
sed -i.old 's/e/E/g' words
seq 1 .25 3
seq -w 8 11
sha1sum words bytes
sha224sum words
sha256sum words bytes
sha384sum words
sha512sum words bytes
shred -n 1 -u --random-source=bytes words
shuf --random-source=bytes words
sleep 0.01
sort words
sort -S 1M -R --random-source=bytes words
sort -g -r numbers
sort -k 2,2n -k 1 columns
sort -m sorted sorted
sort -c words
split -l 50 -d words part.
split -n 3 words part.
stat -c '%n %s %a %F %h %u %y' words tree tree/link
stat -f -c '%T %S' .
stat --printf '%s %Y\\n' nonexistent words
stty size
sum bytes
sum -s bytes
tac words
tail -n 5 words
tail -c +19900 bytes
tar -C tree -cf - --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner .
tar -tvf tree.tar
tee copy1 copy2 < words
test words -nt tree
touch -d 2001-02-03T04:05:06Z words new
tr -d aeiou < words
tr a-y b-z < words
tr -s '[:space:]' '\\n' < columns
true
truncate -s 1M bytes
tsort pairs
tty
uname -sm
unexpand -a tabs
uniq -c sorted
unlink nonexistent
vdir --time-style=+%s words
wc words bytes
wc -L words
xxd eights
xz -k -c --check=crc64 words
xz -d -c words.xz
zstd -q -c words
yes --nosuch
""".strip().splitlines()


def _materials(place: Path) -> None:
    """Files that the commands work on; the same each time, times included."""
    letters = "etaoinshrdlubc"
    words = []
    number = 12345
    for _ in range(200):
        word = ""
        for _ in range(1 + number % 9):
            number = (number * 1103515245 + 12345) & 0x7FFFFFFF
            word += letters[(number >> 16) % len(letters)]
        words.append(word)
    contents = {
        "words": "\n".join(words) + "\n",
        "sorted": "\n".join(sorted(words)) + "\n",
        "numbers": "\n".join(str(len(w) * 7919 % 1000 - 300) for w in words) + "\n",
        "columns": "\n".join(f"{w}  {len(w) % 5}\tz" for w in words) + "\n",
        "tabs": "a\tbb\tccc\n        x       y\n",
        "pairs": "a b\nb c\na d\nd c\n",
        "titles": "the quick brown fox\njumps over the lazy dog\n",
        "sums.bc": "scale=30\n4*a(1)\n2^200\nsqrt(2)\n",
        "report.awk": "{ n[NR % 7] += length($0) } END { for (i = 0; i < 7; i++) print n[i] }",
        "tree/file": "contents\n",
        "tree/deep/er/file2": "e" * 5000,
    }
    contents["report.awk"] = (
        "{ n[NR % 7] += length($0) } END { for (i = 0; i < 7; i++) print n[i] }"
    )
    for name, text in contents.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (place / "bytes").write_bytes(bytes((i * i >> 5 ^ i) & 255 for i in range(20000)))
    (place / "eights").write_bytes(bytes(range(0, 256, 4)))
    (place / "sums.md5").write_text(
        "d41d8cd98f00b204e9800998ecf8427e  tree/empty\n00000000000000000000000000000000  words\n"
    )
    (place / "tree/empty").touch()
    (place / "tree/link").symlink_to("deep/er")
    for path in sorted(place.rglob("*"), reverse=True):
        os.utime(path, (10**9, 10**9 + len(path.name)), follow_symlinks=False)


def _archives(debian: Debian) -> None:
    """Compressed files and an archive, made by this machine's Python."""
    import bz2
    import gzip
    import lzma
    import tarfile

    words = (debian.work / "words").read_bytes()
    (debian.work / "words.gz").write_bytes(gzip.compress(words, mtime=0))
    (debian.work / "words.bz2").write_bytes(bz2.compress(words))
    (debian.work / "words.xz").write_bytes(lzma.compress(words))
    with tarfile.open(debian.work / "tree.tar", "w", format=tarfile.GNU_FORMAT) as archive:
        archive.add(debian.work / "tree", "tree")


def _state(place: Path) -> list[tuple[str, int, bytes | str]]:
    """What a directory holds: names, modes, contents."""
    found: list[tuple[str, int, bytes | str]] = []
    for path in sorted(place.rglob("*")):
        mode = path.lstat().st_mode
        if path.is_symlink():
            content: bytes | str = os.readlink(path)
        else:
            content = path.read_bytes() if path.is_file() else ""
        found.append((str(path.relative_to(place)), mode, content))
    return found


@pytest.mark.parametrize("line", COMMANDS)
def test_command_does_what_it_does_under_qemu(line: str, debian: Debian) -> None:
    name, *words = shlex.split(line)
    source = None
    if "<" in words:
        source = words.pop()
        words.pop()
    results = []
    for run in (debian.qemu, debian.pemu):
        debian.fresh()
        _materials(debian.work)
        _archives(debian)
        given = (debian.work / source).read_bytes() if source else b""
        results.append((outcome(run(name, *words, input=given)), _state(debian.work)))
    (expected, expected_state), (found, found_state) = results
    assert found == expected
    assert found_state == expected_state
