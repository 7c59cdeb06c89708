"""Despite faults at random times on a three-node cluster, every run exists once, is bitwise correct, and leaves no
files behind."""

from __future__ import annotations

import os
import random
import signal
import time

import processes
import pytest
from kinds import record
from scene import HERE, Ground, Scene, end

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("ray"), pytest.mark.timeout(1500)]
KILLS, LOSSES, TERMS, NODES, SLEEPS = 10, 5, 5, 3, 2
_NAP = 30.0


def fresh(scene: Scene, number: int) -> Scene:
    """Return the same study in a different directory; the counts continue."""
    following = Scene(
        scene.study, scene.directory.with_name(f"study-{number}"), scene.expected, scene.ground, scene.mark
    )
    following.counts = scene.counts
    return following


def test_a_study_survives_killed_drivers(scene: Scene) -> None:
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
    record("driver killed", injected=kills, **scene.counts)


def test_a_study_survives_killed_workers(scene: Scene) -> None:
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
    record("worker killed", injected=kills, **scene.counts)


def test_a_study_survives_lost_nodes(scene: Scene, ground: Ground) -> None:
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
    record("node lost", injected=losses, **scene.counts)


def test_a_study_survives_sigterm_to_raylets(scene: Scene, ground: Ground) -> None:
    """As after `ray stop`, the raylets' workers are killed immediately; runs continue elsewhere from checkpoints."""
    chance, terms, studies = random.Random(5), 0, 0
    while terms < NODES:
        driver = scene.start()
        while terms < NODES and driver.poll() is None and scene.settled() < len(scene.expected) - 1:
            nodes = ground.ask("nodes")[1:]

            def victims(scene: Scene = scene, nodes: list[int] = nodes) -> list[int]:
                return [raylet for run in scene.computing() if (raylet := processes.parent(run)) in nodes]

            if not scene.wait(victims, driver):
                break
            time.sleep(chance.uniform(0.0, 2.0))
            raylet = chance.choice(victims() or nodes)
            os.kill(raylet, signal.SIGTERM)
            ground.ask("replace", raylet)
            terms += 1
        assert driver.wait(900) == 0, scene.log.read_text()[-3000:]
        scene.check()
        studies += 1
        scene = fresh(scene, studies)
    record("raylet terminated", injected=terms, **scene.counts)


def test_a_study_survives_sigterm_to_nodes(scene: Scene, ground: Ground) -> None:
    """As when Kubernetes ends a pod, Ray drains the node; runs save their state and continue elsewhere."""
    chance, terms, saved, studies = random.Random(6), 0, 0, 0
    seconds: list[float] = []
    while terms < NODES:
        driver = scene.start()
        while terms < NODES and driver.poll() is None and scene.settled() < len(scene.expected) - 1:
            node = ground.ask("block")

            def there(scene: Scene = scene, node: int = node) -> bool:
                raylets = [processes.parent(run) for run in scene.computing()]
                return node in [processes.parent(raylet) for raylet in raylets if raylet]

            if not scene.wait(there, driver):
                break
            time.sleep(chance.uniform(0.0, 2.0))
            if there():
                os.kill(node, signal.SIGTERM)
                began = time.monotonic()
                assert scene.wait(lambda node=node: processes.parent(node) is None, driver, 60)
                seconds.append(round(time.monotonic() - began, 1))
                terms += 1
        assert driver.wait(900) == 0, scene.log.read_text()[-3000:]
        saved += scene.log.read_text().count("its node is being shut down; its state is saved")
        scene.check()
        studies += 1
        scene = fresh(scene, studies)
    assert saved >= terms
    assert max(seconds) < 25, "without a signal to the runs, Ray ends a node and everything on it after 30 s"
    record("node terminated", injected=terms, **scene.counts)


