"""Arms with the user's own training code: their options, and their roles, which cannot be derived from a network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ablations.spec.resources import Resources
from aimlib.config import RunConfig
from aimlib.errors import did_you_mean
from aimlib.training.own.config import OwnRunConfig


def problems(config: OwnRunConfig, control: object, resources: Resources) -> list[str]:
    """Return messages about keys that an arm with the user's own training code cannot have."""
    found = []
    if control is not None and config.model is None:
        found.append(
            "control: a control changes the network under `model`, but this arm has no `model`; use options instead"
        )
    if resources.gpus_auto:
        found.append(
            "resources.gpus: auto measures steps of the built-in training loop; specify the share of a GPU that a "
            "run of your training code needs, such as 1 or 0.5"
        )
    return found


def lacking_options(configs: Mapping[str, RunConfig]) -> Iterator[str]:
    """Yield messages about options that only some arms have, because a misspelled option would have no effect.

    Parameters
    ----------
    configs : the configurations of the arms, by name.
    """
    given = {name: config.options for name, config in configs.items() if isinstance(config, OwnRunConfig)}
    first = {key: name for name, options in reversed(given.items()) for key in options}
    for name, options in given.items():
        for key, owner in first.items():
            if key not in options:
                yield (
                    f"arms.{owner}.options.{key}: arm {name!r} does not have this option; "
                    f"{did_you_mean(key, options)}set a default for every option in base.options"
                )


def roles(configs: Mapping[str, RunConfig], given: Mapping[str, str | None]) -> dict[str, str]:
    """Return the roles of arms without a network for which the study does not specify a role.

    The baseline is the arm named `baseline` or, if there is none, the first arm; the first other arm is the treatment.

    Parameters
    ----------
    configs : the configurations of the arms, by name.
    given : the role that the study specifies for each arm, or None.
    """
    unknown = [
        name
        for name, config in configs.items()
        if isinstance(config, OwnRunConfig) and config.model is None and given[name] is None
    ]
    found: dict[str, str] = {}
    if unknown and "baseline" not in given.values():
        found["baseline" if "baseline" in unknown else unknown[0]] = "baseline"
    rest = [name for name in unknown if name not in found]
    if rest and "aim" not in given.values():
        found[rest[0]] = "aim"
    return {name: found.get(name, "other") for name in unknown}
