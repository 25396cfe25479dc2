"""Answers are kept per PvD and attachment, for their TTL (RFC 1035 s3.2.1), and never too many."""

from __future__ import annotations

from pvdrace.dns.cache import MAX_TTL, AnswerCache
from pvdrace.dns.messages import Answer
from pvdrace.model import ProvisioningDomain

WIFI = ProvisioningDomain("wifi")
LTE = ProvisioningDomain("lte")
AGAIN = ProvisioningDomain("wifi", attachment=1)


def answer(ttl: float = 60.0, address: str = "192.0.2.1") -> Answer:
    return Answer((address,), ttl, "10.0.0.1", "www.example")


def test_it_is_given_back_with_what_is_left_of_its_ttl() -> None:
    cache = AnswerCache()
    cache.put(WIFI, "www.example", "A", answer(), 100.0)
    found = cache.get(WIFI, "WWW.Example", "A", 145.0)
    assert found == Answer(("192.0.2.1",), 15.0, "10.0.0.1", "www.example", None, cached=True)
    assert cache.get(WIFI, "www.example", "A", 160.0) is None
    assert len(cache) == 0


def test_another_pvd_attachment_name_or_type_has_its_own() -> None:
    """RFC 6731 s4.8: never across networks."""
    cache = AnswerCache()
    cache.put(WIFI, "www.example", "A", answer(), 0.0)
    assert cache.get(LTE, "www.example", "A", 1.0) is None
    assert cache.get(AGAIN, "www.example", "A", 1.0) is None
    assert cache.get(WIFI, "www.example", "AAAA", 1.0) is None
    assert cache.get(WIFI, "example", "A", 1.0) is None


def test_a_ttl_of_zero_is_for_its_asker_only() -> None:
    cache = AnswerCache()
    cache.put(WIFI, "www.example", "A", answer(0.0), 0.0)
    assert cache.get(WIFI, "www.example", "A", 0.0) is None


def test_no_ttl_is_longer_than_a_day() -> None:
    cache = AnswerCache()
    cache.put(WIFI, "www.example", "A", answer(2.0**31), 0.0)
    assert cache.get(WIFI, "www.example", "A", MAX_TTL - 1.0) is not None
    assert cache.get(WIFI, "www.example", "A", MAX_TTL) is None


def test_a_newer_answer_takes_the_place_of_the_older() -> None:
    cache = AnswerCache()
    cache.put(WIFI, "www.example", "A", answer(60.0), 0.0)
    cache.put(WIFI, "www.example", "A", answer(10.0, "192.0.2.2"), 1.0)
    found = cache.get(WIFI, "www.example", "A", 2.0)
    assert found is not None
    assert found.addresses == ("192.0.2.2",)
    assert cache.get(WIFI, "www.example", "A", 11.0) is None


def test_its_size_is_bounded_and_the_least_used_makes_room() -> None:
    cache = AnswerCache(size=3)
    for name in "abc":
        cache.put(WIFI, name, "A", answer(), 0.0)
    assert cache.get(WIFI, "a", "A", 1.0) is not None
    cache.put(WIFI, "d", "A", answer(), 2.0)
    assert [name for name in "abcd" if cache.get(WIFI, name, "A", 3.0)] == ["a", "c", "d"]
    assert len(cache) == 3


def test_forget_drops_one_pvd_in_all_its_attachments() -> None:
    cache = AnswerCache()
    for pvd in (WIFI, AGAIN, LTE):
        cache.put(pvd, "www.example", "A", answer(), 0.0)
    cache.forget("wifi")
    assert len(cache) == 1
    assert cache.get(LTE, "www.example", "A", 1.0) is not None
