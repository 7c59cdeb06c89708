"""Histories of a store, as its processes see it; the checker that proves them linearizable; and random schedules."""
