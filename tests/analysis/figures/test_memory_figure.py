"""The figure of a network's memory is legible with few and with many layers, and agrees with its frames."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from written import refuse_overlaps, texts

from analysis.figures import memory


def frames(layers: int, epochs: int, sources: int = 1):
    rng = np.random.default_rng(layers)
    names = [f"layer{at // 12 + 1}.{at % 12}.conv{at % 3 + 1}" for at in range(layers)]
    sizes = [(e, s + 1, 0.1, 1.0, 1.0 + 0.1 * e + s) for e in range(epochs + 1) for s in range(sources)]
    weights = [(e, name, 2.0, 1.0 + 0.01 * e) for e in range(epochs + 1) for name in names]
    parts = [(name, 2.0, 1.0 + at / layers) for at, name in enumerate(names)]
    return (
        rng.normal(size=(16, 4, 4)),
        pd.DataFrame(sizes, columns=["epoch", "source", "mean", "sd", "rms"]),
        pd.DataFrame(weights, columns=["epoch", "layer", "own", "read"]),
        pd.DataFrame(parts, columns=["layer", "own", "read"]),
    )


@pytest.mark.parametrize(("layers", "epochs", "sources"), [(1, 1, 1), (13, 30, 2), (53, 200, 1)])
def test_texts_are_not_clipped_and_do_not_overlap_and_every_layer_is_named(layers, epochs, sources):
    content, sizes, weights, parts = frames(layers, epochs, sources)
    figure = memory.draw(content, sizes, weights, parts)
    written = texts(figure)
    for text, box in written:
        if box.width:
            assert box.x0 >= -1, text
            assert box.x1 <= figure.bbox.x1 + 1, text
    refuse_overlaps(written)
    assert set(parts["layer"]) <= {text for text, _ in written}


def test_the_caption_states_the_means_and_the_layer_that_uses_the_memory_most():
    content, sizes, weights, parts = frames(4, 10, 2)
    words = memory.caption(content, sizes, weights, parts, 1)
    assert "256 values" in words
    assert "from the start to epoch 10" in words
    assert "Only the first of two sources is shown as a map." in words
    assert "(on average 0.5 at the start, 0.55 at the end)" in words
    assert "over 1 test image," in words
    assert f"{parts['layer'].iloc[3]} uses the memory most (88 %)" in words
