"""The library of AWS is loaded by the first call, not before."""

import subprocess
import sys

CODE = """
import sys
import sdk, sdk_sagemaker
adapter = sdk_sagemaker.SagemakerAdapter
adapter.capabilities(sdk_sagemaker.SagemakerOptions(serverless={}))
print([name for name in ("boto3", "botocore", "moto") if name in sys.modules])
"""


def test_the_adapter_loads_no_boto3() -> None:
    """Importing the adapter and asking what it can do loads nothing of AWS."""
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=True)
    assert "[]" == done.stdout.strip()
