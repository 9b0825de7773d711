"""The three submissions of formstack.md with their signatures under ``demo-hmac-key``."""

import hashlib
import hmac

JSON = "application/json"
URLENCODED = "application/x-www-form-urlencoded; charset=utf-8"

LABELS = (
    b'{"FormID":"5512345","UniqueID":"1512345678","HandshakeKey":"demo-shared-secret","practice_name":"Riverside Family Clinic",'
    b'"contact":{"first":"Dana","last":"Ortiz"},"email":"dana.ortiz@riverside.example","phone":"(555) 010-4477",'
    b'"type_of_request":"Claim status question","details":"Claim 88-2041 was denied twice.\\nPlease call me after 2 pm.",'
    b'"attachment":"https://www.formstack.com/admin/download/file/18446744073"}'
)
LABELS_SIGNATURE = "sha256=7cbebfd54453f620c31e18a37aefe2d60aabbf8a42b5cff1bf97166c2c42a388"

IDS = (
    b'{"FormID":"5512345","UniqueID":"1512345679","172000001":{"value":"Riverside Family Clinic","field_type":"text"},'
    b'"172000002":{"first":"Dana","last":"Ortiz","field_type":"name"},'
    b'"172000003":{"value":"dana.ortiz@riverside.example","field_type":"email"},'
    b'"172000004":{"address":"12 Mill Rd","city":"Austin","state":"TX","zip":"78701","field_type":"address"},'
    b'"172000005":{"value":["Eligibility","Denials"],"field_type":"checkbox"},'
    b'"172000006":{"value":"Nov 20, 2026 09:30 AM","field_type":"datetime"}}'
)
IDS_SIGNATURE = "sha256=96cdd498c856573f61da64206c2061f7470100f06b1edaac86cf84e712c7d49f"

LINES = (
    b"FormID=5512345&UniqueID=1512345680&HandshakeKey=demo-shared-secret&Practice+Name=Riverside+Family+Clinic"
    b"&Contact=first+%3D+Dana%0Alast+%3D+Ortiz&Email=dana.ortiz%40riverside.example&Type+of+Request=Claim+status+question"
    b"&Details=Caf%C3%A9+%E2%98%95+100%25+%26+more"
)
LINES_SIGNATURE = "sha256=cb99e6753be30c050ed70618af3bdac609026db17c2d59929650b50b368bc1dd"


def sign(body: bytes, key: str = "demo-hmac-key") -> str:
    """Return the signature header for ``body`` under ``key``."""
    return "sha256=" + hmac.new(key.encode(), body, hashlib.sha256).hexdigest()
