"""Google Tink's own library as an oracle for `shared::vault`.

Reads one JSON object on stdin: {"keyset": JSON keyset or null for a new one, "did": text,
"seal": API key, "open": [column, ...]}; writes {"keyset", "primary", "sealed": column,
"opened": [API key or null, ...]}.
"""

import base64
import json
import sys

import tink
from tink import daead, json_proto_keyset_format, secret_key_access

PREFIX = "v1."

daead.register()
request = json.load(sys.stdin)

if request["keyset"] is None:
    handle = tink.new_keyset_handle(daead.deterministic_aead_key_templates.AES256_SIV)
else:
    handle = json_proto_keyset_format.parse(request["keyset"], secret_key_access.TOKEN)
primitive = handle.primitive(daead.DeterministicAead)
associated_data = f"llm-gateway:v1:user_api_keys.encrypted_api_key:{request['did']}".encode()


def seal(key: str) -> str:
    sealed = primitive.encrypt_deterministically(key.encode(), associated_data)
    return PREFIX + base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def open_(column: str) -> str | None:
    text = column.removeprefix(PREFIX)
    sealed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    try:
        return primitive.decrypt_deterministically(sealed, associated_data).decode()
    except tink.TinkError:
        return None


json.dump(
    {
        "keyset": json_proto_keyset_format.serialize(handle, secret_key_access.TOKEN),
        "primary": handle.keyset_info().primary_key_id,
        "sealed": seal(request["seal"]),
        "opened": [open_(column) for column in request["open"]],
    },
    sys.stdout,
)
