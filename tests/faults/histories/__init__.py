"""Histories of a store as seen by processes, the checker that proves them linearizable, and random schedules."""
