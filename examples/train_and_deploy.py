"""Train a model in a job, deploy it, and replace it by a better one: the same lock and code from start to end.

Runs on this machine; set ``MLPORT_TARGET`` to run the same file somewhere else.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np

import sdk

NAME = "example-wine"


def train(data: dict[str, str], params: dict[str, float]) -> object:
    """Fit a classifier; this function runs in the job, with the libraries that are installed here."""
    import json

    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    table = np.loadtxt(data["train"], delimiter=",")
    rows, labels = table[:, :-1], table[:, -1].astype(int)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=params["C"]))
    print(json.dumps({"mlport_metric": {"accuracy": cross_val_score(model, rows, labels).mean()}}))
    return model.fit(rows, labels)


def main() -> None:
    """Run two jobs for one endpoint: the second model starts as a canary and is promoted."""
    rows, labels = load()
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder, "wine.csv")
        np.savetxt(table, np.column_stack([rows, labels]), delimiter=",")
        first = improve(table, rows, strength=0.01, share=100)
        print(f"endpoint  {first.status.traffic}")
        endpoint = improve(table, rows, strength=1.0, share=25)
        print(f"canary    {endpoint.status.traffic}")
    answer = endpoint.predict(rows)
    print(f"accuracy  {np.mean(answer.array == labels):.3f} through the endpoint")
    endpoint.promote()
    endpoint.finalize()
    print(f"promoted  {endpoint.refresh().traffic}")


def improve(table: Path, rows: np.ndarray, *, strength: float, share: int) -> sdk.Endpoint:
    """Train one model in a job and deploy it with its share of the traffic."""
    job = sdk.train(train, data={"train": str(table)}, params={"C": strength})
    print(f"job       {job.name}: {job.metrics}")
    return sdk.deploy(job.result(name=NAME, example=rows[:3]), name=NAME, traffic=share)


def load() -> tuple[np.ndarray, np.ndarray]:
    """Return the rows and labels of a real data set that comes with scikit-learn."""
    from sklearn.datasets import load_wine

    rows, labels = load_wine(return_X_y=True)
    return rows, labels


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    try:
        main()
    finally:
        sdk.delete(NAME)
