"""A1-A14: who gets in, and what is whose."""


def test_a04_another_tenants_job_is_as_if_it_were_not(bob, victim):
    foreign, random = (bob.call("GET", f"/jobs/{job_id}") for job_id in (victim.job_id, "job_" + "0" * 26))
    assert (foreign.status_code, random.status_code) == (404, 404)
    foreign, random = foreign.json(), random.json()
    assert foreign.pop("request_id") != random.pop("request_id")
    assert foreign == random
