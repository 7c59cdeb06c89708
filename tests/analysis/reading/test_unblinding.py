"""Records of unblinding, that is, of test measures that were shown before the verdict."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

import analysis
from aimlib.errors import StoreError
from aimlib.paths import place
from analysis.reading import unblinding

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def test_records_are_read_in_the_order_in_which_they_were_stored(tmp_path):
    assert unblinding.read(tmp_path) == ()
    for settled in (3, 5):
        unblinding.add(tmp_path, "ablate browse --unblind", settled, 12, at=AT)
    found = unblinding.read(tmp_path)
    assert [each.settled for each in found] == [3, 5]
    assert str(found[0]) == "on 2026-03-04 05:06 UTC by ablate browse --unblind, with 3 of 12 runs settled"
    assert sorted(path.name for path in (tmp_path / "unblinded").iterdir()) == ["000.json", "001.json"]


def test_a_record_in_object_storage_is_stored_only_once_under_each_number(remote):
    directory = place(remote)
    for settled in (1, 2):
        unblinding.add(directory, "x", settled, 2, at=AT)
    assert [each.settled for each in unblinding.read(directory)] == [1, 2]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{}",
        "[]",
        '{"at": "soon", "by": "x", "settled": 1, "planned": 2}',
        '{"at": "2026-03-04T05:06:07+00:00", "by": "x", "settled": 1e999, "planned": 2}',
    ],
)
def test_a_damaged_record_is_reported(tmp_path, content):
    (tmp_path / "unblinded").mkdir()
    (tmp_path / "unblinded" / "000.json").write_text(content)
    with pytest.raises(StoreError, match=r"000\.json: not readable as an unblinding record .* restore the file"):
        unblinding.read(tmp_path)


def test_a_link_in_place_of_the_folder_is_refused(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "unblinded").symlink_to(elsewhere)
    with pytest.raises(StoreError, match="is a link"):
        unblinding.add(tmp_path, "x", 1, 2)
    assert list(elsewhere.iterdir()) == []


def test_the_report_states_the_unblinding_and_the_verdict_does_not_change(make_study):
    from analysis.report.cautions import cautions

    directory = make_study(seeds=6)
    before = analysis.examine(analysis.load(directory))
    said = [each.text for each in cautions(before)]
    unblinding.add(directory, "ablate browse --unblind", 3, 24, at=AT)
    after = analysis.examine(analysis.load(directory))
    assert after.headline == before.headline
    assert after.deviations == before.deviations
    sentence = (
        "Test measures were shown before the verdict on 2026-03-04 05:06 UTC by ablate browse --unblind, "
        "with 3 of 24 runs settled."
    )
    assert [each.text for each in cautions(after) if each.text not in said] == [sentence]


def test_the_report_of_a_search_states_when_measures_of_its_trials_were_shown(make_study, tmp_path):
    from analysis.report.cautions import cautions

    confirmation = make_study(seeds=6).rename(tmp_path / "confirmation")
    screening = make_study(seeds=2).rename(tmp_path / "screening")
    analysis.browse(screening, tmp_path / "x.html", unblind=True)
    (record,) = unblinding.read(screening)
    found = [each.text for each in cautions(analysis.examine(analysis.load(confirmation)))]
    assert f"Test measures of the search’s trials were shown {record}." in found
    assert not [text for text in found if text.startswith("Test measures were shown before the verdict")]
