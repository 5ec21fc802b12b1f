"""Keys on a PyKMIP server: admin.py PORT CA CERTIFICATE KEY create NAME | deactivate ID | destroy ID"""

import sys

from kmip.core import enums
from kmip.pie.client import ProxyKmipClient

port, ca, certificate, key, act, subject = sys.argv[1:]
client = ProxyKmipClient(
    hostname="127.0.0.1",
    port=int(port),
    cert=certificate,
    key=key,
    ca=ca,
    ssl_version="PROTOCOL_TLSv1_2",
    config_file="/dev/null",
    kmip_version=enums.KMIPVersion.KMIP_1_4,
)
with client:
    if act == "create":
        mask = [enums.CryptographicUsageMask.ENCRYPT, enums.CryptographicUsageMask.DECRYPT]
        made = client.create(
            enums.CryptographicAlgorithm.AES, 256, name=subject, cryptographic_usage_mask=mask
        )
        client.activate(made)
        print(made)
    elif act == "deactivate":
        client.revoke(enums.RevocationReasonCode.CESSATION_OF_OPERATION, subject)
    elif act == "destroy":
        client.destroy(subject)
