"""Any account and region, by unmodified boto3 with keys of one mini cloud; keys of any other are refused."""

from __future__ import annotations

import hashlib
import time
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from sdk_contract.clouds.sagemaker.keys import Keys, account_of
from sdk_sagemaker import _aws
from tests.aws import session
from tests.clouds.sagemaker.account import ROLE, Account

if TYPE_CHECKING:
    from collections.abc import Callable

HOME, NEAR, FAR = ("123456789012", "us-east-1"), ("123456789012", "eu-west-1"), ("999988887777", "us-east-1")
PLACES = (HOME, NEAR, FAR)
ONCE = Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"})


def client(account: Account, service: str, keys: tuple[str, ...], region: str = "us-east-1") -> Any:
    return session(*keys, region=region).client(service, endpoint_url=account.cloud.url, config=ONCE)


def at(account: Account, place: tuple[str, str], service: str) -> Any:
    """A client in an account and region."""
    return client(account, service, account.cloud.keys.of(place[0]), place[1])


def refused(call: Callable[..., Any], **params: Any) -> tuple[str, int]:
    with pytest.raises(ClientError) as error:
        call(**params)
    return error.value.response["Error"]["Code"], error.value.response["ResponseMetadata"]["HTTPStatusCode"]


def test_a_key_holds_its_account(account: Account) -> None:
    """As at AWS, and as the adapter reads it; another cloud's key for the same account is another one."""
    for number in ("000000000001", "123456789012", "999999999999"):
        identity, _ = account.cloud.keys.of(number)
        assert (number, number) == (account_of(identity), _aws.account_of(identity))
        assert number == at(account, (number, "us-east-1"), "sts").get_caller_identity()["Account"]
        assert identity != Keys(b"another").of(number)[0]
    assert "029608264753" == _aws.account_of("ASIAQNZGKIQY56JQ7WML"), "the example of the source"


def test_what_is_made_is_in_one_account_and_region(account: Account) -> None:
    """Repositories, models, log groups and alarms of one name; each list shows what is there only."""
    for place in PLACES:
        at(account, place, "ecr").create_repository(repositoryName="own")
        at(account, place, "logs").create_log_group(logGroupName="/own")
    image, create = account.push("own-model", "v1"), at(account, FAR, "sagemaker").create_model
    model: dict[str, Any] = {"ModelName": "own", "ExecutionRoleArn": ROLE}
    with pytest.raises(ClientError, match=r"Requested image .* not found"):
        create(**model, PrimaryContainer={"Image": image})
    named = image.replace(account.cloud.ecr.host, "123456789012.dkr.ecr.us-east-1.amazonaws.com")
    create(**model, PrimaryContainer={"Image": named})
    models = [at(account, place, "sagemaker").list_models(NameContains="own")["Models"] for place in PLACES]
    assert [[], [], ["arn:aws:sagemaker:us-east-1:999988887777:model/own"]] == [
        [one["ModelArn"] for one in found if one["ModelName"] == "own"] for found in models
    ]
    with pytest.raises(ClientError, match="Could not find model"):
        at(account, NEAR, "sagemaker").describe_model(ModelName="own")
    groups = [
        at(account, place, "logs").describe_log_groups(logGroupNamePrefix="/own")["logGroups"] for place in PLACES
    ]
    assert [[f"arn:aws:logs:{region}:{number}:log-group:/own:*"] for number, region in PLACES] == [
        [one["arn"] for one in found] for found in groups
    ]
    at(account, FAR, "sagemaker").delete_model(ModelName="own")


def test_registries_are_apart(account: Account) -> None:
    """One host for all: the password says which registry is meant, and each has repositories of its own."""
    at(account, HOME, "ecr").create_repository(repositoryName="apart")
    at(account, FAR, "ecr").create_repository(repositoryName="apart")
    told = [at(account, one, "ecr").get_authorization_token()["authorizationData"][0] for one in PLACES]
    basic = [{"authorization": f"Basic {one['authorizationToken']}"} for one in told]
    data = b"of the far account"
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    with httpx.Client(base_url=account.cloud.url, trust_env=False) as http:
        begun = [http.post("/v2/apart/blobs/uploads/", headers=one) for one in basic]
        assert [202, 404, 202] == [one.status_code for one in begun], "near has no repository"
        where = begun[2].headers["location"]
        assert 403 == http.put(where, headers=basic[0], params={"digest": digest}, content=data).status_code
        assert 201 == http.put(where, headers=basic[2], params={"digest": digest}, content=data).status_code
        found = [http.head(f"/v2/apart/blobs/{digest}", headers=one).status_code for one in basic]
        assert [404, 404, 200] == found
        mount = {"mount": digest, "from": f"{FAR[0]}/{FAR[1]}/apart"}
        assert 202 == http.post("/v2/apart/blobs/uploads/", params=mount, headers=basic[0]).status_code


def test_buckets_are_global(account: Account) -> None:
    """A name that another account has is taken, as in S3."""
    at(account, HOME, "s3").create_bucket(Bucket="only-one")
    assert ("BucketAlreadyExists", 409) == refused(at(account, FAR, "s3").create_bucket, Bucket="only-one")
    assert "only-one" not in [one["Name"] for one in at(account, FAR, "s3").list_buckets()["Buckets"]]