@pytest.fixture
def slow_storage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every synchronization and link take longer, so that faults can occur during commits."""
    monkeypatch.setenv("PYTHONPATH", str(HERE / "site"), prepend=":")
    monkeypatch.setenv("FAULT_SLOW", "0.3")


def test_a_study_survives_nodes_that_are_killed_while_a_run_is_committing(
    slow_storage: None, scene: Scene, ground: Ground
) -> None:
    kills, studies = 0, 0
    while kills < NODES:
        driver = scene.start()
        while kills < NODES and driver.poll() is None:
            nodes = ground.ask("nodes")[1:]

            def victims(scene: Scene = scene, nodes: list[int] = nodes) -> list[int]:
                return [raylet for run in scene.committing() if (raylet := processes.parent(run)) in nodes]

            if not scene.wait(victims, driver):
                break
            for raylet in victims()[:1]:
                for process in (raylet, *processes.children(raylet)):
                    os.kill(process, signal.SIGKILL)
                ground.ask("replace", raylet)
                kills += 1
        assert driver.wait(900) == 0, scene.log.read_text()[-3000:]
        scene.check()
        studies += 1
        scene = fresh(scene, studies)
    record("node killed at a commit", injected=kills, **scene.counts)


def test_a_study_survives_a_restart_of_the_head(scene: Scene, ground: Ground) -> None:
    driver = scene.start()
    assert scene.wait(lambda: scene.settled() >= 1, driver)
    ground.ask("restart")
    assert driver.wait(600) == 0, scene.log.read_text()[-3000:]
    scene.check()
    record("head restarted", injected=1, **scene.counts)


def test_a_study_survives_a_head_that_is_away_for_longer_than_ray_keeps_a_driver_alive(
    scene: Scene, ground: Ground
) -> None:
    driver = scene.start()
    assert scene.wait(lambda: scene.settled() >= 1, driver)
    ground.ask("behead")
    assert scene.wait(lambda: "is gone; settled runs and checkpoints are preserved" in scene.log.read_text(), driver)
    time.sleep(5.0)
    assert driver.poll() is None
    ground.ask("restart")
    assert driver.wait(600) == 0, scene.log.read_text()[-3000:]
    assert "Ray answers again after" in scene.log.read_text()
    scene.check()
    record("head away", injected=1, **scene.counts)


def test_a_study_survives_sigterm_to_drivers(scene: Scene) -> None:
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
    record("driver terminated", injected=terms, **scene.counts)


def test_two_drivers_can_run_at_the_same_time(alone: Scene) -> None:
    drivers = [alone.start("--executor", "inline"), alone.start("--executor", "inline"), alone.start()]
    assert [driver.wait(900) for driver in drivers] == [0, 0, 0], alone.log.read_text()[-3000:]
    alone.check()
    record("two more drivers", injected=2, **alone.counts)


def test_a_study_survives_a_driver_that_is_stopped_for_a_while(scene: Scene) -> None:
    driver, naps = scene.start(), 0
    while naps < SLEEPS and scene.wait(scene.at_work, driver):
        driver.send_signal(signal.SIGSTOP)
        time.sleep(_NAP)
        driver.send_signal(signal.SIGCONT)
        naps += 1
        time.sleep(3.0)
    assert driver.wait(900) == 0, scene.log.read_text()[-3000:]
    scene.check()
    assert naps
    record("driver stopped", injected=naps, **scene.counts)


def test_a_study_survives_a_machine_that_sleeps(alone: Scene) -> None:
    """The driver, Ray and the workers are all stopped for a while, as when a laptop is closed."""
    driver = alone.start()
    assert alone.wait(alone.at_work, driver)
    sleeping = list(processes.marked(alone.mark))
    for process in sleeping:
        os.kill(process, signal.SIGSTOP)
    time.sleep(_NAP)
    for process in sleeping:
        os.kill(process, signal.SIGCONT)
    assert driver.wait(900) == 0, alone.log.read_text()[-3000:]
    alone.check()
    record("machine sleeps", injected=1, **alone.counts)
