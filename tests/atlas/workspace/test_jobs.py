"""Jobs in a real database: the queue, its bounds, leases, cancelling and expiry."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from catalog_fixtures import scratch_database
from sqlalchemy import text

from atlas.answers import Job
from atlas.catalog.database import Database
from atlas.catalog.embedded import EmbeddedPostgres
from atlas.errors import BusyError, DatabaseUnavailableError, InputError, NotFoundError, TooLargeError
from atlas.settings import Settings
from atlas.workspace.jobs import MAX_ATTEMPTS, Jobs
from atlas.workspace.lease import LeasedJob

pytestmark = pytest.mark.postgres

SETTINGS = Settings()


@pytest.fixture
def jobs(workspace: Database) -> Jobs:
    return Jobs(workspace)


def submit(jobs: Jobs, number: int = 0, *, client: str = "ann", **more: Any) -> Job:
    request = {"terms": [f"term {number}"], "name": "mine"}
    return jobs.submit(more.pop("kind", "scan"), request, release="r1", client=client, settings=SETTINGS, **more)


def taken(jobs: Jobs) -> LeasedJob:
    leased = jobs.take("tester")
    assert leased is not None
    return leased


def lose_lease(database: Database) -> None:
    """Do to a running job what time does after its worker was killed."""
    with database.begin() as connection:
        connection.execute(
            text("UPDATE app.jobs SET lease_until = now() - interval '1 second' WHERE status = 'running'")
        )


def let_expire(database: Database, *, days: float = 0) -> None:
    with database.begin() as connection:
        connection.execute(
            text("UPDATE app.jobs SET expires_at = now() - interval '1 second' - :days * interval '1 day'"),
            {"days": days},
        )


def test_a_job_goes_its_way(jobs: Jobs) -> None:
    job = submit(jobs)
    assert (job.status, job.progress, job.started_at, job.result) == ("queued", 0.0, None, None)
    leased = taken(jobs)
    assert (leased.job_id, leased.request["terms"], leased.attempt) == (job.job_id, ["term 0"], 1)
    leased.progress(0.25, "at work")
    leased.beat()
    running = jobs.get(job.job_id)
    assert (running.status, running.progress, running.message) == ("running", 0.25, "at work")
    assert leased.done({"scan": "k"})
    done = jobs.get(job.job_id)
    assert (done.status, done.progress, done.result, done.message) == ("done", 1.0, {"scan": "k"}, None)
    assert done.started_at is not None
    assert done.expires_at is not None
    assert done.expires_at > (done.finished_at or "")
    assert jobs.take("tester") is None


def test_jobs_are_taken_in_the_order_of_their_coming(jobs: Jobs) -> None:
    ids = [submit(jobs, n, unlimited=True).job_id for n in range(4)]
    assert [taken(jobs).job_id for _ in range(4)] == ids


def test_no_job_is_taken_twice_by_many_workers_at_once(jobs: Jobs) -> None:
    ids = {submit(jobs, n, unlimited=True).job_id for n in range(12)}
    seen: list[str] = []

    def take_all() -> None:
        while (leased := jobs.take("tester")) is not None:
            seen.append(leased.job_id)

    threads = [threading.Thread(target=take_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 12
    assert set(seen) == ids


def test_a_client_has_so_many_jobs_and_no_more(jobs: Jobs) -> None:
    first = submit(jobs, 1)
    submit(jobs, 2)
    with pytest.raises(BusyError, match="2 are allowed"):
        submit(jobs, 3)
    submit(jobs, 3, client="ben")
    submit(jobs, 3, unlimited=True)
    for _ in range(2):
        jobs.cancel(first.job_id)
    assert len(jobs.list(client="ann")) == 3


def test_jobs_are_counted_by_status(jobs: Jobs) -> None:
    assert jobs.counts() == {}
    for n in range(3):
        submit(jobs, n, unlimited=True)
    taken(jobs).done({"scan": "k"})
    assert jobs.counts() == {"queued": 2, "done": 1}


def test_the_bound_holds_when_all_ask_at_once(jobs: Jobs) -> None:
    refused: list[BusyError] = []

    def ask(number: int) -> None:
        try:
            submit(jobs, number)
        except BusyError as error:
            refused.append(error)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 4
    assert len(jobs.list(client="ann")) == 2


def test_without_a_bound_jobs_are_left_to_holders_of_the_token(jobs: Jobs) -> None:
    closed = SETTINGS.model_copy(update={"jobs_per_client": 0})
    with pytest.raises(BusyError, match="admin token"):
        jobs.submit("scan", {"terms": ["x"]}, release="r1", client="ann", settings=closed)
    assert jobs.submit("scan", {"terms": ["x"]}, release="r1", client="ann", settings=closed, unlimited=True)


def test_a_full_queue_refuses_strangers(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atlas.workspace.jobs.MAX_WAITING", 3)
    for n in range(3):
        submit(jobs, n, client=f"c{n}")
    with pytest.raises(BusyError, match="waiting already"):
        submit(jobs, 9, client="c9")


def test_the_same_work_asked_twice_is_one_job(jobs: Jobs) -> None:
    first = submit(jobs)
    assert submit(jobs).job_id == first.job_id
    assert submit(jobs, client="ben").job_id != first.job_id
    jobs.cancel(first.job_id)
    assert submit(jobs).job_id != first.job_id


def test_a_hundred_thousand_terms_are_kept_and_only_their_beginning_is_shown(jobs: Jobs, workspace: Database) -> None:
    terms = [f"disease number {n}" for n in range(100_000)]
    job = jobs.submit("scan", {"terms": terms}, release="r1", client="ann", settings=SETTINGS)
    assert job.request["n_terms"] == 100_000
    assert len(json.dumps(job.request)) < 2_000
    leased = taken(jobs)
    assert leased.request["terms"] == terms
    leased.done({"scan": "k"})
    with workspace.connect() as connection:
        assert connection.scalar(text("SELECT request FROM app.jobs")) is None


def test_one_term_too_many_is_refused(jobs: Jobs) -> None:
    few = SETTINGS.model_copy(update={"job_max_terms": 3})
    with pytest.raises(TooLargeError, match="4 terms; at most 3"):
        jobs.submit("scan", {"terms": list("abcd")}, release="r1", client="ann", settings=few)
    small = SETTINGS.model_copy(update={"upload_max_bytes": 100})
    with pytest.raises(TooLargeError, match="bytes"):
        jobs.submit("scan", {"terms": ["x" * 200]}, release="r1", client="ann", settings=small)


@pytest.mark.parametrize("term", ["a\0b", "\ud800", float("nan"), object()])
def test_what_the_database_cannot_keep_is_refused(jobs: Jobs, term: object) -> None:
    with pytest.raises(InputError):
        jobs.submit("scan", {"terms": [term]}, release="r1", client="ann", settings=SETTINGS)


def test_a_term_that_spells_a_zero_byte_is_a_term(jobs: Jobs) -> None:
    jobs.submit("scan", {"terms": ["\\u0000"]}, release="r1", client="ann", settings=SETTINGS)
    assert taken(jobs).request["terms"] == ["\\u0000"]


@pytest.mark.parametrize("job_id", ["0" * 32, "", "a\0b", "'; DROP TABLE app.jobs; --", "é", "x" * 10_000])
def test_an_unknown_job_is_not_found(jobs: Jobs, job_id: str) -> None:
    for ask in (jobs.get, jobs.cancel):
        with pytest.raises(NotFoundError):
            ask(job_id)


def test_a_lost_job_goes_to_the_next_worker_and_the_first_one_learns_it(jobs: Jobs, workspace: Database) -> None:
    submit(jobs)
    first = taken(jobs)
    assert jobs.take("second") is None
    lose_lease(workspace)
    second = taken(jobs)
    assert (second.job_id, second.attempt) == (first.job_id, 2)
    first.progress(0.9)
    first.beat()
    assert first.lost
    assert first.cancelled()
    assert not first.done({"scan": "of the first"})
    assert jobs.get(first.job_id).status == "running"
    assert second.done({"scan": "of the second"})
    assert jobs.get(first.job_id).result == {"scan": "of the second"}


def test_a_lease_that_nobody_took_over_is_renewed(jobs: Jobs, workspace: Database) -> None:
    submit(jobs)
    leased = taken(jobs)
    lose_lease(workspace)
    leased.beat()
    assert not leased.lost
    assert jobs.take("second") is None


def test_a_job_that_ends_its_workers_is_given_up(jobs: Jobs, workspace: Database) -> None:
    job = submit(jobs)
    for _ in range(MAX_ATTEMPTS):
        taken(jobs)
        lose_lease(workspace)
    assert jobs.take("tester") is None
    failed = jobs.get(job.job_id)
    assert failed.status == "failed"
    assert failed.error is not None
    assert failed.error["details"] == {"attempts": MAX_ATTEMPTS}


def test_a_job_given_back_is_as_good_as_new(jobs: Jobs) -> None:
    job = submit(jobs)
    for _ in range(MAX_ATTEMPTS + 2):
        leased = taken(jobs)
        assert leased.attempt == 1
        leased.give_back()
    assert jobs.get(job.job_id).status == "queued"


def test_cancelling_what_waits_runs_is_lost_or_is_finished(jobs: Jobs, workspace: Database) -> None:
    waiting = submit(jobs, 1)
    assert jobs.cancel(waiting.job_id).status == "cancelled"
    running = submit(jobs, 2)
    leased = taken(jobs)
    assert jobs.cancel(running.job_id).status == "running"
    assert not leased.cancelled()
    leased.beat()
    assert leased.cancelled()
    leased.cancel()
    assert jobs.get(running.job_id).status == "cancelled"
    lost = submit(jobs, 3)
    taken(jobs)
    lose_lease(workspace)
    assert jobs.cancel(lost.job_id).status == "cancelled"
    finished = submit(jobs, 4)
    taken(jobs).done({"scan": "k"})
    assert jobs.cancel(finished.job_id).status == "done"


def test_a_cancelled_job_whose_worker_died_is_not_begun_again(jobs: Jobs, workspace: Database) -> None:
    job = submit(jobs)
    taken(jobs)
    jobs.cancel(job.job_id)
    lose_lease(workspace)
    assert jobs.take("second") is None
    assert jobs.get(job.job_id).status == "cancelled"


def test_an_error_is_told_as_the_api_would(jobs: Jobs) -> None:
    job = submit(jobs)
    taken(jobs).failed(InputError("No \0 good.", details={"seen": "\0", "limit": 3}))
    error = jobs.get(job.job_id).error
    assert error == {"code": "invalid_input", "message": "No  good.", "details": {"seen": "", "limit": 3}}


def test_a_result_that_vanished_meanwhile_is_made_again(jobs: Jobs) -> None:
    job = submit(jobs)
    assert not taken(jobs).done({"scan": "k"}, kept=lambda: False)
    assert jobs.get(job.job_id).status == "queued"
    assert taken(jobs).done({"scan": "k"}, kept=lambda: True)


def test_results_expire_when_no_job_offers_them_any_more(jobs: Jobs, workspace: Database) -> None:
    old, young, other = submit(jobs, 1), submit(jobs, 2, client="ben"), submit(jobs, 3)
    for key in ("same", "same", "alone"):
        taken(jobs).done({"scan": key})
    with workspace.begin() as connection:
        past = text("UPDATE app.jobs SET expires_at = now() - interval '1 s' WHERE job_id = ANY(:ids)")
        connection.execute(past, {"ids": [old.job_id, other.job_id]})
    removed: list[Any] = []
    assert jobs.expire(lambda job: removed.append(job.result) is None) == 2
    assert removed == [{"scan": "alone"}]
    assert jobs.get(old.job_id).status == "expired"
    assert jobs.get(old.job_id).result is None
    assert jobs.get(young.job_id).status == "done"
    let_expire(workspace)
    jobs.expire(lambda job: removed.append(job.result) is None)
    assert removed == [{"scan": "alone"}, {"scan": "same"}]


def test_what_cannot_be_removed_is_kept_for_the_next_round(jobs: Jobs, workspace: Database) -> None:
    job = submit(jobs)
    taken(jobs).done({"scan": "k"})
    let_expire(workspace)
    assert jobs.expire(lambda job: False) == 0
    assert jobs.get(job.job_id).status == "done"
    assert jobs.expire(lambda job: True) == 1


def test_expired_rows_go_after_as_long_again(jobs: Jobs, workspace: Database) -> None:
    job = submit(jobs)
    taken(jobs).failed(InputError("no"))
    let_expire(workspace)
    jobs.expire(lambda job: True)
    assert jobs.get(job.job_id).status == "expired"
    let_expire(workspace, days=SETTINGS.job_expiry_days + 1)
    jobs.expire(lambda job: True)
    with pytest.raises(NotFoundError):
        jobs.get(job.job_id)


def test_a_database_without_the_tables_says_what_makes_them(embedded_server: EmbeddedPostgres) -> None:
    with scratch_database(embedded_server) as empty:
        with pytest.raises(DatabaseUnavailableError, match="geo-atlas work"):
            Jobs(empty).list()
        with pytest.raises(DatabaseUnavailableError, match="geo-atlas work"):
            submit(Jobs(empty))
