"""Histories of a store as processes saw it, the checker that proves them linearizable, and random schedules."""
