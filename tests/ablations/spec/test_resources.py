"""Resources for runs: host memory, types of accelerators and custom resources."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ablations.spec.byte_sizes import bytes_text, parse_bytes
from ablations.spec.resources import ArmResources, Resources
from aimlib.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4GiB", 4 * 2**30),
        ("4 GiB", 4 * 2**30),
        ("1.5gib", 3 * 2**29),
        ("500 MB", 500_000_000),
        ("2gb", 2_000_000_000),
        (".5TiB", 2**39),
        ("1048576B", 2**20),
    ],
)
def test_common_notations_for_amounts_of_memory_are_read(text: str, expected: int) -> None:
    assert parse_bytes(text) == expected
    assert Resources.parse({"memory": text}).memory == expected


@given(st.integers(1, 2**50))
def test_a_printed_amount_can_be_read_and_is_exact_to_a_thousandth(count: int) -> None:
    assert parse_bytes(bytes_text(count)) == pytest.approx(count, rel=1e-3)


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ({"memory": "4G"}, r"memory: '4G': the unit 'G' is ambiguous; write 4GiB or 4GB"),
        ({"memory": "4gi"}, r"'4gi': the unit 'gi' is ambiguous; write 4GiB or 4GB"),
        ({"memory": "4"}, r"'4': no unit; use a unit, such as 4GiB"),
        ({"memory": "4 parsecs"}, r"unknown unit 'parsecs'; use a unit, such as 4GiB"),
        ({"memory": "much"}, r"'much' is not an amount of memory"),
        ({"memory": "-4GiB"}, r"is not an amount of memory"),
        ({"memory": 4}, r"memory: 4 is 4 bytes, too little for any run; add a unit, such as 4GiB"),
        ({"memory": True}, r"memory"),
        ({"custom": {"CPU": 2}}, r"custom: CPU is not a custom resource; set resources.cpus"),
        ({"custom": {"memory": 2}}, r"memory is not a custom resource; set resources.memory"),
        ({"custom": {"accelerator_type:A100": 1}}, r"set resources.accelerator_type: A100"),
        ({"custom": {"tpu_slice": 0}}, r"custom\.tpu_slice"),
        ({"custom": {"tpu_slice": 1.5}}, r"tpu_slice: 1.5: must be a whole number if greater than 1"),
        ({"custom": "tpu_slice"}, r"custom"),
        ({"accelerator_type": ""}, r"accelerator_type"),
        ({"accelerator_type": "accelerator_type:A100"}, r"accelerator_type"),
    ],
)
def test_impossible_requests_are_refused_with_the_right_notation(resources: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Resources.parse(resources)


def test_an_arm_changes_only_the_resources_that_it_lists() -> None:
    study = Resources.parse({"cpus": 2, "memory": "4GiB", "custom": {"slice": 1}, "accelerator_type": "A100"})
    arm = study.with_changes(ArmResources.parse({"memory": "8GiB", "custom": {"tpu_slice": 2}}))
    assert (arm.cpus, arm.memory, arm.custom, arm.accelerator_type) == (2, 2**33, {"tpu_slice": 2.0}, "A100")
    assert study.with_changes(ArmResources.parse({"custom": {}})).custom == {}
    assert Resources.parse(study.model_dump(mode="json")) == study, "as a search stores resources"
