"""Contract server of the Kubernetes API: service accounts' tokens and TokenReview.

After https://kubernetes.io/docs/reference/kubernetes-api/authentication-resources/token-review-v1/: tokens are bound ones, signed
with ES256; a review wants a known token as its bearer and answers with the account, its uid and the audiences. Its
certificate is `ca.pem` in the directory named third, and tokens are written there, to `NAMESPACE.NAME`.
"""

import base64
import datetime
import ipaddress
import json
import os
import ssl
import sys
import time
import uuid

from contract import Refused, Server, run
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

AUDIENCE = "https://kubernetes.default.svc"
REVIEW = "/apis/authentication.k8s.io/v1/tokenreviews"


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Kubernetes(Server):
    def __init__(self, directory):
        super().__init__()
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.tokens = {}

    def order(self, name, argument):
        """`account/NAMESPACE/NAME` makes an account and a token of it, `forget/NAMESPACE/NAME` deletes them."""
        namespace, account = argument.split("/")
        if name == "account":
            uid = str(uuid.uuid4())
            token = self.token(namespace, account, uid)
            self.tokens[token] = (namespace, account, uid)
            with open(os.path.join(self.directory, f"{namespace}.{account}"), "w") as file:
                file.write(token)
        elif name == "forget":
            self.tokens = {token: whose for token, whose in self.tokens.items() if whose[:2] != (namespace, account)}
        else:
            raise KeyError(name)

    def token(self, namespace, name, uid):
        now = int(time.time())
        claims = {
            "iss": AUDIENCE,
            "aud": [AUDIENCE],
            "sub": f"system:serviceaccount:{namespace}:{name}",
            "iat": now,
            "nbf": now,
            "exp": now + 3600,
            "kubernetes.io": {"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}},
        }
        parts = ({"alg": "ES256", "kid": "one"}, claims)
        signed = ".".join(b64(json.dumps(part).encode()) for part in parts)
        r, s = decode_dss_signature(self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        signature = b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        return f"{signed}.{signature}"

    def answer(self, request, method, path, body):
        if method != "POST" or path != REVIEW:
            raise Refused(404, {"kind": "Status", "status": "Failure", "code": 404})
        if request.headers["authorization"].removeprefix("Bearer ") not in self.tokens:
            raise Refused(401, {"kind": "Status", "status": "Failure", "reason": "Unauthorized", "code": 401})
        review = json.loads(body)
        spec = review["spec"]
        whose = self.tokens.get(spec["token"])
        audiences = [one for one in spec.get("audiences") or [AUDIENCE] if one == AUDIENCE]
        if not whose or not audiences:
            return review | {"status": {"authenticated": False, "error": "invalid bearer token"}}
        namespace, name, uid = whose
        groups = ["system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"]
        user = {"username": f"system:serviceaccount:{namespace}:{name}", "uid": uid, "groups": groups}
        return review | {"status": {"authenticated": True, "user": user, "audiences": audiences}}


def certificate(directory):
    """Writes `ca.pem` and its key; where the latter is."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).add_extension(names, False)
    builder = builder.add_extension(x509.BasicConstraints(True, None), True)
    day = datetime.timedelta(days=1)
    made = builder.not_valid_before(now - day).not_valid_after(now + day).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    with open(os.path.join(directory, "ca.pem"), "wb") as file:
        file.write(made.public_bytes(pem))
    path = os.path.join(directory, "key.pem")
    with open(path, "wb") as file:
        file.write(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return path


if __name__ == "__main__":
    directory = sys.argv[3]
    private = certificate(directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(directory, "ca.pem"), private)
    run(Kubernetes(directory), context)
