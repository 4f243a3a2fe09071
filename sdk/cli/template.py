"""The configuration that ``mlport init`` writes."""

TEMPLATE = """\
# mlport configuration. Every value can also be given as an argument or as MLPORT_… in the environment;
# `mlport config show` prints each value and where it came from. Credentials never stand here: each cloud's own
# chain is used.

default = "laptop"              # the target used when none is named; MLPORT_TARGET overrides it

# [objective]
# p95_ms = 100                  # the latency objective, milliseconds

# [monitor]
# alarms = ["p95_ms > 100 for 5m", "error_rate > 0.01"]

[target.laptop]
provider = "local"              # plain processes on this machine: no root, no Docker
# replicas = { min = 1, max = 1 }
# resources = { cpu = 2, memory_gib = 4 }
# ttl = "8h"                    # `mlport gc --expired` removes what is older

# [target.box]
# provider = "docker"

# [target.aws]
# provider = "sagemaker"
# region = "us-east-1"
# role = "arn:aws:iam::123456789012:role/mlport"
# resources = { cpu = 2, memory_gib = 8 }   # or instance = "ml.m5.xlarge"

# [target.gcp]
# provider = "vertex"
# project = "acme-ml"
# region = "europe-west4"
# instance = "n1-standard-2"

# [target.azure]
# provider = "azureml"
# subscription = "00000000-0000-0000-0000-000000000000"
# resource_group = "rg"
# workspace = "mlport"
# instance = "Standard_DS2_v2"
"""
