"""Compute capability of a cluster's GPUs."""

import pytest

from tuner.cluster.gpus import lowest_capability, parse_capabilities


def test_capabilities_are_parsed_line_by_line() -> None:
    assert parse_capabilities("9.0\n7.5\n") == [(9, 0), (7, 5)]
    assert min(parse_capabilities("10.0\n9.0\n")) == (9, 0)


def test_capabilities_ignore_other_lines() -> None:
    assert parse_capabilities("[N/A]\nNVIDIA-SMI has failed\n\n8.6") == [(8, 6)]


@pytest.mark.usefixtures("ray_session")
def test_cluster_without_gpus_has_no_capability() -> None:
    assert lowest_capability() is None
