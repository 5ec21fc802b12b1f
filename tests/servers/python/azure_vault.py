"""Contract server of Azure Key Vault, Managed HSM (keys) and the token endpoint of Entra.

After https://learn.microsoft.com/rest/api/keyvault/keys: getKey, wrapKey and unwrapKey with RSA-OAEP-256 in a vault, encrypt and
decrypt with A256GCM in an HSM, versions, attributes, the authentication challenge, errors with their inner codes. The host of
a request says which of the two services is spoken to. Certificates of the run are written to the directory named third.
"""

import base64
import datetime
import ipaddress
import json
import os
import ssl
import sys
import urllib.parse

from contract import Refused, Server, run
from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

VAULT, HSM = "prod.vault.azure.net", "prod.managedhsm.azure.net"
OAEP = padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), None)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def refuse(status, code, message, inner=None, headers=None):
    error = {"code": code, "message": message}
    if inner:
        error["innererror"] = {"code": inner}
    raise Refused(status, {"error": error}, headers)


class Azure(Server):
    def __init__(self):
        super().__init__()
        self.keys, self.clients, self.tokens = {}, {}, {}

    def order(self, name, argument):
        if name == "key":
            host, key = argument.split("/")
            self.keys[host, key] = {"enabled": True, "versions": {}}
            self.rotate(host, key)
        elif name == "rotate":
            self.rotate(*argument.split("/"))
        elif name in ("enable", "disable"):
            self.keys[tuple(argument.split("/"))]["enabled"] = name == "enable"
        elif name == "delete":
            del self.keys[tuple(argument.split("/"))]
        elif name == "client":
            client, secret, allowed = argument.split("/")
            self.clients[client] = (secret, allowed.split(","))
        else:
            super().order(name, argument)

    def rotate(self, host, name):
        key = rsa.generate_private_key(65537, 2048) if host == VAULT else AESGCM(os.urandom(32))
        versions = self.keys[host, name]["versions"]
        versions[os.urandom(16).hex()] = key

    def answer(self, request, method, path, body):
        if path.endswith("/oauth2/v2.0/token"):
            return self.token(urllib.parse.parse_qs(body.decode()))
        host = request.headers["host"].partition(":")[0]
        allowed = self.authorise(request, host, body)
        if self.mode == "throttled":
            refuse(429, "Throttled", "Too many requests.", headers={"retry-after": "7"})
        parts = [part for part in path.split("/") if part]
        if parts[-1] in ("wrapkey", "unwrapkey", "encrypt", "decrypt"):
            verb, version = parts[-1], parts[2] if len(parts) == 4 else None
        else:
            verb, version = "get", None
        self.permit(host, verb, allowed)
        return self.use(request, host, parts[1], version, verb, body)

    def token(self, form):
        client = form["client_id"][0]
        secret, _ = self.clients.get(client, (None, None))
        assertion = form.get("client_assertion")
        if secret != form.get("client_secret", [None])[0] and not (secret and assertion and self.proves(client, assertion[0])):
            told = {"error": "invalid_client", "error_description": "AADSTS7000215: Invalid client secret provided."}
            raise Refused(401, told)
        token = b64(os.urandom(24))
        self.tokens[token] = (client, form["scope"][0])
        return {"token_type": "Bearer", "expires_in": 3600, "access_token": token}

    def proves(self, client, assertion):
        """Verifies an assertion by the certificate in the run's directory."""
        head, claims, signature = assertion.split(".")
        with open(os.path.join(sys.argv[3], "client.pem"), "rb") as file:
            certificate = x509.load_pem_x509_certificate(file.read())
        header, claims_ = json.loads(unb64(head)), json.loads(unb64(claims))
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
        certificate.public_key().verify(unb64(signature), f"{head}.{claims}".encode(), pss, hashes.SHA256())
        thumbprint = b64(certificate.fingerprint(hashes.SHA256()))
        right = header == {"alg": "PS256", "typ": "JWT", "x5t#S256": thumbprint}
        return right and claims_["sub"] == claims_["iss"] == client and claims_["aud"].endswith("/oauth2/v2.0/token")

    def authorise(self, request, host, body):
        resource = "https://" + host.split(".", 1)[1]
        if self.mode == "challenge":
            resource = "https://vault.attacker.example"
        scheme, _, token = (request.headers.get("authorization") or "").partition(" ")
        client, scope = self.tokens.get(token, (None, None))
        if scheme != "Bearer" or scope != resource + "/.default":
            challenge = f'Bearer authorization="https://login.microsoftonline.com/t", resource="{resource}"'
            refuse(401, "Unauthorized", "AKV10000: Request is missing a Bearer or PoP token.", headers={"www-authenticate": challenge})
        return self.clients[client][1]

    def permit(self, host, verb, allowed):
        if verb not in allowed and "all" not in allowed:
            refuse(403, "Forbidden", f"Caller is not authorized to perform action {verb} on resource.", "ForbiddenByRbac")

    def use(self, request, host, name, version, verb, body):
        key = self.keys.get((host, name))
        if key is None or (version and version not in key["versions"]):
            refuse(404, "KeyNotFound", f"A key with (name/id) {name} was not found in this key vault.")
        version = version or list(key["versions"])[-1]
        kid = f"https://{request.headers['host']}/keys/{name}/{version}"
        if verb == "get":
            return self.describe(host, kid, key)
        if not key["enabled"]:
            refuse(403, "Forbidden", f"Operation {verb} is not allowed on a disabled key.", "KeyDisabled")
        asked = json.loads(body)
        return {"kid": kid} | getattr(self, verb)(key["versions"][version], asked, unb64(asked["value"]))

    def describe(self, host, kid, key):
        kty, operations = ("RSA", ["wrapKey", "unwrapKey"]) if host == VAULT else ("oct-HSM", ["encrypt", "decrypt"])
        attributes = {"enabled": key["enabled"], "created": 1, "updated": 1, "recoveryLevel": "Recoverable+Purgeable", "exportable": False}
        return {"key": {"kid": kid, "kty": kty, "key_ops": operations}, "attributes": attributes}

    def algorithm(self, asked, name):
        if asked["alg"] != name:
            refuse(400, "BadParameter", f"Invalid algorithm {asked['alg']}.")

    def wrapkey(self, key, asked, value):
        self.algorithm(asked, "RSA-OAEP-256")
        return {"value": b64(key.public_key().encrypt(value, OAEP))}

    def unwrapkey(self, key, asked, value):
        self.algorithm(asked, "RSA-OAEP-256")
        try:
            return {"value": b64(key.decrypt(value, OAEP))}
        except ValueError:
            refuse(400, "BadParameter", "The parameter is incorrect.")

    def encrypt(self, key, asked, value):
        self.algorithm(asked, "A256GCM")
        nonce = os.urandom(12)
        sealed = key.encrypt(nonce, value, unb64(asked["aad"]))
        return {"value": b64(sealed[:-16]), "iv": b64(nonce), "tag": b64(sealed[-16:]), "aad": asked["aad"]}

    def decrypt(self, key, asked, value):
        self.algorithm(asked, "A256GCM")
        try:
            return {"value": b64(key.decrypt(unb64(asked["iv"]), value + unb64(asked["tag"]), unb64(asked["aad"])))}
        except InvalidTag:
            refuse(400, "BadParameter", "Authentication tag mismatch.")


