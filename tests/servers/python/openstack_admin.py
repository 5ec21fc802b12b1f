"""Administers Keystone and Barbican for the suite: one command per call, one JSON value on stdout."""
import base64
import json
import os
import sqlite3
import sys
import uuid

import requests

KEYSTONE, BARBICAN, DIRECTORY, COMMAND = sys.argv[1:5]
TIMEOUT = 60


def call(method, url, token=None, body=None):
    headers = {"X-Auth-Token": token} if token else {}
    answer = requests.request(method, url, json=body, headers=headers, timeout=TIMEOUT)
    if answer.status_code >= 300:
        sys.exit(f"{method} {url}: {answer.status_code} {answer.text}")
    return answer


def log_in(user, project="dawnkey"):
    password = {"user": {"name": user, "domain": {"id": "default"}, "password": "pw"}}
    auth = {
        "identity": {"methods": ["password"], "password": password},
        "scope": {"project": {"name": project, "domain": {"id": "default"}}},
    }
    return call("POST", KEYSTONE + "/auth/tokens", body={"auth": auth}).headers["X-Subject-Token"]


def credential(admin, project, role):
    name = role + "-" + uuid.uuid4().hex[:8]
    user = {"name": name, "password": "pw", "domain_id": "default"}
    user = call("POST", KEYSTONE + "/users", admin, {"user": user}).json()["user"]["id"]
    roles = call("GET", KEYSTONE + "/roles", admin).json()["roles"]
    role = next(one["id"] for one in roles if one["name"] == role)
    call("PUT", f"{KEYSTONE}/projects/{project}/users/{user}/roles/{role}", admin)
    url = f"{KEYSTONE}/users/{user}/application_credentials"
    body = {"application_credential": {"name": "dawnkey"}}
    made = call("POST", url, log_in(name), body).json()["application_credential"]
    return {"user": name, "user_id": user, "id": made["id"], "secret": made["secret"]}


def setup():
    admin = log_in("admin", "admin")
    service = {"service": {"type": "key-manager", "name": "barbican"}}
    service = call("POST", KEYSTONE + "/services", admin, service).json()["service"]["id"]
    endpoint = {"service_id": service, "interface": "public", "region_id": "RegionOne", "url": BARBICAN}
    call("POST", KEYSTONE + "/endpoints", admin, {"endpoint": endpoint})
    project = {"project": {"name": "dawnkey", "domain_id": "default"}}
    project = call("POST", KEYSTONE + "/projects", admin, project).json()["project"]["id"]
    return {"member": credential(admin, project, "member"), "reader": credential(admin, project, "reader")}


def store(user, expiration=None):
    secret = {
        "name": "kek",
        "payload": base64.b64encode(os.urandom(32)).decode(),
        "payload_content_type": "application/octet-stream",
        "payload_content_encoding": "base64",
        "algorithm": "aes",
        "bit_length": 256,
        "mode": "gcm",
        "secret_type": "symmetric",
    }
    if expiration:
        secret["expiration"] = expiration
    token = log_in(user)
    ref = call("POST", BARBICAN + "/v1/secrets", token, secret).json()["secret_ref"]
    acl = {"read": {"project-access": False}}
    call("PUT", ref + "/acl", token, acl)
    return ref.rsplit("/", 1)[1]


def delete(user, secret):
    call("DELETE", f"{BARBICAN}/v1/secrets/{secret}", log_in(user))


def change(column, secret, value):
    # No call of the API does it.
    with sqlite3.connect(DIRECTORY + "/barbican.db", timeout=TIMEOUT) as database:
        changed = database.execute(f"UPDATE secrets SET {column} = ? WHERE id = ?", (value, secret))
        assert changed.rowcount == 1, secret


def status(secret, value):
    change("status", secret, value)


def expire(secret):
    change("expiration", secret, "2001-01-01 00:00:00.000000")


def expel(user, user_id):
    """Makes every token of a user one that Keystone does not know any more."""
    admin, token = log_in("admin", "admin"), log_in(user)
    for enabled in (False, True):
        call("PATCH", f"{KEYSTONE}/users/{user_id}", admin, {"user": {"enabled": enabled}})
    headers = {"X-Auth-Token": admin, "X-Subject-Token": token}
    answer = requests.get(KEYSTONE + "/auth/tokens", headers=headers, timeout=TIMEOUT)
    assert answer.status_code == 404, answer.text


def withdraw(user, user_id, credential_id):
    """Deletes an application credential."""
    call("DELETE", f"{KEYSTONE}/users/{user_id}/application_credentials/{credential_id}", log_in(user))


COMMANDS = {
    "setup": setup,
    "store": store,
    "delete": delete,
    "status": status,
    "expire": expire,
    "expel": expel,
    "withdraw": withdraw,
}
print(json.dumps(COMMANDS[COMMAND](*sys.argv[5:])))
