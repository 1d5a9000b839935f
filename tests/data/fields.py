"""An interlaced film as many cameras code it: every field a picture of its own (H.264, ITU-T H.264 section 7.3), which no encoder at hand
writes. Two macroblocks, every sample written out."""

from fractions import Fraction
from pathlib import Path

import av

WIDTH, FIELD_ROWS = 32, 16


class Bits:
    def __init__(self):
        self.text = ""

    def fixed(self, count, value):
        self.text += format(value, f"0{count}b") if count else ""
        return self

    def golomb(self, *values):
        for value in values:
            self.text += "0" * ((value + 1).bit_length() - 1) + format(value + 1, "b")
        return self

    def align(self):
        self.text += "0" * (-len(self.text) % 8)
        return self

    def unit(self, kind):
        """A unit of that kind; bytes that could be taken for its beginning are kept apart."""
        payload = int(self.fixed(1, 1).align().text, 2).to_bytes(len(self.text) // 8, "big")
        safe, zeros = bytearray([0, 0, 0, 1, 0x60 | kind]), 0
        for byte in payload:
            if zeros >= 2 and byte <= 3:
                safe.append(3)
                zeros = 0
            safe.append(byte)
            zeros = zeros + 1 if byte == 0 else 0
        return bytes(safe)


def settings(rate):
    """Sequence and picture parameter sets."""
    sequence = Bits().fixed(24, 0x4D001E).golomb(0, 4, 0, 4, 1).fixed(1, 0).golomb(WIDTH // 16 - 1, FIELD_ROWS // 16 - 1)
    sequence.fixed(1, 0).fixed(1, 0).fixed(3, 0b101).fixed(4, 0).fixed(1, 1).fixed(32, 1).fixed(32, 2 * rate).fixed(1, 1).fixed(4, 0b0010)
    picture = Bits().golomb(0, 0).fixed(2, 0).golomb(0, 0, 0).fixed(3, 0).golomb(0, 0, 0).fixed(3, 0b100)
    return sequence.unit(7) + picture.unit(8)


def field(number, bottom, level):
    """One field, all of that grey; a film begins anew with the top field of frame 0."""
    first = number == bottom == 0
    bits = Bits().golomb(0, 7, 0).fixed(8, number).fixed(2, 0b10 + bottom)
    if first:
        bits.golomb(0)
    bits.fixed(8, 2 * number + bottom).fixed(2 if first else 1, 0).golomb(0, 1)
    for _ in range(WIDTH // 16 * FIELD_ROWS // 16):
        bits.golomb(25).align()
        bits.text += format(level, "08b") * 256 + format(128, "08b") * 128
    return bits.unit(5 if first else 1)


def write_fields(path: Path, frames: int, rate: int = 25) -> Path:
    """An .mp4 of ``frames`` frames, ever brighter, a field in each packet; at most 100 of them."""
    places = [divmod(place, 2) for place in range(2 * frames)]
    units = [(b"" if any(place) else settings(rate)) + field(*place, 40 + 2 * place[0]) for place in places]
    raw = path.with_suffix(".h264")
    raw.write_bytes(b"".join(units))
    with av.open(str(raw)) as bare, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(bare.streams.video[0])
        for place, unit in enumerate(units):
            packet = av.Packet(unit)
            packet.stream, packet.is_keyframe, packet.time_base = stream, place == 0, Fraction(1, 2 * rate)
            packet.pts, packet.dts, packet.duration = place, place, 1
            container.mux(packet)
    raw.unlink()
    return path