def certificates(directory):
    """Writes `ca.pem`, `server.pem`, and `client.pem` of an application; each with its key where we need it."""
    ca_key = ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "contract CA")])
    now = datetime.datetime.now(datetime.timezone.utc)

    def issue(name, key, issuer, signer, extensions):
        builder = x509.CertificateBuilder(issuer, name, key.public_key(), x509.random_serial_number(), now - datetime.timedelta(days=1), now + datetime.timedelta(days=2))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(signer, hashes.SHA256())

    def write(name, certificate, key=None):
        path = os.path.join(directory, name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as file:
            file.write(certificate.public_bytes(serialization.Encoding.PEM))
            if key:
                file.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
        return path

    ca = issue(ca_name, ca_key, ca_name, ca_key, [(x509.BasicConstraints(True, None), True)])
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.DNSName(VAULT), x509.DNSName(HSM), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, VAULT)])
    write("ca.pem", ca)
    server = write("server.pem", issue(name, key, ca_name, ca_key, [(x509.SubjectAlternativeName(names), False)]), key)
    client_key = rsa.generate_private_key(65537, 2048)
    write("client.pem", issue(name, client_key, ca_name, ca_key, []), client_key)
    return server


if __name__ == "__main__":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates(sys.argv[3]))
    run(Azure(), context)
