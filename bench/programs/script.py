"""A Python program for the guest's own interpreter: objects, dictionaries, text, numbers."""

from __future__ import annotations

import hashlib
import json
import random
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator


class Node:
    """A node of an unbalanced search tree."""

    __slots__ = ("key", "left", "right")

    def __init__(self, key: float) -> None:
        self.key = key
        self.left: Node | None = None
        self.right: Node | None = None

    def insert(self, key: float) -> None:
        node = self
        while True:
            side = "left" if key < node.key else "right"
            child: Node | None = getattr(node, side)
            if child is None:
                setattr(node, side, Node(key))
                return
            node = child

    def walk(self) -> Iterator[float]:
        stack: list[Node] = []
        node: Node | None = self
        while stack or node:
            while node:
                stack.append(node)
                node = node.left
            node = stack.pop()
            yield node.key
            node = node.right


def tree(chance: random.Random) -> float:
    root = Node(0.5)
    for _ in range(3000):
        root.insert(chance.random())
    keys = list(root.walk())
    assert keys == sorted(keys)
    return sum(keys)


def words(chance: random.Random) -> tuple[list[tuple[int, int]], int, str]:
    text = " ".join(
        "".join(chance.choices("abcdefgh", k=chance.randrange(2, 5))) for _ in range(6000)
    )
    counts = Counter(text.split())
    lengths: defaultdict[int, int] = defaultdict(int)
    for word, count in counts.items():
        lengths[len(word)] += count
    swapped = re.sub(r"\b([a-d])(\w*)([e-h])\b", r"\3\2\1", text)
    return sorted(lengths.items()), len(re.findall(r"a[bc]+d?", swapped)), swapped.upper()[:20]


def documents(chance: random.Random) -> str:
    data = {
        f"key{i}": {"list": [chance.randrange(1000) for _ in range(8)], "flag": i % 3 == 0}
        for i in range(500)
    }
    text = json.dumps(data, sort_keys=True)
    return hashlib.sha256(json.dumps(json.loads(text)).encode()).hexdigest()


def primes(limit: int) -> int:
    sieve = bytearray([1]) * limit
    for n in range(2, int(limit**0.5) + 1):
        if sieve[n]:
            sieve[n * n :: n] = bytes(len(range(n * n, limit, n)))
    return sum(sieve) - 2


def queens(size: int) -> int:
    def place(
        row: int, columns: frozenset[int], left: frozenset[int], right: frozenset[int]
    ) -> int:
        if row == size:
            return 1
        return sum(
            place(row + 1, columns | {c}, left | {row - c}, right | {row + c})
            for c in range(size)
            if c not in columns and row - c not in left and row + c not in right
        )

    return place(0, frozenset(), frozenset(), frozenset())


def matrix(size: int) -> float:
    a = [[(i * j) % 7 + 0.5 for j in range(size)] for i in range(size)]
    columns = list(zip(*a, strict=True))
    return sum(
        sum(x * y for x, y in zip(row, column, strict=True)) for row in a for column in columns
    )


def main() -> None:
    chance = random.Random(7)
    for number in range(int(sys.argv[1])):
        found = (
            tree(chance),
            words(chance),
            documents(chance),
            primes(60000),
            queens(6),
            matrix(30),
        )
        print(number, hashlib.md5(repr(found).encode()).hexdigest())
    print(2**5000 % 10**50, pow(3, 10**40, 10**60))


main()
