"""Contract server of Google Cloud KMS v1 (REST): cryptoKeys.get, encrypt and decrypt of symmetric keys.

After https://cloud.google.com/kms/docs/reference/rest: AES-256-GCM with additional authenticated data, versions with
states, CRC-32C of every field both ways, google.rpc.Status as errors with the texts that the service uses.
"""

import base64
import json
import os
import struct

from contract import Refused, Server, run
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

HTTP = {"INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "PERMISSION_DENIED": 403, "NOT_FOUND": 404}


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def refuse(status, message):
    code = HTTP[status]
    raise Refused(code, {"error": {"code": code, "message": message, "status": status}})


class Kms(Server):
    def __init__(self):
        super().__init__()
        self.keys = {}
        self.denied = False

    def order(self, name, argument):
        if name == "key":
            self.keys[argument] = {"primary": 0, "versions": []}
            self.rotate(argument)
        elif name == "rotate":
            self.rotate(argument)
        elif name == "deny":
            self.denied = argument == "yes"
        elif name in ("ENABLED", "DISABLED", "DESTROY_SCHEDULED"):
            for version in self.keys[argument]["versions"]:
                version["state"] = name
        else:
            super().order(name, argument)

    def rotate(self, name):
        key = self.keys[name]
        key["versions"].append({"state": "ENABLED", "key": AESGCM(os.urandom(32))})
        key["primary"] = len(key["versions"])

    def answer(self, request, method, path, body):
        name, _, verb = path.removeprefix("/v1/").partition(":")
        permission = {"encrypt": "useToEncrypt", "decrypt": "useToDecrypt"}.get(verb)
        if self.denied and permission:
            refuse("PERMISSION_DENIED", f"Permission 'cloudkms.cryptoKeyVersions.{permission}' denied on resource '{name}' (or it may not exist).")
        key = self.keys.get(name)
        if key is None:
            refuse("NOT_FOUND", f"CryptoKey {name} not found.")
        if method == "GET":
            return self.describe(name, key)
        return getattr(self, verb)(name, key, json.loads(body))

    def describe(self, name, key):
        state = key["versions"][key["primary"] - 1]["state"]
        primary = {"name": f"{name}/cryptoKeyVersions/{key['primary']}", "state": state, "protectionLevel": "SOFTWARE", "algorithm": "GOOGLE_SYMMETRIC_ENCRYPTION"}
        return {"name": name, "purpose": "ENCRYPT_DECRYPT", "primary": primary, "createTime": "2026-01-01T00:00:00Z"}

    def field(self, asked, name):
        data = base64.b64decode(asked.get(name, ""), validate=True)
        checksum = asked.get(name + "Crc32c")
        if checksum is not None and int(checksum) != crc32c(data):
            refuse("INVALID_ARGUMENT", f"The checksum in field {name}_crc32c did not match the data in field {name}.")
        return data, checksum is not None

    def enabled(self, name, key, number):
        version = key["versions"][number - 1]
        if version["state"] != "ENABLED":
            refuse("FAILED_PRECONDITION", f"{name}/cryptoKeyVersions/{number} is not enabled, current state is: {version['state']}.")
        return version["key"]

    def encrypt(self, name, key, asked):
        plaintext, checked = self.field(asked, "plaintext")
        aad, aad_checked = self.field(asked, "additionalAuthenticatedData")
        number, nonce = key["primary"], os.urandom(12)
        sealed = self.enabled(name, key, number).encrypt(nonce, plaintext, aad)
        ciphertext = struct.pack(">I", number) + nonce + sealed
        return {
            "name": f"{name}/cryptoKeyVersions/{number}",
            "ciphertext": base64.b64encode(ciphertext).decode(),
            "ciphertextCrc32c": str(crc32c(ciphertext)),
            "verifiedPlaintextCrc32c": checked,
            "verifiedAdditionalAuthenticatedDataCrc32c": aad_checked,
            "protectionLevel": "SOFTWARE",
        }

    def decrypt(self, name, key, asked):
        ciphertext, _ = self.field(asked, "ciphertext")
        aad, _ = self.field(asked, "additionalAuthenticatedData")
        number = struct.unpack(">I", ciphertext[:4])[0] if len(ciphertext) > 16 else 0
        wrong = "Decryption failed: verify that 'name' refers to the correct CryptoKey."
        if not 1 <= number <= len(key["versions"]):
            refuse("INVALID_ARGUMENT", wrong)
        try:
            plaintext = self.enabled(name, key, number).decrypt(ciphertext[4:16], ciphertext[16:], aad)
        except InvalidTag:
            refuse("INVALID_ARGUMENT", wrong)
        return {
            "plaintext": base64.b64encode(plaintext).decode(),
            "plaintextCrc32c": str(crc32c(plaintext)),
            "usedPrimary": number == key["primary"],
            "protectionLevel": "SOFTWARE",
        }


run(Kms())
