"""Faults at random moments, on a cluster of three nodes: every run exactly once, bit for bit, nothing left behind."""

from __future__ import annotations

import os
import random
import signal
import time

import pytest
from scene import Ground, Scene, end, report

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
KILLS, LOSSES, TERMS = 10, 5, 5


def fresh(scene: Scene, number: int) -> Scene:
    """Return the same study in another directory; what is counted goes on."""
    following = Scene(scene.study, scene.directory.with_name(f"study-{number}"), scene.expected, scene.ground)
    following.counts = scene.counts
    return following


def test_drivers_are_killed(scene: Scene) -> None:
    chance, kills, studies = random.Random(1), 0, 0
    while kills < KILLS:
        driver = scene.start()
        if scene.wait(scene.at_work, driver):
            time.sleep(chance.uniform(0.0, 4.0))
        kills += driver.poll() is None
        end(driver)
        if scene.settled() >= len(scene.expected) - 1:
            scene.finish()
            studies += 1
            scene = fresh(scene, studies)
    scene.finish()
    report("driver killed with -9", injected=kills, **scene.counts)


def test_workers_are_killed(scene: Scene) -> None:
    chance, kills, studies = random.Random(2), 0, 0
    while kills < KILLS:
        driver = scene.start()
        while kills < KILLS and driver.poll() is None and scene.settled() < len(scene.expected) - 1:
            if not scene.wait(scene.at_work, driver):
                break
            time.sleep(chance.uniform(0.0, 2.0))
            if victims := scene.computing():
                os.kill(chance.choice(victims), signal.SIGKILL)
                kills += 1
                time.sleep(1.0)
        assert driver.wait(600) == 0, scene.log.read_text()[-3000:]
        scene.check()
        studies += 1
        scene = fresh(scene, studies)
    report("worker killed with -9", injected=kills, **scene.counts)


def test_nodes_are_lost(scene: Scene, ground: Ground) -> None:
    chance, losses, studies = random.Random(3), 0, 0
    while losses < LOSSES:
        driver = scene.start()
        while losses < LOSSES and driver.poll() is None and scene.settled() < len(scene.expected) - 1:
            if not scene.wait(lambda scene=scene: len(scene.computing()) >= 2, driver):
                break
            time.sleep(chance.uniform(0.0, 2.0))
            ground.ask("lose", chance.randrange(2))
            losses += 1
        assert driver.wait(900) == 0, scene.log.read_text()[-3000:]
        scene.check()
        studies += 1
        scene = fresh(scene, studies)
    report("node lost", injected=losses, **scene.counts)


def test_the_head_is_restarted(scene: Scene, ground: Ground) -> None:
    driver = scene.start()
    assert scene.wait(lambda: scene.settled() >= 1, driver)
    ground.ask("restart")
    assert driver.wait(300) != 0, "a session without its cluster is no success"
    scene.finish()
    report("head restarted", injected=1, **scene.counts)


def test_sigterm(scene: Scene) -> None:
    chance, terms, studies = random.Random(4), 0, 0
    seconds: list[float] = []
    while terms < TERMS:
        driver = scene.start()
        if scene.wait(scene.at_work, driver):
            time.sleep(chance.uniform(0.0, 3.0))
        if driver.poll() is None:
            driver.send_signal(signal.SIGTERM)
            began = time.monotonic()
            code = driver.wait(120)
            if code == 143:
                terms += 1
                seconds.append(round(time.monotonic() - began, 1))
            else:
                assert code == 0, scene.log.read_text()[-3000:]
        if scene.settled() >= len(scene.expected) - 1:
            scene.finish()
            studies += 1
            scene = fresh(scene, studies)
    scene.finish()
    report("SIGTERM to the driver", injected=terms, **scene.counts, seconds_to_end=seconds)


def test_two_drivers_at_a_time(alone: Scene) -> None:
    drivers = [alone.start("--executor", "inline"), alone.start("--executor", "inline"), alone.start()]
    assert [driver.wait(900) for driver in drivers] == [0, 0, 0], alone.log.read_text()[-3000:]
    alone.check()
    report("two more drivers on the same study", injected=2, **alone.counts)
