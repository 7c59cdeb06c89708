"""`ablate check --claim`: numbers that can be computed without a GPU, and the page that shows them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from in_process import ablate

from ablations.commands.full_size_page import lines
from ablations.estimation import full_size as module
from ablations.estimation.full_size import PEAKS, FullSize, full_size
from aimlib.errors import ConfigError

ROOT = Path(__file__).resolve().parents[3]
BEGIN, END = "<!-- ablate check --claim --no-timing -->\n", "<!-- end -->"


@pytest.fixture(scope="module")
def replication() -> FullSize:
    """Return the requirements of the first study only, because every further study adds as many networks to build."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STUDIES", {"stanford_dogs_aim": ("replication",)})
        return full_size(timing=False)


def test_hours_follow_from_the_multiply_adds_of_training(replication: FullSize) -> None:
    (part,) = replication.parts
    images = 50 * (6 * 12_000 + 2 * 8_580)
    multiply_adds = {arm.name: part.plan.summaries[arm.name].multiply_adds for arm in part.plan.arms}
    assert multiply_adds["baseline"] == pytest.approx(3.86e9, rel=0.01)
    assert multiply_adds["aim"] == pytest.approx(16.39e9, rel=0.01)
    for card, peak in (("H100", 67e12), ("A100", 19.5e12)):
        assert PEAKS[card][part.precision] == peak
        assert part.hours(peak) == pytest.approx(5 * images * sum(multiply_adds.values()) / peak / 3600)
        assert part.longest_hours(peak) == pytest.approx(images * multiply_adds["aim"] / peak / 3600)


def test_disk_space_and_packs_follow_from_the_photos(replication: FullSize) -> None:
    (part,) = replication.parts
    assert part.disk.predictions == 10 * 50 * 8_580
    assert part.disk.at_once == 8 * max(part.disk.checkpoints.values())
    assert part.disk.checkpoints["aim"] == pytest.approx(0.32e9, rel=0.02)
    assert list(part.pack_bytes.values()) == [20_580 * 224 * 224 * 3]


def test_only_measured_hours_are_called_measured(replication: FullSize) -> None:
    text = "\n".join(lines(replication))
    assert "lower bounds, not measurements" in text
    assert "Nothing has been measured yet." in text
    assert "10 runs in total" in text
    assert "`ablate run replication --out results/replication` (10 runs)" in text


def test_the_message_about_an_unknown_claim_lists_the_others() -> None:
    with pytest.raises(ConfigError, match=r"--claim stanford_dog_aim: unknown claim .*'stanford_dogs_aim'"):
        full_size("stanford_dog_aim")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("check", "--claim", "--numerics"), "--claim shows the shipped studies unchanged"),
        (("check", "--claim", "--set", "seeds=3"), "--claim shows the shipped studies unchanged"),
        (("check",), "give a study file, the name of a shipped study, or --claim"),
    ],
)
def test_a_request_for_both_or_for_neither_is_refused(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = ablate(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_the_page_matches_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = ablate(capsys, "check", "--claim", "--no-timing")
    assert (code, err) == (0, "")
    page = (ROOT / "docs" / "full-size.md").read_text(encoding="utf-8")
    shown = page.partition(BEGIN)[2].partition(END)[0]
    assert _paragraphs(shown) == _paragraphs(out), (
        f"put the output of `{Path(sys.executable).parent}/ablate check --claim --no-timing` there"
    )


def _paragraphs(text: str) -> list[list[str]]:
    """Return the words of each paragraph and table, because lines are wrapped on the page but not in the output."""
    return [part.split() for part in text.strip().split("\n\n")]
