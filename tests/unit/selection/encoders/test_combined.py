import numpy as np
import pytest

from dispatcher.selection.encoders import CombinedEncoder, make_encoder
from dispatcher.selection.encoders.encoder import encode_distinct


class Letters:
    """Knows some letters only: counts them."""

    def __init__(self, letters):
        self.name = f"letters-{letters}/1"
        self.dimension = len(letters)
        self._letters = letters

    def encode(self, texts):
        return encode_distinct(
            texts,
            self.dimension,
            lambda given: np.array(
                [[text.count(letter) for letter in self._letters] for text in given], dtype=np.float32
            ),
        )


def test_its_cosine_is_the_weighted_mean_of_cosines():
    first, second = Letters("abc"), Letters("xyz")
    combined = CombinedEncoder([first, second], [3, 1])
    texts = ["aab xxy", "abb xyy"]
    one, other = (encoder.encode(texts) for encoder in (first, second))
    both = combined.encode(texts)
    assert both.shape == (2, combined.dimension) == (2, 6)
    assert both[0] @ both[1] == pytest.approx(0.75 * (one[0] @ one[1]) + 0.25 * (other[0] @ other[1]), abs=1e-6)


def test_where_one_has_nothing_to_say_the_others_speak_alone():
    combined = CombinedEncoder([Letters("abc"), Letters("xyz")])
    rows = combined.encode(["abc", "xyz", "", "ax"])
    assert np.linalg.norm(rows, axis=1) == pytest.approx([1, 1, 0, 1])
    assert rows[0] @ rows[1] == 0


def test_a_part_can_be_exchanged_for_another_of_its_name():
    combined = CombinedEncoder([Letters("abc"), Letters("xyz")], [3, 1])
    other = Letters("xyz")
    other.encode = lambda texts: np.tile(np.array([0, 0, 1], dtype=np.float32), (len(texts), 1))
    exchanged = combined.exchange(other)
    assert exchanged.name == combined.name
    mine, yours = combined.encode(["a x"])[0], exchanged.encode(["a x"])[0]
    assert np.array_equal(mine[:3], yours[:3])
    assert mine[3:] == pytest.approx([0.5, 0, 0], abs=1e-5)
    assert yours[3:] == pytest.approx([0, 0, 0.5], abs=1e-5)


def test_its_name_says_parts_and_shares_and_does_not_depend_on_their_scale():
    parts = [Letters("abc"), Letters("xyz"), Letters("q")]
    one, other = CombinedEncoder(parts, [1, 1, 1]), CombinedEncoder(parts, [5, 5, 5])
    assert one.name == other.name == "0.333333*letters-abc/1 + 0.333333*letters-xyz/1 + 0.333333*letters-q/1"
    assert np.array_equal(one.encode(["abc xq"]), other.encode(["abc xq"]))


def test_it_is_made_again_from_its_name(encoder):
    combined = CombinedEncoder([encoder, encoder], [0.7, 0.3])
    again = make_encoder(combined.name)
    assert again.name == combined.name
    assert np.array_equal(again.encode(["send an invoice"]), combined.encode(["send an invoice"]))


@pytest.mark.parametrize(("count", "weights"), [(0, None), (1, []), (1, [0]), (1, [-1]), (1, [float("nan")]), (2, [1])])
def test_weights_must_fit(count, weights):
    with pytest.raises(ValueError, match="weights"):
        CombinedEncoder([Letters("ab")] * count, weights)
