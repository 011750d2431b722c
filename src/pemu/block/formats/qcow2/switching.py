"""Changes of a qcow2 image's tables that happen at once.

A snapshot changes references and the flags COPIED of a whole image, which must agree at every
moment. So nothing that is in use is written over: new tables, and new refcounts, go to clusters
that were free, and one write of the header, within one sector, names all of them. A cut before it
leaves the image as it was, a cut after it the image as it is to be.
"""

from __future__ import annotations

from array import array

from pemu.block.formats.qcow2.metadata import Metadata

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Switch:
    """A change of an image under way; all else has been written, and nothing else goes on.

    rows: bytes of tables that lie in a row, the places of which are `rows` then. tables: how many
    L2 tables may be written anew. Room is taken for all of it, so that references can be changed
    by `metadata.refcounts.add` in the body of a `with` statement; then `complete` calls `finish`.
    Where one of them fails the change does not come about. Raises OSError.
    """

    def __init__(
        self,
        metadata: Metadata,
        rows: Sequence[int],
        tables: int,
        complete: Callable[[Switch], None],
    ) -> None:
        self.metadata = metadata
        self._complete = complete
        self._cluster = metadata.layout.cluster
        try:
            self.rows = [
                metadata.take_table(metadata.layout.clusters(length), "active-l1") if length else 0
                for length in rows
            ]
            self._spare: list[int] = []
            self._reserve(tables)
        except BaseException:
            self._abandon()
            raise

    def __enter__(self) -> Switch:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        completed = False
        try:
            if kind is None:
                self._complete(self)
                completed = True
        finally:
            if not completed:
                self._abandon()

    def _reserve(self, tables: int) -> None:
        """Take room for so many L2 tables, for all refcount blocks and the refcount table."""
        refcounts, spare = self.metadata.refcounts, self._spare
        self._table, clusters = 0, 0
        while True:
            missing = tables + sum(1 for _ in refcounts.blocks()) - len(spare)
            if missing > 0:
                first, got = refcounts.allocate(missing, whole=False, what="active-l2")
                spare += range(first, first + got)
            elif clusters != refcounts.clusters:  # the table has moved to have more room
                if clusters:
                    self.metadata.give_back(self._table, clusters)
                clusters = refcounts.clusters
                self._table, _ = refcounts.allocate(clusters, what="refcount-table")
            else:
                return

    def write(self, table: array[int]) -> int:
        """Write an L2 table anew: its offset. Raises OSError."""
        place = self._spare.pop(0) * self._cluster
        self.metadata.file.event("l2_update")
        self.metadata.write_table(place, table)
        return place

    def finish(self, l1_offset: int, l1: array[int], snapshots: tuple[int, int]) -> None:
        """Have the header name the new tables. Raises OSError.

        l1: the active L1 table, written already. snapshots: how many, and where their table is.
        """
        metadata = self.metadata
        fields = metadata.header.fields
        metadata.refcounts.relocate(self._spare, self._table)
        metadata.sync()
        fields.l1_size, fields.l1_table_offset = len(l1), l1_offset
        fields.refcount_table_offset = metadata.refcounts.start
        fields.nb_snapshots, fields.snapshots_offset = snapshots
        try:
            metadata.write_fields("l1_size", "snapshots_offset")
        except BaseException:
            metadata.broken = True  # which of both is in the file is not known
            raise
        metadata.use_l1(l1_offset, l1)
        metadata.packed_end = 0

    def _abandon(self) -> None:
        """The change does not come about: the references are those in the file again."""
        self.metadata.refcounts.forget()
