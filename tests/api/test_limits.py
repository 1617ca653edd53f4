"""A burst is told to come back, and never runs more than a few questions at once."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from api_checks import assert_error
from api_server import served
from fake_atlas import FakeBackend

from api.deps import Gates
from api.errors import OverloadedError
from api.limits import Gate
from api.main import create_app
from atlas.catalog.filters import SampleFilter
from atlas.settings import Settings


def test_gate_bounds_what_runs_and_what_waits() -> None:
    async def burst() -> tuple[int, int, int]:
        gate, release, both = Gate(n_running=2, n_waiting=3), threading.Event(), threading.Event()
        running, most, lock = 0, 0, threading.Lock()

        def work() -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
                if running == 2:
                    both.set()
            release.wait(10)
            with lock:
                running -= 1

        async def one() -> bool:
            try:
                async with gate.admit():
                    await gate.run(work)
            except OverloadedError:
                return False
            return True

        tasks = [asyncio.create_task(one()) for _ in range(9)]
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        refused = len(done)
        await asyncio.to_thread(both.wait, 10)
        release.set()
        answered = sum(await asyncio.gather(*tasks))
        async with gate.admit():  # every place was given back
            return refused, answered, most

    refused, answered, most = asyncio.run(burst())
    assert refused == 4
    assert answered == 5
    assert most == 2


def test_who_waited_too_long_is_told_to_come_back_and_the_gate_goes_on() -> None:
    async def crowd() -> None:
        gate, release = Gate(n_running=1, n_waiting=3, longest_wait_s=0.05), threading.Event()

        async def ask(call: Callable[[], object]) -> object:
            async with gate.admit():
                return await gate.run(call)

        slow = asyncio.create_task(ask(release.wait))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="busy with other questions"):
            await ask(lambda: 1)
        assert gate.admitted == 1
        release.set()
        assert await slow is True
        assert await ask(lambda: 2) == 2
        assert gate.admitted == 0

    asyncio.run(crowd())


def test_wide_questions_have_a_gate_of_their_own() -> None:
    async def gates() -> Gates:
        return Gates.create()

    made = asyncio.run(gates())
    assert made.of(SampleFilter(), k=1_000) is made.questions
    assert made.of(SampleFilter(tissue=("liver",)), k=100, compared=True) is made.questions
    assert made.of(SampleFilter(), k=1_001) is made.wide
    assert made.of(SampleFilter(), k=101, compared=True) is made.wide
    assert made.of(SampleFilter(exclude="liver")) is made.wide
    assert made.wide.capacity < made.questions.capacity


def test_gate_gives_its_place_back_after_a_failure() -> None:
    async def fail_often() -> None:
        gate = Gate(n_running=1, n_waiting=0)
        for _ in range(5):
            with pytest.raises(ZeroDivisionError):
                async with gate.admit():
                    await gate.run(lambda: 1 // 0)

    asyncio.run(fail_often())


def test_burst_of_uploads_is_503_with_retry_after_while_questions_go_on(settings: Settings) -> None:
    backend = FakeBackend()
    table = {"genes": ["MYH6"], "values": [1]}
    with (
        served(create_app(settings, lambda _: backend)) as url,
        httpx.Client(base_url=url, timeout=30) as http,
        ThreadPoolExecutor(6) as pool,
    ):
        backend.atlas.hold = threading.Event()
        asked = [pool.submit(http.post, "/v1/transcriptomes/neighbors", json=table) for _ in range(6)]
        while sum(answer.done() for answer in asked) < 2:
            threading.Event().wait(0.01)
        assert http.get("/v1/health/live").status_code == 200
        assert http.get("/v1/clusters").status_code == 200
        backend.atlas.hold.set()
        statuses = sorted(answer.result().status_code for answer in asked)
        refused = next(answer.result() for answer in asked if answer.result().status_code == 503)
    assert statuses == [200] * 4 + [503] * 2
    assert_error(refused, 503, "overloaded")
    assert refused.headers["retry-after"] == "1"


def test_a_full_line_of_wide_questions_does_not_keep_the_map_from_opening(settings: Settings) -> None:
    app = create_app(settings, lambda _: FakeBackend())
    with served(app) as url, httpx.Client(base_url=url, timeout=30) as http:
        gates: Gates = app.state.gates
        gates.wide.admitted = gates.wide.capacity
        for name in ("position", "cluster"):
            assert http.get(f"/v1/map/columns/{name}").status_code == 200
        assert_error(http.get("/v1/map/columns/score", params={"q": "heart"}), 503, "overloaded")
        assert http.get("/v1/search", params={"q": "heart"}).status_code == 200
