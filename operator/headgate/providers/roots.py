"""Certificate authorities that the built-in providers' certificates come from, by the SHA-256 of each root.

A short bundle costs a proxy a few KiB a section where all well-known CAs cost hundreds. It is a list of the CAs that a
vendor says it may use, today or after a change without notice, and not a pin: rather one too many than an outage.
"""

from __future__ import annotations

from functools import cache

from headgate.providers.profile import Root

_GOOGLE_TRUST = (
    Root("GTS Root R1", "d947432abde7b7fa90fc2e6b59101b1280e0e1c7e4e40fa3c6887fff57a7f4cf"),
    Root("GTS Root R3", "34d8a73ee208d9bcdb0d956520934b4e40e69482596e8b6f73c8426b010a6f48"),
    Root("GTS Root R4", "349dfa4058c5e263123b398ae795573c4e1313c83fe68f93556cd5e8031b3c7d"),
)
_GLOBALSIGN = (
    Root("GlobalSign ECC Root CA - R4", "b085d70b964f191a73e4af0d54ae7a0e07aafdaf9b71dd0862138ab7325a24a2"),
    Root("GlobalSign ECC Root CA - R5", "179fbc148a3dd00fd24ea13458cc43bfa7f59c8182d783a513f6ebec100c8924"),
    Root("GlobalSign Root CA - R3", "cbb522d7b7f127ad6a0113865bdf1cd4102e7d0759af635a7cf4720dc963c53b"),
    Root("GlobalSign Root CA - R6", "2cabeafe37d06ca22aba7391c0033d25982952c453647349763a3ab5ad6ccf69"),
)
_LETS_ENCRYPT = (
    Root("ISRG Root X1", "96bcec06264976f37460779acf28c5a7cfe8a3c0aae11a8ffcee05c0bddf08c6"),
    Root("ISRG Root X2", "69729b8e15a86efc177a57afb7171dfc64add28c2fca8cf1507e34453ccb1470"),
)
_SSL_COM = (
    Root(
        "SSL.com Root Certification Authority RSA", "85666a562ee0be5ce925c1d8890a6f76a87ec16d4d7d5f29ea7419cf20123b69"
    ),
    Root(
        "SSL.com Root Certification Authority ECC", "3417bb06cc6007da1b961c920b8ab4ce3fad820e4aa30b9acbc4a74ebdcebc65"
    ),
    Root("SSL.com TLS RSA Root CA 2022", "8faf7d2e2cb4709bb8e0b33666bf75a5dd45b5de480f8ea8d4bfe6bebc17f2ed"),
    Root("SSL.com TLS ECC Root CA 2022", "c32ffd9f46f936d16c3673990959434b9ad60aafbb9e7cf33654f144cc1ba143"),
)
_DIGICERT = (
    Root("DigiCert Global Root G2", "cb3ccbb76031e5e0138f8dd39a23f9de47ffc35e43c1144cea27d46a5ab1cb5f"),
    Root("DigiCert Global Root G3", "31ad6648f8104138c738f39ea4320133393e3a18cc02296ef97c2ac9ef6731d0"),
)
_SECTIGO = (
    Root("USERTrust RSA Certification Authority", "e793c9b02fd8aa13e21c31228accb08119643b749c898964b1746d46c3d4cbd2"),
    Root("USERTrust ECC Certification Authority", "4ff460d54b9c86dabfbcfc5712e0400d2bed3fbc4d4fbdaa86e06adcd2a9ad7a"),
    Root(
        "Sectigo Public Server Authentication Root R46",
        "7bb647a62aeeac88bf257aa522d01ffea395e0ab45c73f93f65654ec38f25a06",
    ),
    Root(
        "Sectigo Public Server Authentication Root E46",
        "c90f26f0fb1b4018b22227519b5ca2b53e2ca5b3be5cf18efe1bef47380c5383",
    ),
)

#: Google's own services: its own roots and those of GlobalSign, by which it is cross-signed.
GOOGLE = (*_GOOGLE_TRUST, *_GLOBALSIGN)

#: Hosts behind Cloudflare: the CAs that it issues certificates from, and those of its backup certificates.
CLOUDFLARE = (*_GOOGLE_TRUST, *_GLOBALSIGN, *_LETS_ENCRYPT, *_SSL_COM, *_DIGICERT, *_SECTIGO)


@cache
def well_known() -> dict[str, str]:
    """The subject (RFC 4514) of each well-known CA by the SHA-256 of its certificate."""
    import warnings
    from pathlib import Path

    import certifi
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256

    with warnings.catch_warnings():
        # Some old roots have serial numbers that are no good.
        warnings.simplefilter("ignore")
        found = x509.load_pem_x509_certificates(Path(certifi.where()).read_bytes())
        return {each.fingerprint(SHA256()).hex(): each.subject.rfc4514_string() for each in found}
