"""Histories of what processes saw of a store, the checker that proves them linearizable, and random schedules."""
