"""CloudWatch tells of the requests that really passed, with percentiles, and of the containers that really run."""

import json
import time
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from botocore.exceptions import ClientError

from tests.clouds.sagemaker.account import Account


def dimensions(endpoint: str, variant: str) -> list[dict[str, str]]:
    return [{"Name": "EndpointName", "Value": endpoint}, {"Name": "VariantName", "Value": variant}]


def ask(account: Account, namespace: str, wanted: dict[str, tuple[str, str]], where: list[dict[str, str]]) -> Any:
    """The only value of each question over the last minutes."""
    now = time.time()
    queries = [
        {
            "Id": key,
            "MetricStat": {
                "Metric": {"Namespace": namespace, "MetricName": metric, "Dimensions": where},
                "Period": 3600,
                "Stat": stat,
            },
        }
        for key, (metric, stat) in wanted.items()
    ]
    found = account.client("cloudwatch").get_metric_data(
        MetricDataQueries=queries,
        StartTime=datetime.fromtimestamp(now - 1800, UTC),
        EndTime=datetime.fromtimestamp(now + 60, UTC),
    )["MetricDataResults"]
    return {one["Id"]: one["Values"] for one in found}


def test_counts_latencies_and_use(account: Account) -> None:
    """Invocations, errors by class, microseconds with percentiles, per variant only; CPU and memory of hosts."""
    account.serve("measured", "seen")
    fails: list[dict[str, object]] = [{"do": "fail", "status": code} for code in (400, 500, 500)]
    bodies: list[dict[str, object]] = [*[{}] * 6, {"do": "sleep", "seconds": 0.2}, *fails]
    for body in bodies:
        with suppress(ClientError):
            account.runtime.invoke_endpoint(EndpointName="measured", Body=json.dumps(body))
    where = dimensions("measured", "seen")
    counts = {
        "all": ("Invocations", "Sum"),
        "bad": ("Invocation4XXErrors", "Sum"),
        "broken": ("Invocation5XXErrors", "Sum"),
        "failed": ("InvocationModelErrors", "Sum"),
        "timed": ("ModelLatency", "SampleCount"),
    }
    assert {"all": [10.0], "bad": [1.0], "broken": [2.0], "failed": [3.0], "timed": [10.0]} == ask(
        account, "AWS/SageMaker", counts, where
    )
    times = {key: ("ModelLatency", key) for key in ("p50", "p99")} | {
        "most": ("ModelLatency", "Maximum"),
        "mean": ("ModelLatency", "Average"),
        "over": ("OverheadLatency", "Average"),
    }
    told = {key: values[0] for key, values in ask(account, "AWS/SageMaker", times, where).items()}
    assert told["p50"] < told["mean"] < told["p99"] <= told["most"]
    assert 200_000 <= told["most"] < 5_000_000, "microseconds"
    assert 0 < told["over"] < told["most"]
    assert {"all": []} == ask(account, "AWS/SageMaker", {"all": ("Invocations", "Sum")}, where[:1])
    hosts = {"cpu": ("CPUUtilization", "Average"), "memory": ("MemoryUtilization", "Average")}
    used = ask(account, "/aws/sagemaker/Endpoints", hosts, where)
    assert 0 < used["memory"][0] < 100
    assert 0 <= used["cpu"][0] < 1000
    now = time.time()
    points = account.client("cloudwatch").get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName="Invocations",
        Dimensions=where,
        Period=3600,
        Statistics=["Sum"],
        StartTime=datetime.fromtimestamp(now - 1800, UTC),
        EndTime=datetime.fromtimestamp(now + 60, UTC),
    )["Datapoints"]
    assert 10.0 == sum(point["Sum"] for point in points)
    account.sm.delete_endpoint(EndpointName="measured")
    account.wait_gone("measured")
