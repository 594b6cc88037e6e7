"""The block map: which parts of the image must be written to a card, with checksums. bmaptool reads it.

Free space within the systems' partitions need not be written; everything a file system relies on must be, zeros too.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from image.disk import layout
from image.paths import MIB, SECTOR

BLOCK = 4096
CHUNK = 1 << 20


def ranges_to_write(image: Path, root_bytes: int) -> list[tuple[int, int]]:
    """First and last block of each stretch, in order."""
    boot, first, second, data = layout()
    spans = [
        (0, SECTOR),
        (boot.first * SECTOR, _last_byte_used(image, boot.first * SECTOR, boot.count * SECTOR)),
        (first.first * SECTOR, first.first * SECTOR + root_bytes),
        (second.first * SECTOR, second.first * SECTOR + MIB),  # so that nothing old is taken for a system
        (data.first * SECTOR, (data.first + data.count) * SECTOR),
    ]
    return [(begin // BLOCK, (end - 1) // BLOCK) for begin, end in spans]


def write_bmap(image: Path, name: str, target: Path, root_bytes: int) -> None:
    """Write the map, in version 2.0 of the format."""
    ranges = ranges_to_write(image, root_bytes)
    size = image.stat().st_size
    mapped = sum(last - first + 1 for first, last in ranges)
    entries = "".join(
        f'        <Range chksum="{_digest(image, first, last)}"> {first}-{last} </Range>\n' for first, last in ranges
    )
    zeros = "0" * 64
    text = (
        '<?xml version="1.0" ?>\n'
        f"<!-- Which blocks of {name} are to be written: bmaptool copy {name}.xz /dev/THE-CARD -->\n"
        '<bmap version="2.0">\n'
        f"    <ImageSize> {size} </ImageSize>\n    <BlockSize> {BLOCK} </BlockSize>\n"
        f"    <BlocksCount> {-(-size // BLOCK)} </BlocksCount>\n    <MappedBlocksCount> {mapped} </MappedBlocksCount>\n"
        "    <ChecksumType> sha256 </ChecksumType>\n"
        f"    <BmapFileChecksum> {zeros} </BmapFileChecksum>\n"
        f"    <BlockMap>\n{entries}    </BlockMap>\n</bmap>\n"
    )
    # The map's own checksum is that of the map with zeros in its place.
    target.write_text(text.replace(zeros, hashlib.sha256(text.encode()).hexdigest()))


def _last_byte_used(image: Path, begin: int, length: int) -> int:
    """The end of the last stretch that is not empty."""
    with image.open("rb") as file:
        for offset in range(begin + length - CHUNK, begin, -CHUNK):
            file.seek(offset)
            if file.read(CHUNK).strip(b"\0"):
                return offset + CHUNK
    return begin + CHUNK


def _digest(image: Path, first: int, last: int) -> str:
    digest = hashlib.sha256()
    with image.open("rb") as file:
        file.seek(first * BLOCK)
        left = (last - first + 1) * BLOCK
        while left > 0 and (chunk := file.read(min(CHUNK, left))):
            digest.update(chunk)
            left -= len(chunk)
    return digest.hexdigest()
