"""What a disk or a broken copy does to a file."""

from hypothesis import strategies as st

HOW = ('flip', 'cut', 'insert', 'replace', 'drop')


@st.composite
def damaged(draw, content: bytes) -> bytes:
    """Bytes of which some are changed, gone or too many; now and then what results is the same."""
    at = draw(st.integers(0, len(content) - 1))
    before, after, some = content[:at], content[at:], draw(st.binary(min_size=1, max_size=16))
    return {
        'flip': before + bytes([after[0] ^ 1 << draw(st.integers(0, 7))]) + after[1:],
        'cut': before,
        'insert': before + some + after,
        'replace': before + some + after[len(some) :],
        'drop': before + after[len(some) :],
    }[draw(st.sampled_from(HOW))]
