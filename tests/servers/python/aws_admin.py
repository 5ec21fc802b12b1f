"""One call of an AWS API with boto3: ENDPOINT SERVICE METHOD ARGUMENTS(JSON); credentials on standard input, one per line."""

import json
import sys

import boto3

endpoint, service, method, arguments = sys.argv[1:5]
key_id, secret = sys.stdin.read().split()
client = boto3.client(
    service,
    endpoint_url=endpoint,
    region_name="eu-central-1",
    aws_access_key_id=key_id,
    aws_secret_access_key=secret,
)
answer = getattr(client, method)(**json.loads(arguments))
print(json.dumps(answer, default=str))
