"""Learning-rate schedules, one private file per plugin; without a schedule, the rate is constant.

The registry imports a plugin when it is first used; importing this package does not import any plugin.
"""

from aimlib.training.schedules.base import Schedule, ScheduleConfig

__all__ = ["Schedule", "ScheduleConfig"]
