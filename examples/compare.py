"""A comparison of the same model on several targets: what each costs and how fast it answers, measured.

    python examples/compare.py local docker

compares these targets of your ``mlport.toml``; without arguments only the default target is measured. All endpoints
deployed for the comparison are deleted at the end, and the maximum cost is limited before anything starts.
"""

import sys
from typing import Any

import sdk

PAGE, KEPT = "comparison.html", "comparison.json"
#: A first look: how long answers take at 40 requests a second; the search for the highest rate is left out.
WORKLOAD = {"preset": "quick", "scenarios": ["single"], "rate": 40.0, "requests": 400}


def main(targets: list[str]) -> None:
    """Train a model, compare the targets, print the table and write the page."""
    rows, labels, model = train()
    found = sdk.compare(
        model,
        targets=targets,
        workload=WORKLOAD,
        payloads=[[row] for row in rows[:50].tolist()],
        labels=labels[:50],
        p95_ms=100,
        traffic_per_month=1_000_000,
        profile="office",
        hardware={"local": 0.05, "docker": 0.05},
        budget_usd=2.0,
    )
    print(found)
    found.to_html(PAGE)
    found.to_json(KEPT)
    print(f"the whole story is in {PAGE}; hold the next run against this one with --baseline {KEPT}")


def train() -> tuple[Any, list[int], sdk.Model]:
    """Train a classifier for a real data set that comes with scikit-learn, and return rows, labels and the model."""
    from sklearn.datasets import load_wine
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, labels = load_wine(return_X_y=True)
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(rows, labels)
    return rows, labels.tolist(), sdk.model(fitted, name="example-wine", example=rows[:3])


if __name__ == "__main__":
    main(sys.argv[1:])
