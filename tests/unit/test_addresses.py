"""URLs of Sentinels and Clusters: their hosts, the plain address of each server, and errors that say what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from redis_streams_aio import Broker, ConfigError
from redis_streams_aio.config import load
from redis_streams_aio.connection.address import parse
from redis_streams_aio.connection.hosts import Host

WATCHED = "redis+sentinel://app:p%2Fw@s1,s2:5,[::1]:7/events/3"


@pytest.mark.parametrize(
    ("url", "kind", "hosts", "service"),
    [
        (WATCHED, "sentinel", (("s1", 26379), ("s2", 5), ("::1", 7)), "events"),
        ("rediss+sentinel://h/my%2Fname", "sentinel", (("h", 26379),), "my/name"),
        ("redis+sentinel://h/0/0", "sentinel", (("h", 26379),), "0"),
        ("redis+cluster://a:1,b", "cluster", (("a", 1), ("b", 6379)), ""),
        ("rediss+cluster://u:p@[fd00::2]:1/0?ssl_ca_certs=x", "cluster", (("fd00::2", 1),), ""),
        ("redis://h", "one", (("h", 6379),), ""),
        ("redis://[::1]:5/0", "one", (("::1", 5),), ""),
        ("redis://", "one", (("localhost", 6379),), ""),
        ("unix:///run/redis.sock", "one", (), ""),
        ("memory://", "one", (), ""),
    ],
)
def test_addresses_have_a_kind_and_hosts(url: str, kind: str, hosts: tuple[object, ...], service: str) -> None:
    address = parse(url)
    assert (address.kind, address.hosts, address.service, address.url) == (kind, hosts, service, url)


@pytest.mark.parametrize(
    ("url", "server", "sentinel"),
    [
        (WATCHED, "redis://app:p%2Fw@h:9/3", "redis://h:9"),
        ("rediss+sentinel://h/events", "rediss://h:9", "rediss://h:9"),
        ("redis+sentinel://:p@h/e/1?sentinel_password=a%2Fb", "redis://:p@h:9/1", "redis://:a%2Fb@h:9"),
        (
            "rediss+sentinel://h/e?sentinel_username=u&ssl_ca_certs=/c&sentinel_password=p&db=2",
            "rediss://h:9?ssl_ca_certs=/c&db=2",
            "rediss://u:p@h:9?ssl_ca_certs=/c",
        ),
    ],
)
def test_each_server_and_each_sentinel_has_a_plain_address(url: str, server: str, sentinel: str) -> None:
    address = parse(url)
    assert address.at(Host("h", 9)).url == server
    assert address.sentinel_at(Host("h", 9)).url == sentinel


def test_each_node_of_a_cluster_has_a_plain_address() -> None:
    assert parse("rediss+cluster://u:p@a,b/0?ssl_ca_certs=x").at(Host("::1", 9)).url == (
        "rediss://u:p@[::1]:9/0?ssl_ca_certs=x"
    )
    assert parse("redis+cluster://a").at(Host("b", 9)).url == "redis://b:9"
    assert parse("redis://u:p@a/5").at(Host("b", 9)).url == "redis://u:p@b:9/5"


SENTINEL_FORM = (
    "has no name of a primary; write redis+sentinel://host:26379/NAME/0, with the name in the Sentinels' 'sentinel "
    "monitor NAME ...'"
)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis+sentinel:///events", "has no host; expected e.g. host:26379,host:26379"),
        ("redis+cluster://", "has no host; expected e.g. host:6379,host:6379"),
        ("redis+cluster://a,,b", "a host is empty in 'a,,b': remove the comma, or write the host's name there"),
        ("redis+cluster://a,", "a host is empty in 'a,'"),
        ("redis+cluster://:6379", "a host is empty in ':6379'"),
        ("redis+cluster://a:x,b", "the port in 'a:x' is not one; expected 1 to 65535"),
        ("redis+cluster://a:0", "the port in 'a:0' is not one; expected 1 to 65535"),
        ("redis+cluster://a:65536", "the port in 'a:65536' is not one"),
        ("redis+cluster://a:", "the port in 'a:' is not one"),
        ("redis+cluster://a:1:2", "the port in 'a:1:2' is not one"),
        ("redis+cluster://[::1", "'[::1' is not a host; expected e.g. redis-1:6379 or [::1]"),
        ("redis+cluster://a, b", "' b' is not a host"),
        ("redis+cluster://${HOSTS}", "is an unfilled template: replace '${HOSTS}' with a value"),
        ("redis+cluster://a/1", "a Cluster has database 0 only; remove the database, and name streams apart"),
        ("redis+cluster://a?db=1", "a Cluster has database 0 only"),
        ("redis+cluster://a/events", "the database after the last slash is a number, not 'events'"),
        ("redis+sentinel://u:SECRET@a", f"redis+sentinel://***@a: {SENTINEL_FORM}"),
        ("redis+sentinel://a/", f"redis+sentinel://a/: {SENTINEL_FORM}"),
        ("redis+sentinel://a/0", f"redis+sentinel://a/0: {SENTINEL_FORM}"),
        ("redis+sentinel://a/${NAME}/0", "is an unfilled template: replace '${NAME}' with a value"),
        ("redis+sentinel://a/events/x", "the database after the last slash is a number, not 'x'"),
        (
            "redis+sentinel://a/e?sentinel_username=u",
            "redis+sentinel://a/e?***: has a sentinel_username without a sentinel_password",
        ),
        ("redis+sentinel://u:pa/ss@a/e", "cannot be read; write /, ? and # in a password as %2F"),
        (
            "rediss://u:SECRET@a,b:2/0",
            (
                "has several hosts, 'a,b:2'; write rediss+cluster://a,b:2 for the nodes of a Cluster, or "
                "rediss+sentinel://a,b:2/NAME/0 for Sentinels that know a primary by this name"
            ),
        ),
    ],
)
def test_p24_urls_of_several_hosts_that_cannot_work_are_refused(url: str, problem: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse(url)
    assert str(raised.value).startswith(f"redis_url: {problem}")
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize("url", ["redis+sentinel://a/e?nope=1", "redis+cluster://a?nope=1"])
def test_p24_options_that_redis_py_does_not_know_are_refused_with_the_url(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        Broker(url, group="g")
    assert str(raised.value) == f"redis_url: {url.replace('nope=1', '***')}: has no option 'nope'"


@pytest.mark.parametrize("url", [WATCHED, "redis+cluster://a,b", "rediss+sentinel://h/e?sentinel_password=p"])
def test_urls_of_several_hosts_come_from_a_file_and_the_environment(url: str, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(f"redis_streams:\n  redis_url: {url}\n")
    assert Broker(settings=load(file, {}), group="g").settings.redis_url == url
    file.write_text("redis_streams:\n  group: g\n")
    assert load(file, {"REDIS_STREAMS_REDIS_URL": url}).redis_url == url