def test_a_role_of_another_account(account: Account) -> None:
    """Its keys are of that account, and good with their session token only."""
    role = "arn:aws:iam::999988887777:role/there"
    given = account.client("sts").assume_role(RoleArn=role, RoleSessionName="me")["Credentials"]
    keys = (given["AccessKeyId"], given["SecretAccessKey"])
    whole = client(account, "sts", (*keys, given["SessionToken"])).get_caller_identity()
    assert ("999988887777", "arn:aws:sts::999988887777:assumed-role/there/me") == (whole["Account"], whole["Arn"])
    assert ("InvalidClientTokenId", 403) == refused(client(account, "sts", keys).get_caller_identity)
    other = (*keys, "another token")
    assert ("InvalidToken", 400) == refused(client(account, "s3", other).list_buckets)
    assert ("UnrecognizedClientException", 400) == refused(client(account, "sagemaker", other).list_models)


def test_a_key_of_a_user_can_be_switched_off(account: Account) -> None:
    """IAM makes keys in any account; an inactive one is refused."""
    iam = at(account, FAR, "iam")
    iam.create_user(UserName="ci")
    made = iam.create_access_key(UserName="ci")["AccessKey"]
    keys = (made["AccessKeyId"], made["SecretAccessKey"])
    assert "999988887777" == client(account, "sts", keys).get_caller_identity()["Account"]
    iam.update_access_key(UserName="ci", AccessKeyId=keys[0], Status="Inactive")
    assert ("InvalidClientTokenId", 403) == refused(client(account, "sts", keys).get_caller_identity)


CALLS: dict[str, tuple[str, dict[str, Any]]] = {
    "sagemaker": ("list_models", {}),
    "sagemaker-runtime": ("invoke_endpoint", {"EndpointName": "e", "Body": b""}),
    "ecr": ("describe_repositories", {}),
    "s3": ("list_buckets", {}),
    "sts": ("get_caller_identity", {}),
    "iam": ("list_users", {}),
    "logs": ("describe_log_groups", {}),
    "application-autoscaling": ("describe_scalable_targets", {"ServiceNamespace": "sagemaker"}),
    "secretsmanager": ("list_secrets", {}),
    "service-quotas": ("list_service_quotas", {"ServiceCode": "sagemaker"}),
    "resourcegroupstaggingapi": ("get_resources", {}),
}
UNKNOWN = {"s3": ("InvalidAccessKeyId", 403), **dict.fromkeys(("sts", "iam"), ("InvalidClientTokenId", 403))}
FORGED = dict.fromkeys(("s3", "sts", "iam"), ("SignatureDoesNotMatch", 403))


@pytest.mark.parametrize("service", CALLS)
def test_wrong_keys_are_refused_as_aws_refuses_them(account: Account, service: str) -> None:
    """A key of another mini cloud, AWS's example, an account number, and the right key with a wrong secret."""
    operation, params = CALLS[service]
    right, secret = account.cloud.keys.of("123456789012")
    strangers = [Keys(b"another cloud").of("123456789012"), ("AKIAIOSFODNN7EXAMPLE", "x"), ("123456789012", "x")]
    for keys in strangers:
        found = refused(getattr(client(account, service, keys), operation), **params)
        assert UNKNOWN.get(service, ("UnrecognizedClientException", 400)) == found
    for keys in ((right, secret[::-1]), (right, "mlport-mock-secret")):
        found = refused(getattr(client(account, service, keys), operation), **params)
        assert FORGED.get(service, ("InvalidSignatureException", 403)) == found


def test_a_request_without_a_signature_is_refused(account: Account) -> None:
    """On the control plane, the data plane and the registry."""
    url = account.cloud.url
    listed = httpx.post(url, headers={"x-amz-target": "SageMaker.ListModels"}, json={}, trust_env=False)
    assert (400, "MissingAuthenticationTokenException") == (listed.status_code, listed.json()["__type"])
    invoked = httpx.post(f"{url}/endpoints/e/invocations", content=b"", trust_env=False)
    assert (403, "MissingAuthenticationTokenException") == (
        invoked.status_code, invoked.headers["x-amzn-errortype"],
    )  # fmt: skip
    assert 403 == httpx.get(f"{url}/mlport-data/data/train/rows.csv", trust_env=False).status_code
    for given in ({}, {"authorization": "Basic QVdTOmd1ZXNzZWQ="}):
        version = httpx.get(f"{url}/v2/", headers=given, trust_env=False)
        assert (401, "DENIED") == (version.status_code, version.json()["errors"][0]["code"])


def test_a_signed_address_ends(account: Account) -> None:
    """One that was signed for a while is good for that while, and for its object only."""
    about = {"Bucket": "mlport-data", "Key": "data/train/rows.csv"}
    s3 = account.client("s3", s3={"addressing_style": "path"}, signature_version="s3v4")
    good = s3.generate_presigned_url("get_object", Params=about, ExpiresIn=60)
    with urlopen(good) as answer:  # our own address
        assert b"1,2\n3,4\n" == answer.read()
    late = s3.generate_presigned_url("get_object", Params=about, ExpiresIn=0)
    time.sleep(1.1)  # the stamp has whole seconds
    assert "Request has expired" in httpx.get(late, trust_env=False).text
    assert "SignatureDoesNotMatch" in httpx.get(good.replace("rows.csv", "other.csv"), trust_env=False).text


def test_the_header_of_moto_does_not_change_the_account(account: Account) -> None:
    """What moto takes as the account of a request is said by the key alone."""
    sts = at(account, FAR, "sts")
    sts.meta.events.register(
        "before-sign.sts.*", lambda request, **_: request.headers.add_header("x-moto-account-id", "111111111111")
    )
    assert "999988887777" == sts.get_caller_identity()["Account"]
