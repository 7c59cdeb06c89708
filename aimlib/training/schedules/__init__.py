"""Learning-rate schedules; one private file per plugin. Without one the rate is constant.

The registry imports a plugin when it is first used; importing this package imports none of them.
"""

from aimlib.training.schedules.base import Schedule, ScheduleConfig

__all__ = ["Schedule", "ScheduleConfig"]
