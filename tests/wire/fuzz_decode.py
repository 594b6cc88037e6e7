"""Coverage-guided fuzzing of the decoders; run by hand or by `make fuzz`, not by pytest.

    python tests/wire/fuzz_decode.py -max_total_time=60 [corpus directories]

Every argument goes to libFuzzer. The shared vectors are written to build/fuzz-seeds and added as the last corpus
directory; without one of your own, new inputs are kept there too. A finding is any exception but WireError, or a
message that, once accepted, does not survive being sent on.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

with atheris.instrument_imports(include=["clasp_edge"]):
    from clasp_edge import wire
    from clasp_edge.wire import compact, legacy

from support.wire_vectors import all_vectors

SEEDS = Path(__file__).resolve().parents[2] / "build" / "fuzz-seeds"


def one_input(data: bytes) -> None:
    """The input is a whole frame, and once more a payload without one."""
    with suppress(wire.WireError):
        wire.decode(data)
    payload = data[4:]
    for decode in (compact.decode_payload, legacy.decode_payload):
        try:
            message = decode(payload)
        except wire.WireError:
            continue
        try:
            sent_on = compact.encode_payload(message)
        except wire.WireError as refusal:
            if refusal.kind is not wire.Kind.TOO_LARGE:  # widened numbers take more room
                raise
            continue
        if compact.encode_payload(compact.decode_payload(sent_on)) != sent_on:
            raise AssertionError(f"not stable: {sent_on.hex()}")
    with suppress(wire.WireError):
        wire.split_bundle(payload)


def main() -> None:
    """Write the seeds where libFuzzer can read them, then hand over."""
    SEEDS.mkdir(parents=True, exist_ok=True)
    for vector in all_vectors():
        (SEEDS / vector.name).write_bytes(vector.frame)
    # libFuzzer writes what it finds into the first directory, so the seeds come last.
    atheris.Setup([*sys.argv, str(SEEDS)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
