"""What the tests of the engine share: a cluster, and every executor there is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from citymesh_dask.engine.cluster import ClusterExecutor
from citymesh_dask.engine.executor import Executor
from citymesh_dask.engine.in_process import LocalExecutor
from citymesh_dask.engine.local_cluster import close_cluster, local_cluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    client, cluster = local_cluster(n_workers=2, worker_bytes=1 << 30)
    yield client
    close_cluster(client, cluster)


@pytest.fixture(params=("synchronous", "threads", "processes"))
def executor(request: pytest.FixtureRequest) -> Executor:
    if request.param == "processes":
        return ClusterExecutor(request.getfixturevalue("cluster"))
    return LocalExecutor(request.param, 2)
