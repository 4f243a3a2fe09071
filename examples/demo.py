"""The shortest complete example: train a model on real data, deploy it, call it, watch it, delete it.

Runs on this machine, without root, Docker or an account: ``make demo``. Set ``MLPORT_TARGET`` to run the same file
somewhere else.
"""

import time

from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

import sdk

REQUESTS = 100


def main() -> None:
    """Train, deploy, predict, monitor and delete; every step prints its result."""
    rows, labels = load_breast_cancer(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(rows, labels, random_state=0)

    model = sdk.model(RandomForestClassifier(random_state=0).fit(train_x, train_y), name="tumour", example=train_x[:5])
    print(f"model     {model.name} {model.digest[:12]}  {model.flavour}, trained on {len(train_x)} rows")

    begin = time.perf_counter()
    with sdk.temporary(model, ttl="30m") as endpoint:
        print(f"endpoint  {endpoint.name} on {endpoint.target}, ready after {time.perf_counter() - begin:.1f} s")

        answer = endpoint.predict(test_x)
        print(f"accuracy  {accuracy_score(test_y, answer.array):.3f} on {len(test_x)} unseen rows, over HTTP")

        for row in test_x[:REQUESTS]:
            endpoint.predict([row])
        print(endpoint.monitor(window="5m"))
        print(f"any client can call it:\n{endpoint.curl(test_x[:1])}")

    leftovers = sdk.gc().orphans
    print("deleted   nothing is left" if not leftovers else f"left over: {leftovers}")


if __name__ == "__main__":
    main()
